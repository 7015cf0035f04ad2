"""Logout tokens: what each step of section 2.6 lets through, and what it makes of it."""

from typing import Any

import pytest

from rowgate.errors import NoticeRefused, RowgateError
from rowgate.identity.claim_rules import ClaimRules
from rowgate.identity.compact import parse_compact
from rowgate.identity.logout_token import LOGOUT_EVENT, LOGOUT_TYPES, LogoutNotice, read_logout_token
from rowgate.identity.provider import Provider
from tests.unit.identity.forge import ISSUER, NOW, provider, sign

OURS = provider(client_ids=("app",))


def logout(**changes: Any) -> dict[str, Any]:
    claims = {
        "iss": ISSUER, "aud": "app", "iat": NOW, "exp": NOW + 120, "jti": "bWJq", "sub": "user_1", "sid": "sess_1",
        "events": {LOGOUT_EVENT: {}}, **changes,
    }  # fmt: skip
    return {name: value for name, value in claims.items() if value is not ...}


def read(claims: dict[str, Any], of: Provider = OURS, now: float = NOW, typ: str = "logout+jwt") -> LogoutNotice:
    header = {"alg": "RS256", "kid": "RS256", "typ": typ}
    token = parse_compact(sign(header=header, payload=claims), types=LOGOUT_TYPES)
    return read_logout_token(token, of, now=now, leeway=30)


def kinds(notice: LogoutNotice) -> list[tuple[str, str, float | None]]:
    return [(one.kind, one.value, one.issued_before) for one in notice.revocations]


def test_a_session_and_its_user() -> None:
    notice = read(logout())
    assert kinds(notice) == [("session", "sess_1", None), ("sessionless", "user_1", NOW)]
    assert (notice.token_id, notice.expires_at) == ("bWJq", NOW + 150)
    assert {one.provider for one in notice.revocations} == {"example"}


def test_a_session_alone_and_a_user_alone() -> None:
    assert kinds(read(logout(sub=...))) == [("session", "sess_1", None)]
    assert kinds(read(logout(sid=...))) == [("subject", "user_1", NOW)]


def test_the_user_is_the_one_that_policies_know() -> None:
    of = provider(client_ids=("app",), rules=ClaimRules(user="oid"))
    assert kinds(read(logout(sid=..., oid="object"), of)) == [("subject", "object", NOW)]
    assert kinds(read(logout(), of)) == [("session", "sess_1", None)]
    with pytest.raises(NoticeRefused):
        read(logout(sid=...), of)


@pytest.mark.parametrize("typ", ["logout+jwt", "application/logout+jwt", "JWT"])
def test_types(typ: str) -> None:
    assert read(logout(), typ=typ)


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": "other"}, {"aud": ["other", 1]}, {"aud": ...}, {"aud": {}}, {"aud": []},
        {"iat": ...}, {"iat": NOW + 60}, {"iat": "1"}, {"iat": True}, {"iat": -1}, {"iat": 1e300},
        {"exp": NOW - 31}, {"exp": "never"}, {"iat": NOW - 331, "exp": ...}, {"iat": NOW - 3700, "exp": NOW + 60},
        {"events": ...}, {"events": {}}, {"events": []}, {"events": {LOGOUT_EVENT: True}},
        {"events": {LOGOUT_EVENT: []}}, {"events": {"http://schemas.openid.net/event/other": {}}},
        {"nonce": "n"}, {"nonce": None}, {"jti": ...}, {"jti": ""}, {"jti": 1}, {"jti": "j" * 1025},
        {"sub": ..., "sid": ...}, {"sub": ""}, {"sid": ""}, {"sid": 7}, {"sub": None},
    ],
    ids=repr,
)  # fmt: skip
def test_what_does_not_count(changes: dict[str, Any]) -> None:
    with pytest.raises(NoticeRefused):
        read(logout(**changes))


def test_a_provider_without_client_or_audience_is_told_what_is_missing() -> None:
    with pytest.raises(NoticeRefused) as refusal:
        read(logout(), provider())
    assert "--client-id" in (refusal.value.hint or "")
    assert read(logout(), provider(audiences=("app",)))


@pytest.mark.parametrize("typ", ["at+jwt", "secevent+jwt", "dpop+jwt"])
def test_other_types_are_other_things(typ: str) -> None:
    if typ == "at+jwt":
        # An access token has no logout event, so it fails by its claims.
        with pytest.raises(NoticeRefused):
            read(logout(events=...), typ=typ)
        return
    with pytest.raises(RowgateError):
        read(logout(), typ=typ)


def test_no_claim_shows_in_a_repr_or_error() -> None:
    with pytest.raises(NoticeRefused) as refusal:
        read(logout(aud="other", sub="private_user"))
    assert "private_user" not in f"{refusal.value.message}{refusal.value.detail}{refusal.value.hint}"
