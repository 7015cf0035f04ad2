"""Keys, tokens, a clock and a fetcher for the tests of this folder: tokens are put together by hand, so that any of
their parts can be wrong."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from joserfc.jwk import ECKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from rowgate.errors import KeySetUnavailable
from rowgate.identity.fetcher import FetchedDocument
from rowgate.identity.key_cache import KeySetCache
from rowgate.identity.provider import ALGORITHMS, Provider
from rowgate.identity.verify import TokenVerifier

ISSUER = "https://issuer.example"
JWKS_URL = "https://issuer.example/.well-known/jwks.json"
NOW = 1_800_000_000.0

Key = RSAKey | ECKey | OKPKey


@cache
def key_for(algorithm: str, which: int = 0) -> Key:
    """A private key that signs ``algorithm``; the same one at each call with the same ``which``."""
    if algorithm[:2] in {"RS", "PS"}:
        return _rsa(which)
    if algorithm == "EdDSA":
        return OKPKey.generate_key("Ed25519")
    return ECKey.generate_key({"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}[algorithm])


@cache
def _rsa(which: int) -> RSAKey:
    return RSAKey.generate_key(2048)


def public(key: Key, key_id: str, **members: Any) -> dict[str, Any]:
    return {**key.as_dict(private=False), "kid": key_id, **members}


def encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def as_json(value: object) -> bytes:
    return value if isinstance(value, bytes) else json.dumps(value).encode()


def claims(**changes: Any) -> dict[str, Any]:
    """Sound claims with ``changes``; a change to ``...`` leaves the claim out."""
    sound = {"iss": ISSUER, "sub": "user_alice", "exp": NOW + 60, "iat": NOW, "nbf": NOW - 5, **changes}
    return {name: value for name, value in sound.items() if value is not ...}


def sign(
    algorithm: str = "RS256",
    *,
    key: Key | None = None,
    header: Mapping[str, Any] | bytes | None = None,
    payload: Mapping[str, Any] | bytes | None = None,
) -> str:
    """A token whose signature holds, whatever its header and payload say."""
    header = {"alg": algorithm, "kid": algorithm} if header is None else header
    payload = claims() if payload is None else payload
    signing_input = f"{encode(as_json(header))}.{encode(as_json(payload))}"
    signature = JWSRegistry.algorithms[algorithm].sign(signing_input.encode(), key or key_for(algorithm))
    return f"{signing_input}.{encode(signature)}"


def key_set_document(*keys: Mapping[str, Any]) -> bytes:
    return as_json({"keys": keys or [public(key_for(name), name, alg=name) for name in ALGORITHMS]})


@dataclass
class Clock:
    now: float = NOW

    def __call__(self) -> float:
        return self.now


@dataclass
class Documents:
    """A fetcher of documents at hand. Absent ones are 404; ``gate``, where set, holds every fetch back."""

    by_url: dict[str, bytes | KeySetUnavailable | Exception] = field(default_factory=dict)
    max_age: int | None = None
    fetched: list[str] = field(default_factory=list)
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    gate: asyncio.Event | None = None

    async def fetch(self, url: str) -> FetchedDocument:
        self.fetched.append(url)
        self.asked.set()
        if self.gate is not None:
            await self.gate.wait()
        found = self.by_url.get(url)
        if found is None:
            raise KeySetUnavailable("Not found.", detail=f"HTTP 404 at {url}", http_status=404)
        if isinstance(found, Exception):
            raise found
        return FetchedDocument(found, self.max_age)


def provider(**changes: Any) -> Provider:
    fields: dict[str, Any] = {
        "name": "example",
        "kind": "oidc",
        "issuer": ISSUER,
        "jwks_url": JWKS_URL,
        "algorithms": ALGORITHMS,
        **changes,
    }
    return Provider(**fields)


@dataclass
class Bench:
    """A verifier with its surroundings."""

    verifier: TokenVerifier
    key_sets: KeySetCache
    documents: Documents
    clock: Clock


def bench(*providers: Provider, document: bytes | None = None, **options: Any) -> Bench:
    clock = Clock()
    documents = Documents({JWKS_URL: key_set_document() if document is None else document})
    key_sets = KeySetCache(documents, clock)
    return Bench(TokenVerifier(providers or (provider(),), key_sets, clock, **options), key_sets, documents, clock)
