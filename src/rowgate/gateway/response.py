"""Results and errors as the JSON that clients of ``POST /sql`` read.

The keys are exactly those that ``@neondatabase/serverless`` expects; one more or less breaks its own tests. Never
talks to Postgres.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

import msgspec

from rowgate.errors import DatabaseError, RowgateError, StatementRefused, TokenRefused
from rowgate.errors.postgres_fields import JSON_NAMES, OWN_ROUTINE
from rowgate.pgwire.fields import command_tag
from rowgate.pgwire.types import ArrayType
from rowgate.postgres.exchange import Result

WRONG_CREDENTIALS: Final = "28P01"
JSON: Final = b"application/json"


class Response(msgspec.Struct, frozen=True):
    """An HTTP answer: status, body, and headers beyond those that every answer has.

    ``rest`` are further pieces of a large body, which are not worth a copy to have it in one. ``written`` says that the
    body has gone out already, in pieces, and how many bytes it had.
    """

    status: int
    body: bytes
    headers: Sequence[tuple[bytes, bytes]] = ()
    content_type: bytes = JSON
    rest: Sequence[bytes] = ()
    written: int | None = None

    @property
    def size(self) -> int:
        """Bytes of the body."""
        return len(self.body) + sum(map(len, self.rest)) if self.written is None else self.written

    def __repr__(self) -> str:
        """What its repr shows: no body."""
        return f"Response(status={self.status!r})"


def result_json(result: Result, raw_text: bool, array_mode: bool, array_types: Mapping[int, ArrayType]) -> bytes:
    """One statement's result as a JSON object."""
    columns = result.prepared.columns
    rows = columns.encoder(raw_text, array_mode, array_types).encode_elements(result.regions)
    return b'{"fields":%b,"rows":[%b],%b,"rowAsArray":%b}' % (
        columns.fields_json,
        rows,
        command_json(result.tag),
        b"true" if array_mode else b"false",
    )


@lru_cache(maxsize=1024)
def command_json(tag: bytes) -> bytes:
    """The members ``command`` and ``rowCount`` for the body of CommandComplete (empty for an empty query)."""
    command, count = command_tag(tag) if tag else ("", None)
    return b'"command":%b,"rowCount":%b' % (msgspec.json.encode(command), b"null" if count is None else b"%d" % count)


def error_response(error: RowgateError, role: str | None = None) -> Response:
    """The answer to a request that failed. ``role`` is the user of the connection string, where it is known."""
    headers: list[tuple[bytes, bytes]] = []
    if isinstance(error, TokenRefused) or error.code == "credentials_missing":
        headers.append((b"WWW-Authenticate", _challenge(error)))
    retry_after = getattr(error, "retry_after", None)
    if retry_after is not None:
        headers.append((b"Retry-After", b"%d" % retry_after))
    return Response(error.status, msgspec.json.encode(error_body(error, role)), headers)


def error_body(error: RowgateError, role: str | None = None) -> dict[str, Any]:
    """The JSON of an error: Postgres's own fields for its own errors, the same keys for ours."""
    if isinstance(error, DatabaseError):
        body: dict[str, Any] = {key: error.fields.get(code) for key, code in JSON_NAMES.items()}
        if error.database_sqlstate == WRONG_CREDENTIALS and role is not None:
            # Drivers compare this text; Postgres puts the name in double quotes, the hosted original in single ones.
            body["message"] = f"password authentication failed for user '{role}'"
        return body
    body = dict.fromkeys(JSON_NAMES)
    body |= {"message": error.message, "code": error.sqlstate, "detail": error.detail, "hint": error.hint}
    body["severity"] = "ERROR"
    if isinstance(error, StatementRefused):
        body["code"] = error.refused_sqlstate
        body["position"] = None if error.position is None else str(error.position)
    # The stable code of the check that failed; our reference has a heading for each.
    body["routine"] = OWN_ROUTINE + error.code
    return body


def _challenge(error: RowgateError) -> bytes:
    """RFC 6750 section 3."""
    if error.code == "credentials_missing":
        return b'Bearer realm="rowgate"'
    return b'Bearer realm="rowgate", error="invalid_token", error_description="%b"' % error.code.encode()
