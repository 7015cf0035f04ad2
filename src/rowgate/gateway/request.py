"""What a ``POST /sql`` request asks: its headers and its JSON body as frozen values.

Follows what ``@neondatabase/serverless`` sends. Decoding keeps every digit of every number. Never talks to Postgres.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

import msgspec

from rowgate.errors import MalformedBody, MalformedHeader
from rowgate.gateway import connection_string
from rowgate.gateway.connection_string import ConnectionString
from rowgate.pgwire.messages import text as wire_text
from rowgate.pgwire.values import parameters
from rowgate.postgres.exchange import Statement

MOST_CONNECTION_STRINGS: Final = 1024
LONGEST_KNOWN_HEADER: Final = 1024
MOST_PARAMETERS: Final = 65_535  # PostgreSQL 18, section 54.7, Bind: the count is an Int16
BEARER: Final = b"bearer "
ISOLATION_LEVELS: Final[Mapping[bytes, bytes]] = {
    b"ReadUncommitted": b"READ UNCOMMITTED",
    b"ReadCommitted": b"READ COMMITTED",
    b"RepeatableRead": b"REPEATABLE READ",
    b"Serializable": b"SERIALIZABLE",
}


class _QueryBody(msgspec.Struct):
    query: str
    params: list[Any] | None = None
    arrayMode: bool | None = None


class _Body(msgspec.Struct):
    query: str | None = None
    params: list[Any] | None = None
    arrayMode: bool | None = None
    queries: list[_QueryBody] | None = None


_decoder = msgspec.json.Decoder(_Body, float_hook=Decimal)


@dataclass(frozen=True, slots=True)
class TransactionOptions:
    """How the transaction of a batch is opened; the headers' own words are kept to be echoed."""

    isolation: bytes | None = None
    read_only: bool = False
    deferrable: bool = False

    @property
    def begin(self) -> bytes:
        """The SQL that opens the transaction: fixed words only, nothing that a client wrote."""
        sql = b"START TRANSACTION"
        modes = []
        if self.isolation is not None:
            modes.append(b"ISOLATION LEVEL " + ISOLATION_LEVELS[self.isolation])
        if self.read_only:
            modes.append(b"READ ONLY")
        if self.deferrable:
            modes.append(b"DEFERRABLE")
        return sql + (b" " + b", ".join(modes) if modes else b"")

    @property
    def echo(self) -> list[tuple[bytes, bytes]]:
        """The response headers of a batch."""
        headers = []
        if self.isolation is not None:
            headers.append((b"Neon-Batch-Isolation-Level", self.isolation))
        if self.read_only:
            headers.append((b"Neon-Batch-Read-Only", b"true"))
        if self.deferrable:
            headers.append((b"Neon-Batch-Deferrable", b"true"))
        return headers


class SqlRequest(msgspec.Struct, frozen=True):
    """One request: who asks, where, what, and how the answer shall look.

    ``texts`` are the statements' SQL as text (for the guard), ``statements`` the same with parameters as bytes (for
    Postgres), ``array_modes`` one flag for each statement.
    """

    connection: ConnectionString
    token: str | None
    texts: Sequence[str]
    statements: Sequence[Statement]
    array_modes: Sequence[bool]
    raw_text: bool
    transaction: TransactionOptions | None

    def __repr__(self) -> str:
        """What its repr shows: neither token nor statements."""
        return f"SqlRequest(connection={self.connection!r}, raw_text={self.raw_text!r})"


_passwordless: Final[dict[bytes, ConnectionString]] = {}
"""Connection strings that came before, by their headers."""


def _connection(header: bytes) -> ConnectionString:
    known = _passwordless.get(header)
    if known is not None:
        return known
    try:
        text = header.decode("utf-8")
    except UnicodeDecodeError as problem:
        raise MalformedHeader("invalid header: neon-connection-string", detail="it is not UTF-8") from problem
    connection = connection_string.parse(text)
    # What holds no password, nor a parameter that might be one, gives nothing away by staying in memory.
    if connection.password is None and b"password" not in header.lower() and len(header) <= LONGEST_KNOWN_HEADER:
        if len(_passwordless) >= MOST_CONNECTION_STRINGS:
            _passwordless.clear()
        _passwordless[header] = connection
    return connection


def _token(header: bytes | None) -> str | None:
    if header is None:
        return None
    if header[:7].lower() != BEARER:
        raise MalformedHeader(
            "missing authentication credentials: required authorization bearer token in JWT format",
            hint="Send Authorization: Bearer <token>.",
        )
    try:
        return header[7:].strip().decode("ascii")
    except UnicodeDecodeError as problem:
        raise MalformedHeader("the bearer token holds characters that no token has") from problem


def _transaction(headers: Mapping[bytes, bytes]) -> TransactionOptions:
    isolation = headers.get(b"neon-batch-isolation-level")
    if isolation is not None and isolation not in ISOLATION_LEVELS:
        expected = ", ".join(word.decode() for word in ISOLATION_LEVELS)
        raise MalformedHeader("invalid isolation level", detail=f"expected one of {expected}")
    return TransactionOptions(
        isolation,
        headers.get(b"neon-batch-read-only") == b"true",
        headers.get(b"neon-batch-deferrable") == b"true",
    )


def decode(headers: Mapping[bytes, bytes], body: bytes, *, max_batch_statements: int) -> SqlRequest:
    """Reads one request. ``headers`` have names in small letters.

    Raises MalformedHeader, MalformedBody or MalformedParameter.
    """
    connection = _connection(headers.get(b"neon-connection-string", b""))
    token = _token(headers.get(b"authorization"))
    raw_text = headers.get(b"neon-raw-text-output") == b"true"
    array_mode = headers.get(b"neon-array-mode") == b"true"
    parsed = _parse_body(body)
    transaction = None
    if parsed.queries is not None:
        transaction = _transaction(headers)
        queries = parsed.queries
        if len(queries) > max_batch_statements:
            raise MalformedBody("the batch has too many statements", detail=f"at most {max_batch_statements}")
        texts = [one.query for one in queries]
        statements = [_statement(one.query, one.params) for one in queries]
        array_modes = [array_mode if one.arrayMode is None else one.arrayMode for one in queries]
    elif parsed.query is not None:
        texts = [parsed.query]
        statements = [_statement(parsed.query, parsed.params)]
        array_modes = [array_mode if parsed.arrayMode is None else parsed.arrayMode]
    else:
        raise MalformedBody("could not parse the HTTP request body: missing field `query`")
    return SqlRequest(connection, token, texts, statements, array_modes, raw_text, transaction)


def _parse_body(body: bytes) -> _Body:
    try:
        return _decoder.decode(body)
    except RecursionError as problem:
        raise MalformedBody("could not parse the HTTP request body: nested too deeply") from problem
    except UnicodeDecodeError as problem:
        raise MalformedBody("could not parse the HTTP request body: it is not UTF-8") from problem
    except (msgspec.MsgspecError, ValueError, ArithmeticError) as problem:
        raise MalformedBody(f"could not parse the HTTP request body: {problem}") from problem


def _statement(sql: str, values: list[Any] | None) -> Statement:
    if not values:
        return Statement(wire_text(sql), ())
    if len(values) > MOST_PARAMETERS:
        raise MalformedBody("the statement has too many parameters", detail=f"at most {MOST_PARAMETERS}")
    return Statement(wire_text(sql), parameters(values))
