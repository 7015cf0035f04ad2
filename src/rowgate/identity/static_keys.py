"""Key sets that the operator hands over in files, for providers that publish none: JWKS documents and PEM files.

What comes out is the text of a key set that holds public halves and nothing else, ready to be kept in the registry.
This module never reads a file, and never lets a private or secret member through.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey

from rowgate.errors import KeySetUnavailable, SettingInvalid
from rowgate.identity.keyset import KeySet, VerificationKey, parse_key_set
from rowgate.identity.strict_json import UnsoundJson, parse_document

LARGEST_FILE: Final = 256 * 1024

_BLOCK: Final = re.compile(rb"-----BEGIN ([A-Z0-9 ]{1,40})-----.*?-----END \1-----", re.DOTALL)
_PUBLIC_MEMBERS: Final = ("kty", "n", "e", "crv", "x", "y")


def from_jwks(content: bytes) -> tuple[str, KeySet]:
    """The key set in a JWKS document, as text and as it is read; a key without ``kid`` is named by its thumbprint.

    Raises SettingInvalid where no key of it can be used.
    """
    try:
        document = parse_document(content[: LARGEST_FILE + 1])
        entries = document.get("keys", [document] if "kty" in document else None)
        named = {"keys": [_named(entry) for entry in entries]} if isinstance(entries, list) else document
        key_set = parse_key_set(json.dumps(named).encode())
    except (KeySetUnavailable, UnsoundJson) as error:
        raise _unusable(str(error) if isinstance(error, UnsoundJson) else f"{error.message} {error.detail}") from None
    return _kept(key_set)


def from_pem(contents: Sequence[bytes], key_id: str | None = None) -> tuple[str, KeySet]:
    """The key set of PEM files, each with one public key or certificate (RFC 7468 sections 5 and 13).

    ``key_id`` names the only key; without it each is named by its thumbprint (RFC 7638). Raises SettingInvalid.
    """
    if key_id is not None and len(contents) != 1:
        raise _unusable("a kid was given for several keys")
    keys = [_named({**_public_key(content), **({"kid": key_id} if key_id else {})}) for content in contents]
    return _kept(parse_key_set(json.dumps({"keys": keys}).encode()))


def _public_key(content: bytes) -> dict[str, Any]:
    blocks = list(_BLOCK.finditer(content[: LARGEST_FILE + 1]))
    if len(blocks) != 1:
        raise _unusable(f"a PEM file has {len(blocks)} blocks, not one")
    label = blocks[0][1].decode()
    if "PRIVATE" in label:
        raise _unusable("a PEM file has a private key, which belongs to the provider alone; give the public one")
    try:
        if label == "CERTIFICATE":
            loaded: Any = x509.load_pem_x509_certificate(blocks[0][0]).public_key()
        else:
            loaded = serialization.load_pem_public_key(blocks[0][0])
        pem = loaded.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    except Exception as error:  # cryptography raises its own, ValueError, TypeError and more for what is no key
        raise _unusable(f"a PEM file is not a public key or certificate ({type(error).__name__})") from None
    for kind in (RSAKey, ECKey, OKPKey):
        try:
            return dict(kind.import_key(pem).as_dict(private=False))
        except (JoseError, ValueError, TypeError, KeyError):
            continue
    raise _unusable("a PEM file has a key that is neither RSA, EC nor Ed25519")


def _named(entry: Any) -> Any:
    if not isinstance(entry, dict) or entry.get("kid"):
        return entry
    probe = parse_key_set(json.dumps({"keys": [{**entry, "kid": "probe"}]}).encode())
    return {**entry, "kid": probe.keys["probe"].thumbprint if probe.keys else "unnamed"}


def _kept(key_set: KeySet) -> tuple[str, KeySet]:
    if not key_set.keys:
        reasons = "; ".join(f"{key.key_id or 'a key without kid'}: {key.reason}" for key in key_set.skipped[:8])
        raise _unusable(reasons or "there are no keys")
    text = json.dumps({"keys": [_public_members(key) for key in key_set.keys.values()]}, separators=(",", ":"))
    return text, key_set


def _public_members(key: VerificationKey) -> dict[str, Any]:
    members = key.public.as_dict(private=False)
    kept: dict[str, Any] = {name: members[name] for name in _PUBLIC_MEMBERS if name in members}
    algorithm = {"alg": key.algorithms[0]} if len(key.algorithms) == 1 else {}
    return {**kept, "kid": key.key_id, "use": "sig", **algorithm}


def _unusable(reason: str) -> SettingInvalid:
    return SettingInvalid(
        "The file has no key that Rowgate can verify tokens with.",
        detail=f"expected public RSA, EC or Ed25519 keys, but {reason[:400]}",
        hint="Give a JWKS document with --jwks-file, or a public key or certificate with --pem-file.",
    )
