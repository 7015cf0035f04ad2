"""An identity provider whose users call themselves whatever they like: it signs every claim that it is given."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.browser.site import serving
from tests.unit.identity.forge import key_for, key_set_document, public, sign

HOSTILE = "\"><script>alert(1)</script><img src=x onerror=alert(2)>'`${7*7}{{7*7}}"
"""Markup for every place that a text may stand in: an element, an attribute, a script, a template."""

_DOCUMENT = key_set_document(public(key_for("RS256"), "RS256", alg="RS256"))


class _KeySet(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(_DOCUMENT)))
        self.end_headers()
        self.wfile.write(_DOCUMENT)

    def log_message(self, format: str, *arguments: object) -> None:
        """Says nothing."""


@dataclass(frozen=True)
class HostileIssuer:
    """``issuer`` is what its tokens say, ``origin`` where its key is."""

    issuer: str
    origin: str

    @property
    def jwks_url(self) -> str:
        """Its key set; at every path of the origin it is the same."""
        return f"{self.origin}/.well-known/jwks.json"

    def token(self, **claims: Any) -> str:
        """A token that is good for five minutes."""
        now = int(time.time())
        return sign(payload={"iss": self.issuer, "iat": now, "exp": now + 300, **claims})


@contextmanager
def hostile_issuer(issuer: str = "https://hostile.example") -> Iterator[HostileIssuer]:
    """While its key set is served."""
    with serving(_KeySet) as origin:
        yield HostileIssuer(issuer, origin)
