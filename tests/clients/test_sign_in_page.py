"""The local identity provider's pages in a real browser: readable in light and dark, no wider than a telephone, and a
sign-in that leads back to the application."""

import base64
import hashlib
import re
from urllib.parse import parse_qs, urlsplit

from tests.clients.stack import Stack, run_node
from tests.plain_http import HTTP

VERIFIER = "browser" * 7


def luminance(colour: str) -> float:
    """WCAG 2.2's relative luminance of ``rgb(...)``."""
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    red, green, blue = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(first: str, second: str) -> float:
    lighter, darker = sorted((luminance(first), luminance(second)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def test_a_person_signs_in_and_out(stack: Stack) -> None:
    challenge = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
    seen = run_node("sign_in_page.mjs", {"issuer": stack.issuer_url, "challenge": challenge})
    assert seen["widths"] == [375] * 4
    for pairs in seen["colours"]:
        assert all(contrast(*pair) >= 4.5 for pair in pairs), pairs
    light, dark = (pairs[0][1] for pairs in seen["colours"])
    assert luminance(light) > 0.8
    assert luminance(dark) < 0.05
    assert seen["complaints"] == []
    assert "Bob Baker" in seen["signedIn"]
    code = parse_qs(urlsplit(seen["callback"]).query)
    assert code["state"] == ["s"]
    # The session was ended since, and its code with it.
    answer = HTTP.post(
        f"{stack.issuer_url}/token",
        data={"grant_type": "authorization_code", "client_id": "app", "code": code["code"][0],
              "redirect_uri": seen["redirectUri"], "code_verifier": VERIFIER},
    )  # fmt: skip
    assert answer.json()["error"] == "invalid_grant"
