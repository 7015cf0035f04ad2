"""Answers: exactly the keys that the driver's own tests compare, for results and for errors."""

import json

import pytest

from rowgate.errors import (
    ConnectionLost,
    CredentialsMissing,
    DatabaseError,
    QueueFull,
    StatementRefused,
    TokenExpired,
    catalogue,
)
from rowgate.gateway.response import error_body, error_response, result_json
from rowgate.pgwire.fields import Field
from rowgate.pgwire.messages import raw
from rowgate.pgwire.result_shape import ResultShape
from rowgate.postgres.exchange import Prepared, Result

KEYS = [
    "message",
    "code",
    "detail",
    "hint",
    "position",
    "internalPosition",
    "internalQuery",
    "severity",
    "where",
    "table",
    "column",
    "schema",
    "dataType",
    "constraint",
    "file",
    "line",
    "routine",
]


def data_row(*values: bytes | None) -> bytes:
    cells = [b"\xff\xff\xff\xff" if one is None else len(one).to_bytes(4, "big") + one for one in values]
    return raw(b"D", len(values).to_bytes(2, "big") + b"".join(cells))


@pytest.mark.parametrize("word", ['SEL"E', "SEL\\", "SEL\x19\n", 'A","rows":[],"x":"', "é\ufffd"])
def test_a_result_is_json_whatever_the_server_calls_the_command(word: str) -> None:
    result = Result(Prepared(b""), [], f"{word} 2\0".encode())
    found = json.loads(result_json(result, False, False, {}))
    assert (found["command"], found["rowCount"], found["rows"]) == (word, 2, [])


def test_a_result_has_exactly_the_keys_of_the_driver() -> None:
    prepared = Prepared(b"")
    prepared.shape = ResultShape((Field("id", 1, 2, 23, 4, -1), Field("task", 1, 3, 25, -1, -1)))
    result = Result(prepared, [data_row(b"1", "é\n".encode()), data_row(b"2", None)], b"SELECT 2\0")
    assert json.loads(result_json(result, False, False, {})) == {
        "fields": [
            {
                "name": "id",
                "dataTypeID": 23,
                "tableID": 1,
                "columnID": 2,
                "dataTypeSize": 4,
                "dataTypeModifier": -1,
                "format": "text",
            },
            {
                "name": "task",
                "dataTypeID": 25,
                "tableID": 1,
                "columnID": 3,
                "dataTypeSize": -1,
                "dataTypeModifier": -1,
                "format": "text",
            },
        ],
        "rows": [{"id": 1, "task": "é\n"}, {"id": 2, "task": None}],
        "command": "SELECT",
        "rowCount": 2,
        "rowAsArray": False,
    }
    assert json.loads(result_json(result, True, True, {}))["rows"] == [["1", "é\n"], ["2", None]]


def test_an_empty_query() -> None:
    empty = json.loads(result_json(Result(Prepared(b""), [], b""), True, True, {}))
    assert empty == {"fields": [], "rows": [], "command": "", "rowCount": None, "rowAsArray": True}


def test_postgres_errors_pass_with_all_their_fields() -> None:
    fields = {"S": "ERROR", "C": "23505", "M": "duplicate", "D": "Key exists", "P": "7", "t": "todos", "L": "42",
              "R": "_bt_check_unique", "n": "todos_pkey", "F": "nbtinsert.c", "s": "public"}  # fmt: skip
    body = error_body(DatabaseError(fields))
    assert sorted(body) == sorted(KEYS)
    assert (body["position"], body["line"], body["constraint"]) == ("7", "42", "todos_pkey")
    assert body["where"] is None


def test_a_wrong_password_reads_as_drivers_expect() -> None:
    error = DatabaseError({"C": "28P01", "M": 'password authentication failed for user "x"'})
    assert error_body(error, "x")["message"] == "password authentication failed for user 'x'"


def test_our_errors_have_the_same_keys() -> None:
    for error in catalogue():
        if error is not DatabaseError:
            body = error_body(error("a message"))
            assert sorted(body) == sorted(KEYS)
            assert body["routine"] == "rowgate:" + error.code


def test_what_a_refused_token_looks_like() -> None:
    answer = error_response(TokenExpired("JWT token has expired"))
    assert answer.status == 400
    assert dict(answer.headers)[b"WWW-Authenticate"].startswith(b'Bearer realm="rowgate", error="invalid_token"')
    assert json.loads(answer.body)["code"] == "28000"
    assert dict(error_response(CredentialsMissing("x")).headers)[b"WWW-Authenticate"] == b'Bearer realm="rowgate"'


def test_faults_say_when_to_come_back() -> None:
    for error in (QueueFull("x"), ConnectionLost("x")):
        answer = error_response(error)
        assert answer.status == 503
        assert (b"Retry-After", b"1") in answer.headers


def test_a_refused_statement_has_a_position() -> None:
    body = error_body(StatementRefused("x", position=8, sqlstate="42601"))
    assert (body["position"], body["code"]) == ("8", "42601")
