"""The local issuer: a data folder with keys, users, organizations, sessions and templates, behind one issuer URL.

For development: whoever reaches it can be anyone. This module never listens on a socket.
"""

from __future__ import annotations

import base64
import json
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from rowgate.errors import SettingInvalid
from rowgate.identity.addresses import split_address
from rowgate.identity.local_provider import LOCAL_KIND, local_rules
from rowgate.identity.principal import Token
from rowgate.identity.provider import DEFAULT_ROLES, Provider
from rowgate.identity.recognition import LOCAL_MARKER
from rowgate.issuer.authorization import AUTHORIZE_PATH, LOGOUT_PATH, SCOPES, USERINFO_PATH
from rowgate.issuer.files import create_file, read_file, unusable
from rowgate.issuer.keys import ALGORITHM, KeyRing
from rowgate.issuer.organizations import Membership, Organization, Organizations, slug_of
from rowgate.issuer.sessions import LIFETIME, Session, Sessions, digest_of
from rowgate.issuer.templates import Templates, check_lifetime
from rowgate.issuer.tokens import Bearer, token_claims
from rowgate.issuer.users import User, Users

DEFAULT_LIFETIME: Final = 3600
"""Seconds for tokens of no session. Longer than Clerk's minute, because people copy these tokens into terminals."""

SESSION_TOKEN_LIFETIME: Final = 60
"""Seconds for tokens of a session, as at Clerk: they are made anew from the session."""

JWKS_PATH: Final = "/.well-known/jwks.json"
TOKEN_PATH: Final = "/token"  # noqa: S105 - a path
SECRET_FILE: Final = "secret-key"  # noqa: S105 - a file's name


