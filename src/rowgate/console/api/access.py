"""Who may call, on which database: an admin token of the endpoint's own registry, compared in constant time."""

from __future__ import annotations

import hmac
import time
from collections.abc import Awaitable, Callable
from hashlib import sha256
from typing import TypeVar

import msgspec
from starlette.requests import Request

from rowgate.errors import AdminTokenRefused, DatabaseUnknown, MalformedBody
from rowgate.gateway.database import Database
from rowgate.gateway.gateway import Gateway
from rowgate.identity.recognition import Given, Recognition

Body = TypeVar("Body")
Find = Callable[[str, Given], Awaitable[Recognition]]
"""From a URL, and what the operator says besides, to a provider that can be registered."""


class Access:
    """Lets requests in. ``clock`` gives Unix seconds."""

    def __init__(self, gateway: Gateway, clock: Callable[[], float] = time.time) -> None:
        self._gateway = gateway
        self._clock = clock

    async def database(self, request: Request, endpoint: str | None, database: str | None) -> tuple[Database, str]:
        """The database that is meant, and the name of the token that opens it.

        ``endpoint`` None is the only one, ``database`` None the endpoint's own. Whoever has a token of that one may
        open the others of the endpoint, as the control role may. Raises AdminTokenRefused, which an unknown endpoint
        looks like too, DatabaseUnknown, SetupIncomplete or ConnectFailed.
        """
        found = self._gateway.endpoint(endpoint)
        home = None if found is None else found.ready_database(found.target.database)
        name = _holder(_bearer(request), home, self._clock())
        if found is None or home is None or name is None:
            raise AdminTokenRefused("The admin token is missing, or not good here.")
        return (home if database is None else await found.database(database)), name

    def holder_of(self, endpoint: str | None, token: str) -> str:
        """The name of an admin token of ``endpoint``. Raises AdminTokenRefused, which an unknown endpoint looks like
        too."""
        found = self._gateway.endpoint(endpoint)
        home = None if found is None else found.ready_database(found.target.database)
        name = _holder(token, home, self._clock())
        if name is None:
            raise AdminTokenRefused("The admin token is missing, or not good here.")
        return name

    def is_holder(self, home: Database, name: str) -> bool:
        """Whether the admin token ``name`` is still good in the endpoint's own database."""
        now = self._clock()
        return any(one.name == name and (one.expires_at is None or now < one.expires_at) for one in home.admin_tokens)


def _bearer(request: Request) -> str:
    """The token of the one Authorization header; empty where there is none."""
    headers = request.headers.getlist("authorization")
    scheme, _, token = (headers[0] if len(headers) == 1 else "").partition(" ")
    return token if scheme.lower() == "bearer" else ""


def _holder(token: str, home: Database | None, now: float) -> str | None:
    """Whose token it is. Every token is compared, so that time tells nothing of them."""
    digest = sha256(token.strip().encode("utf-8", "surrogatepass")).digest()
    holder = None
    for known in () if home is None else home.admin_tokens:
        is_same = hmac.compare_digest(known.digest, digest)
        if is_same and (known.expires_at is None or now < known.expires_at):
            holder = known.name
    return holder if token else None


async def body_of(request: Request, kind: type[Body]) -> Body:
    """The request's JSON as a value. Raises MalformedBody, or what the value itself raises."""
    try:
        return msgspec.json.decode(await request.body(), type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedBody(
            "The body is not what this address takes.", detail=str(error)[:300], hint="Send JSON."
        ) from error


def query_of(request: Request) -> tuple[str | None, str | None]:
    """``endpoint`` and ``database`` of the query."""
    return request.query_params.get("endpoint"), request.query_params.get("database")


def require_database(name: str | None) -> str | None:
    """A database's name as it came. Raises DatabaseUnknown where it can be none."""
    if name is not None and (not name or len(name.encode("utf-8", "surrogatepass")) > 63 or "\0" in name):
        raise DatabaseUnknown("there is no such database")
    return name
