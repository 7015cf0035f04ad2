"""The signing keys of the local issuer: one RSA key in the data folder signs, earlier ones are still published.

A key that was rotated out stays in the key set until the last token that it signed is over. This module never prints a
key, and the private half never leaves the file except to sign; that of a rotated-out key is gone.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey

from rowgate.errors import DataFolderUnusable
from rowgate.identity.principal import Token
from rowgate.issuer.files import OWNER_ONLY, RecordFile, create_file, locked, read_file, unusable, write_file
from rowgate.issuer.records import check_moment, invalid, made_from

KEY_FILE: Final = "signing-key.pem"
PUBLISHED_FILE: Final = "published-keys.json"
ALGORITHM: Final = "RS256"
KEY_BITS: Final = 2048

_HORIZON_STEP: Final = 3600
"""Seconds by which the end of a key's last token is rounded up, so that not every token costs a write."""


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key that signs RS256. ``key_id`` is the thumbprint of its public half (RFC 7638)."""

    key_id: str
    private: RSAKey = field(repr=False, compare=False)

    def sign(self, claims: dict[str, Any]) -> Token:
        """A compact JWT with these claims (RFC 7515 section 7.1)."""
        header = {"alg": ALGORITHM, "kid": self.key_id, "typ": "JWT"}
        return Token(jwt.encode(header, claims, self.private, algorithms=[ALGORITHM]))

    def public(self) -> dict[str, Any]:
        """The public half as a member of a key set (RFC 7517 section 4)."""
        return {**self.private.as_dict(private=False), "kid": self.key_id, "alg": ALGORITHM, "use": "sig"}


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedKey:
    """A public key and ``until`` when tokens that it signed may be good (Unix seconds). Raises IssuerInputInvalid."""

    key: dict[str, Any]
    until: int

    def __post_init__(self) -> None:
        check_moment("published key", "until", self.until)
        if not isinstance(self.key, dict) or not isinstance(self.key.get("kid"), str) or "d" in self.key:
            raise invalid("published key", "key", "the public half of a key, with its kid")


class KeyRing:
    """The keys of ``folder``. ``clock`` gives Unix seconds. Other processes may use and rotate them meanwhile.

    Raises DataFolderUnusable, as every method does, where a file is damaged, or cannot be read or written.
    """

    def __init__(self, folder: Path, clock: Callable[[], float]) -> None:
        self._folder = folder
        self._clock = clock
        self._published = RecordFile(
            folder / PUBLISHED_FILE,
            "keys",
            lambda record: made_from(PublishedKey, "published key", record),
            asdict,
        )
        self._current = load_signing_key(folder)
        self._version = self._file_version()
        self._published.list()

    @property
    def current(self) -> SigningKey:
        """The key that signs."""
        if self._file_version() != self._version:
            self._version = self._file_version()
            self._current = load_signing_key(self._folder)
        return self._current

    def sign(self, claims: dict[str, Any]) -> Token:
        """A token with these claims, whose ``exp`` is minded when the key is rotated out."""
        key = self.current
        expiry = int(claims["exp"])
        if expiry > self._until(key.key_id):
            horizon = (math.floor(expiry / _HORIZON_STEP) + 1) * _HORIZON_STEP
            self._publish(PublishedKey(key=key.public(), until=horizon))
        return key.sign(claims)

    def key_set(self) -> bytes:
        """The key set document (RFC 7517 section 5)."""
        return json.dumps({"keys": self.public_keys()}).encode()

    def public_keys(self) -> list[dict[str, Any]]:
        """The public halves: of the key that signs first, then of those whose tokens may still be about."""
        current = self.current
        now = self._clock()
        others = [one.key for one in self._published.list() if one.key["kid"] != current.key_id and one.until > now]
        return [current.public(), *others]

    def rotate(self) -> SigningKey:
        """Sign with a new key from now on."""
        created = RSAKey.generate_key(KEY_BITS).as_pem(private=True)
        with locked(self._folder):
            write_file(self._folder / KEY_FILE, created)
        return self.current

    def _until(self, key_id: str) -> int:
        return next((one.until for one in self._published.list() if one.key["kid"] == key_id), 0)

    def _publish(self, key: PublishedKey) -> None:
        now = self._clock()
        self._published.change(
            lambda keys: (*(one for one in keys if one.key["kid"] != key.key["kid"] and one.until > now), key)
        )

    def _file_version(self) -> tuple[int, int]:
        try:
            status = (self._folder / KEY_FILE).stat()
        except OSError:
            return (0, 0)
        return (status.st_ino, status.st_mtime_ns)


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