class LocalIssuer:
    """An issuer whose state lives in ``folder`` (made where it is missing) and whose ``iss`` is ``url``.

    ``url`` is an http(s) origin without a slash at its end. ``clock`` gives Unix seconds, ``random_bytes`` as many
    random bytes as asked for, ``lifetime`` is that of tokens of no session in seconds. Raises SettingInvalid for the
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
        self.clock: Final = clock
        self._random_bytes = random_bytes
        self.keys: Final = KeyRing(folder, clock)
        self.users: Final = Users(folder)
        self.organizations: Final = Organizations(folder)
        self.sessions: Final = Sessions(folder, self.milliseconds)
        self.templates: Final = Templates(folder)
        self.secret_key: Final = _secret_key(folder, random_bytes)

    @property
    def jwks_url(self) -> str:
        """Where the key set is served."""
        return self.url + JWKS_PATH

    @property
    def publishable_key(self) -> str:
        """What Clerk's SDKs take for the address of an instance: its host in base64. They want a dot in it."""
        host = self.url.partition("://")[2].replace("localhost", "127.0.0.1", 1)
        return "pk_test_" + base64.b64encode(f"{host}$".encode()).decode()

    def milliseconds(self) -> int:
        """The time in milliseconds since 1970."""
        return int(self.clock() * 1000)

    def new_id(self, prefix: str) -> str:
        """A random identifier such as ``sess_2b1f...``."""
        return f"{prefix}_{self._random_bytes(14).hex()}"

    def new_secret(self) -> str:
        """A random text that nobody guesses."""
        return base64.urlsafe_b64encode(self._random_bytes(32)).rstrip(b"=").decode()

    def key_set(self) -> bytes:
        """The key set document."""
        return self.keys.key_set()

    def discovery(self) -> bytes:
        """The discovery document (OpenID Connect Discovery 1.0 section 3)."""
        return json.dumps({
            "issuer": self.url,
            "jwks_uri": self.jwks_url,
            "authorization_endpoint": self.url + AUTHORIZE_PATH,
            "token_endpoint": self.url + TOKEN_PATH,
            "userinfo_endpoint": self.url + USERINFO_PATH,
            "end_session_endpoint": self.url + LOGOUT_PATH,
            "scopes_supported": list(SCOPES),
            "response_types_supported": ["code"],
            "response_modes_supported": ["query"],
            "grant_types_supported": ["authorization_code", "refresh_token"],
            "code_challenge_methods_supported": ["S256"],
            "token_endpoint_auth_methods_supported": ["none", "client_secret_basic", "client_secret_post"],
            "authorization_response_iss_parameter_supported": True,
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": [ALGORITHM],
            LOCAL_MARKER: True,
        }).encode()  # fmt: skip

    def provider(self, *, name: str = "local", roles: tuple[str, ...] = DEFAULT_ROLES) -> Provider:
        """This issuer as a provider that a gateway can register without asking it."""
        return Provider(
            name=name, kind=LOCAL_KIND, issuer=self.url, jwks_url=self.jwks_url, algorithms=(ALGORITHM,), roles=roles,
            rules=local_rules(),
        )  # fmt: skip

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
        """A token of no session for the user with this id, name or e-mail.

        ``template`` names a template; None makes a session token. ``lifetime`` in seconds takes the place of the
        template's or the issuer's own. ``authorized_party`` becomes ``azp``. Raises UserUnknown, TemplateUnknown,
        IssuerInputInvalid.
        """
        bearer = self._bearer(self.users.find(user), None)
        return self._sign(bearer, template, self.lifetime_of(template, lifetime), authorized_party)

    def mint_for_session(
        self,
        session_id: str,
        template: str | None = None,
        *,
        lifetime: int | None = None,
        authorized_party: str | None = None,
    ) -> Token:
        """A token of a session: a minute's session token, or one of a template.

        Raises IssuerRecordUnknown, IssuerInputInvalid where the session is over, TemplateUnknown.
        """
        session = self.sessions.active(session_id)
        if template is None and lifetime is None:
            lifetime = SESSION_TOKEN_LIFETIME
        bearer = self._bearer(self.users.get(session.user_id), session)
        return self._sign(bearer, template, self.lifetime_of(template, lifetime), authorized_party)

    def sign(self, claims: dict[str, Any]) -> Token:
        """A token with just these claims, such as an ID token."""
        return self.keys.sign(claims)

    def open_session(
        self, user: User, *, organization: str | None = None, actor: dict[str, Any] | None = None
    ) -> tuple[Session, str]:
        """A new session of ``user``, and the value of its cookie. ``organization`` is the id of the active one.

        Raises IssuerRecordUnknown where the user is no member of it.
        """
        if organization is not None:
            self.organizations.membership(organization, user.id)
        now = self.milliseconds()
        secret = self.new_secret()
        session = Session(
            id=self.new_id("sess"),
            user_id=user.id,
            organization_id=organization,
            actor=actor,
            created_at=now,
            updated_at=now,
            expires_at=now + LIFETIME * 1000,
            cookie_digest=digest_of(secret),
        )
        return self.sessions.add(session), f"{session.id}.{secret}"

    def add_organization(self, name: str, *, slug: str | None = None, created_by: str | None = None,
                         **more: Any) -> Organization:  # fmt: skip
        """A new organization; whoever created it is its first ``org:admin``. Raises IssuerInputInvalid."""
        now = self.milliseconds()
        creator = None if created_by is None else self.users.get(created_by)
        organization = self.organizations.add(
            Organization(
                id=self.new_id("org"),
                name=name,
                slug=slug or self._free_slug(slug_of(name) if isinstance(name, str) else ""),
                created_by=created_by,
                created_at=now,
                updated_at=now,
                **more,
            )
        )
        if creator is not None:
            self.add_member(organization.id, creator.id, "org:admin")
        return organization

    def add_member(self, organization_id: str, user_id: str, role: str, **more: Any) -> Membership:
        """Make the user a member. Raises UserUnknown, IssuerRecordUnknown, IssuerInputInvalid."""
        now = self.milliseconds()
        member = Membership(
            id=self.new_id("orgmem"),
            organization_id=self.organizations.find(organization_id).id,
            user_id=self.users.get(user_id).id,
            role=role,
            created_at=now,
            updated_at=now,
            **more,
        )
        return self.organizations.join(member)

    def remove_user(self, user_id: str) -> None:
        """Forget the user, their memberships and sessions. Raises UserUnknown."""
        self.users.remove(user_id)
        self.organizations.forget_user(user_id)
        self.sessions.end_all_of(user_id)

    def _free_slug(self, slug: str) -> str:
        taken = {one.slug for one in self.organizations.list()}
        return slug if slug not in taken else f"{slug[:200]}-{self._random_bytes(4).hex()}"

    def _bearer(self, user: User, session: Session | None) -> Bearer:
        chosen = user.active_organization if session is None else session.organization_id
        return Bearer(
            user=user,
            active=self.organizations.active(chosen, user.id),
            organizations={one.organization_id: one.role for one in self.organizations.memberships(user_id=user.id)},
            session=session,
        )

    def _sign(self, bearer: Bearer, template: str | None, lifetime: int, authorized_party: str | None) -> Token:
        claims = token_claims(
            issuer=self.url,
            bearer=bearer,
            template=None if template is None else self.templates.find(template),
            lifetime=lifetime,
            now=int(self.clock()),
            token_id=self._random_bytes(10).hex(),
            authorized_party=authorized_party,
        )
        return self.keys.sign(claims)


def _secret_key(folder: Path, random_bytes: Callable[[int], bytes]) -> str:
    """The secret of the Backend API, made at the first start (mode 0600). Raises DataFolderUnusable."""
    path = folder / SECRET_FILE
    content = read_file(path)
    if content is None:
        made = b"sk_test_" + random_bytes(24).hex().encode() + b"\n"
        content = made if create_file(path, made) else read_file(path)
    text = (content or b"").decode("ascii", "replace").strip()
    if not text.startswith("sk_test_") or len(text) < 24:
        raise unusable(path, "it holds no secret key, which begins with sk_test_")
    return text
