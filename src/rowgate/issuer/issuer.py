"""The local issuer: a data folder with a key, users and templates, behind one issuer URL.

For development: whoever reaches it can be anyone. This module never listens on a socket.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from rowgate.errors import SettingInvalid
from rowgate.identity.addresses import split_address
from rowgate.identity.principal import Token
from rowgate.identity.provider import DEFAULT_ROLES, Provider
from rowgate.identity.recognition import LOCAL_MARKER
from rowgate.issuer.keys import ALGORITHM, load_signing_key
from rowgate.issuer.templates import Templates, check_lifetime
from rowgate.issuer.tokens import token_claims
from rowgate.issuer.users import Users

DEFAULT_LIFETIME: Final = 3600
"""Seconds. Longer than Clerk's minute, because people copy these tokens into terminals."""

JWKS_PATH: Final = "/.well-known/jwks.json"
TOKEN_PATH: Final = "/token"  # noqa: S105 - a path


class LocalIssuer:
    """An issuer whose state lives in ``folder`` (made where it is missing) and whose ``iss`` is ``url``.

    ``url`` is an http(s) origin without a slash at its end. ``clock`` gives Unix seconds, ``random_bytes`` as many
    random bytes as asked for, ``lifetime`` is that of session tokens in seconds. Raises SettingInvalid for the
    arguments, DataFolderUnusable for the folder.
    """

    def __init__(
        self,
        folder: Path,
        url: str,
        *,
        clock: Callable[[], float] = time.time,
        random_bytes: Callable[[int], bytes] = secrets.token_bytes,
        lifetime: int = DEFAULT_LIFETIME,
    ) -> None:
        parts = split_address(url)
        if parts is None or parts.path or parts.query:
            raise SettingInvalid(
                "The issuer's URL cannot be used.",
                detail=f"expected an http(s) origin such as http://localhost:4445, got {url[:200]!a}",
            )
        self.url: Final = url
        self.host: Final = parts.hostname or ""
        self.lifetime: Final = check_lifetime(lifetime)
        self._clock = clock
        self._random_bytes = random_bytes
        self._key = load_signing_key(folder)
        self.users: Final = Users(folder)
        self.templates: Final = Templates(folder)

    @property
    def jwks_url(self) -> str:
        """Where the key set is served."""
        return self.url + JWKS_PATH

    def key_set(self) -> bytes:
        """The key set document."""
        return self._key.key_set()

    def discovery(self) -> bytes:
        """The discovery document (OpenID Connect Discovery 1.0 section 3), as far as there is anything to discover."""
        return json.dumps({
            "issuer": self.url,
            "jwks_uri": self.jwks_url,
            "token_endpoint": self.url + TOKEN_PATH,
            "response_types_supported": ["token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": [ALGORITHM],
            LOCAL_MARKER: True,
        }).encode()  # fmt: skip

    def provider(self, *, name: str = "local", roles: tuple[str, ...] = DEFAULT_ROLES) -> Provider:
        """This issuer as a provider that a gateway can register without asking it."""
        return Provider(
            name=name, kind="local", issuer=self.url, jwks_url=self.jwks_url, algorithms=(ALGORITHM,), roles=roles
        )

    def lifetime_of(self, template: str | None = None, lifetime: int | None = None) -> int:
        """For how many seconds a token with these arguments is good. Raises TemplateUnknown, IssuerInputInvalid."""
        if lifetime is not None:
            return check_lifetime(lifetime)
        return self.lifetime if template is None else self.templates.find(template).lifetime

    def mint(
        self,
        user: str,
        template: str | None = None,
        *,
        lifetime: int | None = None,
        authorized_party: str | None = None,
    ) -> Token:
        """A token for the user with this id, name or e-mail.

        ``template`` names a template; None makes a session token. ``lifetime`` in seconds takes the place of the
        template's or the issuer's own. ``authorized_party`` becomes ``azp``. Raises UserUnknown, TemplateUnknown,
        IssuerInputInvalid.
        """
        claims = token_claims(
            issuer=self.url,
            user=self.users.find(user),
            template=None if template is None else self.templates.find(template),
            lifetime=self.lifetime_of(template, lifetime),
            now=int(self._clock()),
            token_id=self._random_bytes(10).hex(),
            authorized_party=authorized_party,
        )
        return self._key.sign(claims)
