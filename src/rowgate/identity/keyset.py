"""A provider's key set (RFC 7517 section 5): which of its keys may verify signatures, and which may not, and why.

One bad key never spoils the others. This module never fetches a key set, never keeps the private half of a key that a
provider published by mistake, and never takes an HMAC key: what is published is no secret. The libraries for keys are
imported with the first one: a gateway serves before it needs them.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, cast

from rowgate.errors import KeySetUnavailable
from rowgate.identity.provider import ALGORITHMS
from rowgate.identity.strict_json import UnsoundJson, parse_document
from rowgate.identity.weak_keys import is_roca

if TYPE_CHECKING:
    from joserfc.jwk import ECKey, OKPKey, RSAKey

SMALLEST_RSA_BITS: Final = 2048
LARGEST_RSA_BITS: Final = 8192
"""Verifying with a larger key costs whoever runs the gateway, not the one who publishes it."""

MOST_KEYS: Final = 256

_CURVE_ALGORITHMS: Final = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512", "Ed25519": "EdDSA"}
_RSA_ALGORITHMS: Final = tuple(name for name in ALGORITHMS if name[:2] in {"RS", "PS"})
_PUBLIC_MEMBERS: Final = {"RSA": ("n", "e"), "EC": ("crv", "x", "y"), "OKP": ("crv", "x")}


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """One public key. ``algorithms`` are those it may verify: its own ``alg`` where it has one, else what its type
    allows. ``thumbprint`` is the SHA-256 thumbprint of RFC 7638, base64url."""

    key_id: str
    key_type: str
    algorithms: tuple[str, ...]
    thumbprint: str
    public: RSAKey | ECKey | OKPKey = field(repr=False, compare=False)

    def verifies(self, algorithm: str, signing_input: bytes, signature: bytes) -> bool:
        """Whether ``signature`` is this key's over ``signing_input`` (RFC 7518 section 3, RFC 8037 section 3.1).

        False too where ``algorithm`` is none of ``algorithms``: the key decides, never the token alone.
        """
        if algorithm not in self.algorithms:
            return False
        from joserfc.errors import JoseError
        from joserfc.jws import JWSRegistry

        model = JWSRegistry.algorithms[algorithm]
        try:
            model.check_key(self.public)
            return model.verify(signing_input, signature, self.public)
        except (JoseError, ValueError):
            return False


@dataclass(frozen=True, slots=True)
class SkippedKey:
    """A key of the set that is not used. ``reason`` is a clause such as "it is an HMAC key"."""

    key_id: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class KeySet:
    """The usable keys by ``kid``, and what was skipped. Immutable."""

    keys: Mapping[str, VerificationKey]
    skipped: tuple[SkippedKey, ...] = ()

    @property
    def fingerprint(self) -> frozenset[tuple[str, str]]:
        """Each usable key's ``kid`` and thumbprint; a set that lacks one of another's has withdrawn a key."""
        return frozenset((key.key_id, key.thumbprint) for key in self.keys.values())


def parse_key_set(document: bytes) -> KeySet:
    """The key set in ``document`` (a JWKS as UTF-8 JSON).

    Keys that cannot verify signatures are skipped with a reason. A ``kid`` that two usable keys share names neither,
    because which one is meant would be a guess. Raises KeySetUnavailable where the document is no key set at all.
    """
    try:
        content = parse_document(document)
    except UnsoundJson as error:
        raise KeySetUnavailable(
            "The provider's key set is not a JSON object.", detail=f"expected a JWKS document, but {error}"
        ) from None
    entries = content.get("keys")
    if not isinstance(entries, list):
        raise KeySetUnavailable(
            "The provider's document is not a key set.", detail='expected a JSON object with the list "keys"'
        )
    if len(entries) > MOST_KEYS:
        raise KeySetUnavailable(
            "The provider's key set is too large.", detail=f"expected at most {MOST_KEYS} keys, got {len(entries)}"
        )
    read = [_read(entry) for entry in entries]
    usable = [key for key in read if isinstance(key, VerificationKey)]
    skipped = [key for key in read if isinstance(key, SkippedKey)]
    skipped += [SkippedKey(key_id, "another key has the same kid") for key_id in _ambiguous(usable)]
    ambiguous = set(_ambiguous(usable))
    keys = {key.key_id: key for key in usable if key.key_id not in ambiguous}
    return KeySet(MappingProxyType(keys), tuple(skipped))


def _ambiguous(keys: list[VerificationKey]) -> Iterator[str]:
    """Each ``kid`` that different keys share. The same key listed twice is no ambiguity."""
    seen: dict[str, set[VerificationKey]] = {}
    for key in keys:
        seen.setdefault(key.key_id, set()).add(key)
    return (key_id for key_id, sharing in seen.items() if len(sharing) > 1)


def _read(entry: object) -> VerificationKey | SkippedKey:
    if not isinstance(entry, dict):
        return SkippedKey(None, "it is not a JSON object")
    key_id = entry.get("kid")
    if not isinstance(key_id, str) or not key_id:
        return SkippedKey(None, "it has no kid, and a token names its key by kid alone")
    reason = _unfit(entry)
    if reason:
        return SkippedKey(key_id, reason)
    key_type = entry["kty"]
    if key_type == "RSA":
        modulus = _modulus(entry.get("n"))
        if not SMALLEST_RSA_BITS <= (bits := modulus.bit_length()) <= LARGEST_RSA_BITS:
            return SkippedKey(key_id, f"it has {bits} bits, not {SMALLEST_RSA_BITS} to {LARGEST_RSA_BITS}")
        if is_roca(modulus):
            return SkippedKey(key_id, "its private half can be found (CVE-2017-15361)")
    public = _public_key(key_type, entry)
    if public is None:
        return SkippedKey(key_id, "it cannot be decoded")
    suited = _RSA_ALGORITHMS if key_type == "RSA" else (_CURVE_ALGORITHMS[entry["crv"]],)
    algorithm = entry.get("alg")
    if algorithm == "Ed25519" and key_type == "OKP":
        algorithm = "EdDSA"  # RFC 9864 renames what a key is for; tokens still say EdDSA
    if algorithm is not None and algorithm not in suited:
        return SkippedKey(key_id, "its alg is not one that Rowgate verifies with such a key")
    return VerificationKey(key_id, key_type, (algorithm,) if algorithm else suited, public.thumbprint(), public)


def _unfit(entry: dict[str, Any]) -> str | None:
    """Why this key is not one for verifying signatures (RFC 7517 section 4), or None."""
    key_type = entry.get("kty")
    if key_type == "oct":
        return "it is an HMAC key, which is no secret once it is published"
    if not isinstance(key_type, str) or key_type not in _PUBLIC_MEMBERS:
        return "its kty is not RSA, EC or OKP"
    if entry.get("use", "sig") != "sig":
        return "its use is not sig"
    operations = entry.get("key_ops", ["verify"])
    if not isinstance(operations, list) or "verify" not in operations:
        return "its key_ops do not hold verify"
    curve = entry.get("crv")
    if key_type != "RSA" and (not isinstance(curve, str) or curve not in _CURVE_ALGORITHMS):
        return "its curve is not P-256, P-384, P-521 or Ed25519"
    return None


def _public_key(key_type: str, entry: dict[str, Any]) -> RSAKey | ECKey | OKPKey | None:
    """The public half alone, built from nothing but the members that RFC 7518 section 6 requires for it."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from joserfc.errors import JoseError
    from joserfc.jwk import ECKey, OKPKey, RSAKey

    classes: dict[str, type[RSAKey | ECKey | OKPKey]] = {"RSA": RSAKey, "EC": ECKey, "OKP": OKPKey}
    members = {"kty": key_type}
    for name in _PUBLIC_MEMBERS[key_type]:
        value = entry.get(name)
        if not isinstance(value, str) or not value.isascii():
            return None
        members[name] = value
    try:
        return classes[key_type].import_key(cast(Any, members))
    except (JoseError, UnsupportedAlgorithm, ValueError, TypeError, KeyError):
        return None


def _modulus(modulus: object) -> int:
    """The modulus of an RSA key by its ``n``; 0 where that is no base64url."""
    if not isinstance(modulus, str) or not modulus.isascii():
        return 0
    try:
        return int.from_bytes(base64.urlsafe_b64decode(modulus + "=" * (-len(modulus) % 4)))
    except ValueError:
        return 0
