"""A provider is checked when it is made."""

from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from rowgate.errors import SettingInvalid
from rowgate.identity.provider import ALGORITHMS, Provider
from tests.unit.identity.forge import provider


def test_defaults() -> None:
    made = Provider(name="clerk", kind="clerk", issuer="https://c.example", jwks_url="https://c.example/jwks")
    assert made.roles == ("authenticated", "anonymous")
    assert made.algorithms == ("RS256",)
    assert (made.audiences, made.authorized_parties) == ((), ())


def test_neither_hmac_nor_none_is_an_algorithm() -> None:
    assert not {name for name in ALGORITHMS if name.startswith("HS") or name.lower() == "none"}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("name", "Has Space"),
        ("name", "x" * 64),
        ("name", None),
        ("kind", "saml"),
        ("issuer", ""),
        ("issuer", "https://a\x00b"),
        ("jwks_url", "ftp://a.example/keys"),
        ("jwks_url", "/keys"),
        ("jwks_url", "https://user:secret@a.example/keys"),
        ("jwks_url", "https://a.example/keys#part"),
        ("jwks_url", "https://a.example:port/keys"),
        ("audiences", ["a"]),
        ("audiences", ("",)),
        ("authorized_parties", (1,)),
        ("algorithms", ()),
        ("algorithms", ("HS256",)),
        ("algorithms", ("none",)),
        ("roles", ()),
        ("roles", ("",)),
    ],
)
def test_what_cannot_be_is_refused(field: str, value: Any) -> None:
    with pytest.raises(SettingInvalid) as caught:
        provider(**{field: value})
    assert field in caught.value.message
    assert "secret" not in str(caught.value.detail)


def test_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        provider().issuer = "https://other.example"  # type: ignore[misc]


@pytest.mark.parametrize("issuer", ["stytch.com/project-live-1", "P2aBcD", "https://tenant.auth0.com/"])
def test_an_issuer_need_not_be_a_url(issuer: str) -> None:
    assert provider(issuer=issuer).issuer == issuer
