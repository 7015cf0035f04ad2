"""The signing key of the local issuer: one RSA key in the data folder, made at the first start and kept.

This module never prints a key, and the private half never leaves the file except to sign.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey

from rowgate.errors import DataFolderUnusable
from rowgate.identity.principal import Token
from rowgate.issuer.files import OWNER_ONLY, create_file, read_file, unusable

KEY_FILE: Final = "signing-key.pem"
ALGORITHM: Final = "RS256"
KEY_BITS: Final = 2048


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key that signs RS256. ``key_id`` is the thumbprint of its public half (RFC 7638)."""

    key_id: str
    private: RSAKey = field(repr=False, compare=False)

    def sign(self, claims: dict[str, Any]) -> Token:
        """A compact JWT with these claims (RFC 7515 section 7.1)."""
        header = {"alg": ALGORITHM, "kid": self.key_id, "typ": "JWT"}
        return Token(jwt.encode(header, claims, self.private, algorithms=[ALGORITHM]))

    def key_set(self) -> bytes:
        """The key set document (RFC 7517 section 5) that holds the public half."""
        members = self.private.as_dict(private=False)
        key = {**members, "kid": self.key_id, "alg": ALGORITHM, "use": "sig"}
        return json.dumps({"keys": [key]}).encode()


def load_signing_key(folder: Path) -> SigningKey:
    """The key of ``folder``, made there (mode 0600) where there is none yet.

    Raises DataFolderUnusable where the file is damaged, or cannot be read or written. A damaged key is never replaced
    by itself: every token and every gateway that knows the old one would fail without a word.
    """
    path = folder / KEY_FILE
    content = read_file(path)
    if content is None:
        created = RSAKey.generate_key(KEY_BITS).as_pem(private=True)
        content = created if create_file(path, created) else read_file(path)
    if content is None:
        raise unusable(path, "it vanished while it was made")
    _keep_private(path)
    return _signing_key(path, content)


def _signing_key(path: Path, content: bytes) -> SigningKey:
    expected = f"it is no PEM file with an unencrypted private RSA key of {KEY_BITS} bits or more"
    # Looked at before the library does, which takes other kinds of text for keys as well.
    if not content.lstrip().startswith(b"-----BEGIN"):
        raise unusable(path, expected)
    try:
        key = RSAKey.import_key(content)
        usable = key.is_private and key.raw_value.key_size >= KEY_BITS
    except (JoseError, ValueError, TypeError) as error:
        raise unusable(path, expected) from error
    if not usable:
        raise unusable(path, expected)
    return SigningKey(key.thumbprint(), key)


def _keep_private(path: Path) -> None:
    """Take away what a copy or an editor gave to others."""
    try:
        if path.stat().st_mode & 0o077:
            os.chmod(path, OWNER_ONLY)
    except OSError as error:
        raise DataFolderUnusable(
            "The signing key can be read by others.",
            detail=f"{path} should have mode 0600, and that cannot be set: {error.strerror}",
        ) from error
