"""Answers as the Python client reads them: results, refusals, and what is neither."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowgate import errors
from rowgate.client.failure import error_of, succeeded
from rowgate.client.request import Target, batch_call, checked_token, query_call
from rowgate.client.result import read_result, read_results
from rowgate.client.values import converter
from rowgate.errors import (
    AnswerUnreadable,
    CredentialsMissing,
    DatabaseError,
    MalformedBody,
    MalformedHeader,
    RefusalUnknown,
    RowgateError,
    SettingInvalid,
    StatementRefused,
    TokenMalformed,
    catalogue,
)
from rowgate.gateway.response import error_response

TARGET = Target("https://sql.example.com/sql", "postgresql://authenticated@ep/app")


def answer(*columns: tuple[str, int], rows: list[list[Any]], **changes: Any) -> bytes:
    fields = [{"name": name, "dataTypeID": oid, "tableID": 9, "columnID": 1} for name, oid in columns]
    told = {"fields": fields, "rows": rows, "command": "SELECT", "rowCount": len(rows), "rowAsArray": True}
    return json.dumps({**told, **changes}).encode()


@pytest.mark.parametrize(
    ("oid", "given", "made"),
    [
        (23, 7, 7),
        (16, True, True),
        (25, "x", "x"),
        (20, "9007199254740993", 9007199254740993),
        (701, 1, 1.0),
        (701, "Infinity", float("inf")),
        (1700, "1.10", Decimal("1.10")),
        (17, "\\x00ff", b"\x00\xff"),
        (17, "\\000a", "\\000a"),  # bytea_output = escape
        (1082, "2026-11-28", date(2026, 11, 28)),
        (1082, "infinity", "infinity"),
        (1082, "0044-03-15 BC", "0044-03-15 BC"),
        (1082, "28.11.2026", "28.11.2026"),  # DateStyle = German
        (1083, "06:05:00.5", time(6, 5, 0, 500_000)),
        (1266, "06:05:00+02", time(6, 5, tzinfo=timezone(timedelta(hours=2)))),
        (1114, "2026-11-28 06:05:00", datetime(2026, 11, 28, 6, 5)),
        (1184, "2026-11-28 06:05:00.123+00", datetime(2026, 11, 28, 6, 5, 0, 123_000, UTC)),
        (1184, "1890-01-01 00:00:00+05:30:20",
         datetime(1890, 1, 1, tzinfo=timezone(timedelta(hours=5, minutes=30, seconds=20)))),
        (2950, "00000000-0000-0000-0000-000000000001", UUID(int=1)),
        (3802, {"a": [1]}, {"a": [1]}),
        (1016, ["1", None, ["2"]], [1, None, [2]]),
        (2951, [], []),
        (1186, "1 mon", "1 mon"),
        (99_999, "mine", "mine"),
    ],
)  # fmt: skip
def test_values_become_pythons_types(oid: int, given: Any, made: Any) -> None:
    result = read_result(answer(("v", oid), rows=[[given], [None]]))
    assert result.values == [(made,), (None,)]
    assert type(result.values[0][0]) is type(made)


@given(st.integers(0, 4000), st.recursive(st.none() | st.text() | st.integers(), st.lists, max_leaves=8))
def test_no_value_makes_it_fail(oid: int, value: Any) -> None:
    convert = converter(oid)
    if convert is not None:
        convert(value)


@dataclass
class Todo:
    task: str
    due: date


def test_rows_in_each_form() -> None:
    result = read_result(answer(("task", 25), ("due", 1082), rows=[["milk", "2026-11-28"]]))
    assert result.rows == list(result) == [{"task": "milk", "due": date(2026, 11, 28)}]
    assert result.into(Todo) == [Todo("milk", date(2026, 11, 28))]
    assert (len(result), result.command, result.row_count) == (1, "SELECT", 1)
    assert result.columns[1].type_oid == 1082
    assert "milk" not in repr(result)


def test_columns_of_one_name_are_all_in_the_values() -> None:
    result = read_result(answer(("v", 23), ("v", 23), rows=[[1, 2]]))
    assert (result.values, result.rows) == ([(1, 2)], [{"v": 2}])


@pytest.mark.parametrize(
    "body",
    [
        b"", b"<html>", b"[]", b"null", b'"x"', b"{}", b"\xff", b"[" * 100_000, b'{"results": 1}',
        answer(("v", 23), rows=[[1, 2]]),
        answer(("v", 23), rows=[[1]], rowAsArray=False),
        answer(("v", 23), rows=[[1]], fields=None),
    ],
)  # fmt: skip
def test_what_is_no_result(body: bytes) -> None:
    for read in (read_result, read_results):
        with pytest.raises(AnswerUnreadable):
            read(body)


def made(kind: type[RowgateError]) -> RowgateError:
    if issubclass(kind, DatabaseError):
        return kind({"M": "duplicate key", "C": "23505", "D": "Key (id)=(1) already exists.", "n": "todos_pkey"})
    return kind("It was refused.", detail="because", hint="do this")


@pytest.mark.parametrize("kind", list(catalogue()), ids=lambda kind: kind.code)
def test_each_error_of_the_gateway_comes_back_as_itself(kind: type[RowgateError]) -> None:
    sent = made(kind)
    response = error_response(sent)
    headers = {name.decode().lower(): value.decode() for name, value in response.headers}
    error = error_of(response.status, {**headers, "neon-request-id": "1234"}, response.body)
    assert type(error) is kind
    assert (error.message, error.detail, error.hint) == (sent.message, sent.detail, sent.hint)
    assert getattr(error, "retry_after", None) == getattr(sent, "retry_after", None)
    assert "request: 1234" in error.__notes__
    if isinstance(error, DatabaseError):
        assert isinstance(sent, DatabaseError)
        assert (error.database_sqlstate, error.fields["n"]) == ("23505", "todos_pkey")


def test_what_only_some_errors_have() -> None:
    sent = error_response(StatementRefused("syntax error", position=8, sqlstate="42601"))
    error = error_of(sent.status, {}, sent.body)
    assert isinstance(error, StatementRefused)
    assert (error.position, error.refused_sqlstate) == (8, "42601")
    late = error_response(errors.RateExceeded("slower", retry_after=33))
    limited = error_of(429, {"retry-after": "33"}, late.body)
    assert isinstance(limited, errors.RateExceeded)
    assert limited.retry_after == 33


def test_a_code_of_a_newer_gateway() -> None:
    error = error_of(400, {}, json.dumps({"message": "no", "routine": "rowgate:of_the_future", "hint": "h"}).encode())
    assert isinstance(error, RefusalUnknown)
    assert (error.refusal, error.hint) == ("of_the_future", "h")


@pytest.mark.parametrize(
    "body", [b"", b"<html>502", b'"query is not supported"', b"[]", b'{"message": 1}', b"[" * 9999]
)
def test_what_is_no_refusal(body: bytes) -> None:
    with pytest.raises(AnswerUnreadable) as unreadable:
        succeeded(502, {}, body)
    assert "502" in (unreadable.value.detail or "")


@given(st.dictionaries(st.sampled_from(["message", "routine", "position", "code", "hint"]),
                       st.text() | st.just("rowgate:statement_refused") | st.integers() | st.none()),
       st.text(max_size=6))  # fmt: skip
def test_a_refusal_of_any_form_becomes_an_error(told: dict[str, Any], retry_after: str) -> None:
    assert isinstance(error_of(400, {"retry-after": retry_after}, json.dumps(told).encode()), RowgateError)


@pytest.mark.parametrize("token", ["", "a b", "a\r\nX-Evil: 1", "é", "x\0", 5, b"abc"])
def test_what_is_no_token_is_refused_and_not_shown(token: object) -> None:
    with pytest.raises(TokenMalformed) as refused:
        checked_token(token)
    shown = f"{refused.value.message} {refused.value.detail}"
    assert not (isinstance(token, str) and token and token in shown)


def test_no_token_where_one_was_promised_is_refused() -> None:
    with pytest.raises(CredentialsMissing):
        checked_token(None)


@pytest.mark.parametrize(
    "url",
    ["", "sql.example.com/sql", "ftp://x/sql", "http://", "https://u:p@x/sql", "http://[::1/sql", "http://x:99999/"],
)
def test_addresses_that_cannot_be_used(url: str) -> None:
    with pytest.raises(SettingInvalid):
        Target(url, "postgresql://authenticated@x/y")


@pytest.mark.parametrize("url", ["", "postgresql://a@b/c\r\nX-Evil: 1", "postgresql://a@b/\0"])
def test_connection_strings_that_cannot_be_sent(url: str) -> None:
    with pytest.raises(MalformedHeader):
        Target("https://sql.example.com/sql", url)


def test_secrets_are_in_no_repr() -> None:
    target = Target("https://sql.example.com/sql", "postgresql://owner:hunter2@ep/app")
    assert "hunter2" not in repr(target)
    assert repr(query_call(target, "to.ke.n", "select 'hunter2'", ["hunter2"])) == "Call()"


def test_a_batch_is_of_text_and_tuples() -> None:
    call = batch_call(TARGET, None, ["select 1", ("select $1", 2)], "Serializable", True, True)
    assert json.loads(call.body) == {
        "queries": [{"query": "select 1", "params": []}, {"query": "select $1", "params": [2]}]
    }
    sent = dict(call.headers)
    assert [sent[b"Neon-Batch-" + name] for name in (b"Isolation-Level", b"Read-Only", b"Deferrable")] == [
        b"Serializable", b"true", b"true",
    ]  # fmt: skip
    for wrong in ((), (1,), (b"select 1",)):
        with pytest.raises(MalformedBody):
            batch_call(TARGET, None, [wrong], None, False, False)  # type: ignore[list-item]
