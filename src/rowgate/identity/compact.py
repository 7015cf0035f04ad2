"""The outer shape of a token: a compact JWS (RFC 7515 section 7.1) whose payload is a JSON object (RFC 7519).

Everything here is judged before any key is looked at, and nothing here is trusted: ``CompactToken`` is what a stranger
says about himself. This module never verifies a signature.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from rowgate.errors import TokenAlgorithmRefused, TokenKeyUnknown, TokenMalformed
from rowgate.identity.provider import ALGORITHMS
from rowgate.identity.strict_json import UnsoundJson, parse_object

LARGEST_TOKEN: Final = 16 * 1024
"""Characters. Longer ones do not fit the header limits of common HTTP servers either."""

_LARGEST_KEY_ID: Final = 512
TOKEN_TYPES: Final = frozenset({"jwt", "at+jwt", "application/jwt", "application/at+jwt"})
_UNUSABLE_HEADERS: Final = ("crit", "b64", "zip", "enc")


@dataclass(frozen=True, slots=True)
class HeaderCheck:
    """One check of a token's header. ``judge`` raises a TokenRefused for a header, given the types of token that are
    expected; ``members`` are what it looks at."""

    name: str
    members: tuple[str, ...]
    judge: Callable[[dict[str, Any], frozenset[str]], object]


@dataclass(frozen=True, slots=True)
class Envelope:
    """A compact JWS taken apart, with nothing judged but its shape; ``payload`` may be anything."""

    header: dict[str, Any] = field(repr=False)
    payload: bytes = field(repr=False)
    signing_input: bytes = field(repr=False)
    signature: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Parts:
    """A token taken apart, with nothing judged but its shape."""

    header: dict[str, Any] = field(repr=False)
    claims: dict[str, Any] = field(repr=False)
    claims_json: bytes = field(repr=False)
    signing_input: bytes = field(repr=False)
    signature: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class CompactToken:
    """An unverified token, taken apart. ``signing_input`` is what the signature covers (RFC 7515 section 5.2)."""

    algorithm: str
    key_id: str
    claims: dict[str, Any] = field(repr=False)
    claims_json: bytes = field(repr=False)
    signing_input: bytes = field(repr=False)
    signature: bytes = field(repr=False)


def parse_compact(token: str, *, needs_key_id: bool = True, types: frozenset[str] = TOKEN_TYPES) -> CompactToken:
    """Take ``token`` apart and judge its header. ``types`` are the values that ``typ`` may have, in small letters.

    Raises TokenMalformed for its shape, TokenAlgorithmRefused where ``alg`` is none that Rowgate knows, and
    TokenKeyUnknown where ``kid`` is missing, unless ``needs_key_id`` is false: then ``key_id`` is empty. Header members
    that bring their own key (``jwk``, ``jku``, ``x5u``, ``x5c``) are not looked at: a key comes from the registered
    provider alone.
    """
    parts = take_apart(token)
    for check in HEADER_CHECKS:
        check.judge(parts.header, types)
    return compact_token(parts, key_id_of(parts.header) if needs_key_id or "kid" in parts.header else "")


def compact_token(parts: Parts, key_id: str) -> CompactToken:
    """The token of ``parts`` whose header was judged."""
    return CompactToken(
        parts.header["alg"], key_id, parts.claims, parts.claims_json, parts.signing_input, parts.signature
    )


def take_apart(token: str) -> Parts:
    """The parts of ``token``. Raises TokenMalformed."""
    opened = open_envelope(token)
    claims = _object("payload", opened.payload)
    return Parts(opened.header, claims, opened.payload, opened.signing_input, opened.signature)


def open_envelope(token: str) -> Envelope:
    """The parts of a compact JWS (RFC 7515 section 7.1). Raises TokenMalformed."""
    if len(token) > LARGEST_TOKEN:
        raise TokenMalformed(
            "The token is too long.", detail=f"expected at most {LARGEST_TOKEN} characters, got {len(token)}"
        )
    parts = token.split(".")
    if len(parts) != 3 or not all(parts):
        raise TokenMalformed("The token is not a signed compact JWT.", detail=_shape(parts))
    header_part, payload_part, signature_part = parts
    header = _object("header", _decode("header", header_part))
    payload = _decode("payload", payload_part)
    signature = _decode("signature", signature_part)
    signing_input = f"{header_part}.{payload_part}".encode("ascii")
    return Envelope(header, payload, signing_input, signature)


def _shape(parts: list[str]) -> str:
    if len(parts) == 5:
        return "expected three parts, got five, which is an encrypted token (JWE); Rowgate reads signed ones only"
    if len(parts) == 1:
        return "expected three base64url parts separated by dots, got a text without dots, such as an opaque token"
    filled = sum(1 for part in parts if part)
    return f"expected three non-empty parts separated by dots, got {len(parts)} of which {filled} are not empty"


def _decode(name: str, part: str) -> bytes:
    """Base64url without padding (RFC 7515 section 2), in its only canonical form (RFC 4648 section 3.5)."""
    try:
        encoded = part.encode("ascii")
        decoded = base64.urlsafe_b64decode(encoded + b"=" * (-len(encoded) % 4))
    except (UnicodeEncodeError, binascii.Error) as error:
        raise _not_base64url(name) from error
    # b64decode skips what is not of its alphabet; writing the bytes anew shows whether it did.
    if base64.urlsafe_b64encode(decoded).rstrip(b"=") != encoded:
        raise _not_base64url(name)
    return decoded


def _not_base64url(name: str) -> TokenMalformed:
    return TokenMalformed(
        f"The {name} of the token is not base64url.",
        detail="expected A-Z, a-z, 0-9, '-' and '_' in canonical form without padding or white space",
    )


def _object(name: str, text: bytes) -> dict[str, Any]:
    try:
        return parse_object(text)
    except UnsoundJson as error:
        raise TokenMalformed(
            f"The {name} of the token is not a sound JSON object.", detail=f"expected one JSON object, but {error}"
        ) from None


def _check_algorithm(header: dict[str, Any], types: frozenset[str]) -> None:
    algorithm = header.get("alg")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        raise TokenAlgorithmRefused(
            "The token is not signed with an algorithm that Rowgate verifies.",
            detail=f"expected alg to be one of {', '.join(ALGORITHMS)}, got {shown(algorithm)}",
        )


def _check_members(header: dict[str, Any], types: frozenset[str]) -> None:
    for member in _UNUSABLE_HEADERS:
        if member in header:
            raise TokenMalformed(
                f"The token's header has {member}, which Rowgate does not support.",
                detail=f"expected a header without {', '.join(_UNUSABLE_HEADERS)}",
            )


def _check_type(header: dict[str, Any], types: frozenset[str]) -> None:
    kind = header.get("typ", "JWT")
    if not isinstance(kind, str) or kind.lower() not in types:
        raise TokenMalformed(
            "The token is of another type than JWT.",
            detail=f"expected typ to be one of {', '.join(sorted(types))}, got {shown(kind)}",
        )


HEADER_CHECKS: Final = (
    HeaderCheck("algorithm", ("alg",), _check_algorithm),
    HeaderCheck("header members", _UNUSABLE_HEADERS, _check_members),
    HeaderCheck("type", ("typ",), _check_type),
)
"""In the order in which a gateway makes them."""


def key_id_of(header: dict[str, Any]) -> str:
    """The ``kid`` of a header. Raises TokenKeyUnknown."""
    key_id = header.get("kid")
    if not isinstance(key_id, str) or not key_id or len(key_id) > _LARGEST_KEY_ID:
        raise key_unnamed(key_id)
    return key_id


def key_unnamed(key_id: object) -> TokenKeyUnknown:
    """The refusal of a token without a usable ``kid``."""
    return TokenKeyUnknown(
        "The token does not name the key that it was signed with.",
        detail=f"expected kid to be a text of 1 to {_LARGEST_KEY_ID} characters, got {shown(key_id)}",
    )


def shown(value: object) -> str:
    """``value`` of an unverified header or claim, short and printable, for the text of an error."""
    if value is None:
        return "none"
    if not isinstance(value, str):
        return _JSON_TYPES.get(type(value), "another value")
    return ascii(value if len(value) <= 200 else value[:200] + "...")


_JSON_TYPES: Final = {bool: "a boolean", int: "a number", float: "a number", list: "a list", dict: "an object"}
