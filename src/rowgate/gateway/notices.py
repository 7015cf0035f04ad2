"""What identity providers tell the gateway: logout tokens and webhooks. What is genuine becomes a revocation.

Strangers may call: nothing is written, and no lock is taken, before a signature or a secret has been checked. A call is
tried on every database that this gateway has open, because it does not say which one it means. Never answers with
anything of the registry.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import Final
from urllib.parse import parse_qsl

from rowgate.errors import BodyTooLarge, NoticeRefused, RateExceeded, RowgateError, TokenIssuerUnknown
from rowgate.gateway.database import Database
from rowgate.gateway.http.message import HttpRequest
from rowgate.gateway.response import Response, error_response
from rowgate.identity.compact import parse_compact
from rowgate.identity.logout_token import LOGOUT_TYPES
from rowgate.identity.revocation import Revocation
from rowgate.identity.webhooks import read_call
from rowgate.registry.registry import ReceivedMessage

LOGOUT_PATH: Final = b"/oidc/backchannel-logout"
WEBHOOK_PATH: Final = b"/webhooks/"
LARGEST_LOGOUT: Final = 32 * 1024
LARGEST_CALL: Final = 1024 * 1024
CALLS_AT_ONCE: Final = 200.0
CALLS_PER_SECOND: Final = 100.0
MOST_REMEMBERED: Final = 4096

NO_STORE: Final = ((b"Cache-Control", b"no-store"),)
DONE: Final = Response(200, b'{"status":"done"}', NO_STORE)
KNOWN: Final = Response(200, b'{"status":"already done"}', NO_STORE)

log = logging.getLogger("rowgate.notices")


class Notices:
    """Answers identity providers. ``databases`` gives those that are open; ``clock`` gives Unix seconds."""

    def __init__(
        self,
        databases: Callable[[], Iterable[Database]],
        *,
        leeway: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._databases = databases
        self._leeway = leeway
        self._clock = clock
        self._allowance = CALLS_AT_ONCE
        self._refilled_at = clock()
        self._logged_at = 0.0
        self._recent: OrderedDict[tuple[int, str, str], None] = OrderedDict()

    def takes(self, request: HttpRequest) -> bool:
        """Whether the request is of this kind."""
        return request.method == b"POST" and (request.path == LOGOUT_PATH or request.path.startswith(WEBHOOK_PATH))

    async def answer(self, request: HttpRequest) -> Response:
        """The answer to a request that ``takes`` is true for; every refusal is an answer too."""
        try:
            if request.path == LOGOUT_PATH:
                return await self._log_out(request.body)
            return await self._webhook(request)
        except RowgateError as problem:
            self._log(problem)
            return error_response(problem)

    def _log(self, problem: RowgateError) -> None:
        """At most one line a second, because strangers can cause as many as they like."""
        now = self._clock()
        if abs(now - self._logged_at) >= 1.0:
            self._logged_at = now
            log.warning("a notice was refused: %s %s", problem.message, problem.detail or "")

    async def _log_out(self, body: bytes) -> Response:
        """OpenID Connect Back-Channel Logout 1.0, sections 2.5 to 2.8."""
        if len(body) > LARGEST_LOGOUT:
            raise BodyTooLarge("the logout request is too large", hint=f"At most {LARGEST_LOGOUT} bytes are read.")
        parsed = parse_compact(_logout_token(body), needs_key_id=False, types=LOGOUT_TYPES)
        done = False
        refusal: RowgateError | None = None
        for database in self._databases():
            try:
                notice = await database.read_logout(parsed, now=self._clock(), leeway=self._leeway)
                sender = f"logout {notice.revocations[0].provider}"
                message = ReceivedMessage(sender, notice.token_id, notice.expires_at)
                if not await self._revoke(database, message, notice.revocations):
                    raise NoticeRefused("The logout token came before.")
                done = True
            except RowgateError as problem:
                # Of several databases the one that knows the issuer tells more than those that do not.
                if refusal is None or isinstance(refusal, TokenIssuerUnknown):
                    refusal = problem
        if done:
            return DONE
        raise refusal or NoticeRefused("No database is open here.")

    async def _webhook(self, request: HttpRequest) -> Response:
        if len(request.body) > LARGEST_CALL:
            raise BodyTooLarge("the call is too large", hint=f"At most {LARGEST_CALL} bytes are read.")
        name = request.path[len(WEBHOOK_PATH) :].decode("latin-1")
        hooks = [(one, one.webhooks[name]) for one in self._databases() if name in one.webhooks]
        if not hooks:
            raise NoticeRefused("There is no webhook at this address.", hint="See `rowgate webhook list`.")
        answer: Response | None = None
        refusal: RowgateError | None = None
        for database, webhook in hooks:
            try:
                call = read_call(webhook, request.headers, request.body, now=self._clock())
            except NoticeRefused as problem:
                refusal = problem
                continue
            answer = answer or KNOWN
            message = ReceivedMessage(f"webhook {name}", call.message_id, call.expires_at)
            if not call.revocations or await self._revoke(database, message, call.revocations):
                answer = DONE
        if answer is None and refusal is not None:
            raise refusal
        return answer or KNOWN

    async def _revoke(self, database: Database, message: ReceivedMessage, rows: Sequence[Revocation]) -> bool:
        """Whether the message was acted on now, and not before. Raises RateExceeded."""
        key = (id(database), message.sender, message.message_id)
        if key in self._recent:
            return False
        self._admit()
        acted = await database.registry.revoke(rows, message=message) is not None
        self._recent[key] = None
        if len(self._recent) > MOST_REMEMBERED:
            self._recent.popitem(last=False)
        return acted

    def _admit(self) -> None:
        """Only genuine calls come here, so nobody else can use the allowance up."""
        now = self._clock()
        self._allowance = min(CALLS_AT_ONCE, self._allowance + max(0.0, now - self._refilled_at) * CALLS_PER_SECOND)
        self._refilled_at = now
        if self._allowance < 1:
            raise RateExceeded("too many notices came at once")
        self._allowance -= 1


def _logout_token(body: bytes) -> str:
    """The form's only ``logout_token`` (section 2.5)."""
    try:
        fields = parse_qsl(body.decode("ascii"), max_num_fields=16)
    except ValueError as error:
        raise NoticeRefused("The logout request is not a form.") from error
    tokens = [value for name, value in fields if name == "logout_token"]
    if len(tokens) != 1:
        raise NoticeRefused("The logout request has no logout_token, or several.")
    return tokens[0]
