"""Large results over HTTP as clients read them: the bytes of held ones, bounded memory, back-pressure, a clear end.

Two gateways stand in front of one database: one lets results above a kilobyte flow, the other holds every result.
"""

import io
import itertools
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import httpx
import psycopg
import pyarrow
import pytest

from tests.clients.gateways import environment, running_gateway
from tests.clients.served import TABLES, Served, serve, set_up
from tests.plain_http import HTTP
from tests.servers import TestServer

MORE_TABLES = (
    TABLES
    + """
create type mood as enum ('happy', 'so so');
create table moods (id int, felt mood[]);
insert into moods select g, array['happy', null, 'so so']::mood[] from generate_series(1, 3000) g;
alter table moods enable row level security;
create policy everyone on moods for select to authenticated using (true);
"""
)
URL = "postgresql://authenticated@any/app"
MEBIBYTE = 1024 * 1024
WIDE = "select g, repeat('x', 1000) as filler from generate_series(1, {}) g"
VALUES = """select g, g::int2 as small, g * 1.5::float8 as float, g % 2 = 0 as even, null as nothing,
    'text "' || g || E'"\\né' as text, jsonb_build_object('n', g) as document, array[g, null] as list,
    g::numeric / 7 as digits
    from generate_series(1, {}) g"""


@pytest.fixture(scope="module")
def flowing(postgres18: TestServer) -> Iterator[Served]:
    with serve(
        set_up(postgres18, tables=MORE_TABLES),
        ROWGATE_STREAM_ABOVE_BYTES="1024",
        ROWGATE_POOL_SIZE="4",
        ROWGATE_SUBJECT_RATE="100000",
    ) as running:
        yield running


@pytest.fixture(scope="module")
def holding(flowing: Served) -> Iterator[Served]:
    variables = environment(flowing.prepared.control_url, ROWGATE_MAX_RESULT_BYTES=str(100 * MEBIBYTE))
    with running_gateway(variables) as (process, urls):
        yield Served(process, urls, flowing.prepared, flowing.issuer, variables)


def ask(served: Served, body: object, **headers: str) -> httpx.Response:
    return HTTP.post(served.sql_url, json=body, headers=all_headers(served, headers), timeout=60)


def all_headers(served: Served, more: dict[str, str]) -> dict[str, str]:
    named = {name.replace("_", "-"): value for name, value in more.items()}
    return {"Neon-Connection-String": URL, "Authorization": f"Bearer {served.token()}", **named}


def eventually(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def resident_bytes(served: Served, field: str = "VmRSS") -> int:
    with open(f"/proc/{served.process.pid}/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith(field))


@pytest.mark.parametrize(("raw", "arrays"), list(itertools.product(["true", "false"], repeat=2)))
@pytest.mark.parametrize(
    "body",
    [
        {"query": VALUES.format(3000)},
        {"query": "select id, felt from moods"},
        {"query": "select 1 as one"},
        {"query": "select"},
        {"query": "select 1 as a, 2 as a where false"},
        {"queries": [{"query": "select 1 as one"}, {"query": VALUES.format(500)}, {"query": "select 2 where false"},
                     {"query": VALUES.format(500), "arrayMode": True}, {"query": "select 3 as three"}]},
    ],
    ids=["values", "user enum", "small", "no columns", "no rows", "batch"],
)  # fmt: skip
def test_the_bytes_are_the_same_as_those_of_a_held_result(
    flowing: Served, holding: Served, body: dict[str, object], raw: str, arrays: str
) -> None:
    headers = {"Neon_Raw_Text_Output": raw, "Neon_Array_Mode": arrays, "Neon_Batch_Read_Only": "true"}
    one, other = ask(flowing, body, **headers), ask(holding, body, **headers)
    assert (one.status_code, one.content) == (200, other.content)
    is_large = len(other.content) > 10_000
    assert ("transfer-encoding" in one.headers, "content-length" in one.headers) == (is_large, not is_large)
    assert "ratelimit" in one.headers
    assert "transfer-encoding" not in other.headers
    same = {"content-type", "neon-batch-read-only", "access-control-allow-origin"}
    assert {name: one.headers.get(name) for name in same} == {name: other.headers.get(name) for name in same}


def test_a_result_of_any_size_takes_little_memory_and_starts_at_once(flowing: Served) -> None:
    """300 MB, of which the gateway never holds more than some pieces, and more than max_result_bytes."""
    ask(flowing, {"query": WIDE.format(3000)})
    before = resident_bytes(flowing)
    headers = all_headers(flowing, {})
    size = rows = 0
    with httpx.stream(
        "POST", flowing.sql_url, json={"query": WIDE.format(300_000)}, headers=headers, timeout=60
    ) as answer:
        assert answer.status_code == 200
        for piece in answer.iter_raw(MEBIBYTE):
            if not size:
                assert flowing.busy() == 1  # Postgres is still at it when the first rows are here
            size += len(piece)
            rows += piece.count(b'"filler"')
    assert size > 300_000_000
    assert rows >= 299_000  # one may lie across two pieces
    assert resident_bytes(flowing, "VmHWM") - before < 40 * MEBIBYTE


def raw_request(served: Served, query: str, version: str = "1.1", **more: str) -> bytes:
    body = json.dumps({"query": query}).encode()
    headers = {"Host": "x", "Content-Length": str(len(body)), **all_headers(served, more)}
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"POST /sql HTTP/{version}\r\n{head}\r\n".encode() + body


def connect(served: Served) -> socket.socket:
    where = urlsplit(served.sql_url)
    client = socket.create_connection((where.hostname or "", where.port or 0), timeout=30)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
    return client


def waits_for_the_client(served: Served) -> bool:
    with psycopg.connect(served.prepared.admin_url) as connection:
        row = connection.execute(
            "select count(*) from pg_stat_activity "
            "where wait_event = 'ClientWrite' and usename in (select login_name from rowgate.exposed_role)"
        ).fetchone()
    return row == (1,)


def test_a_client_that_reads_slowly_makes_postgres_wait(flowing: Served) -> None:
    before = resident_bytes(flowing)
    with connect(flowing) as client:
        client.sendall(raw_request(flowing, WIDE.format(100_000)))
        first = client.recv(1000)
        eventually(lambda: waits_for_the_client(flowing))
        assert resident_bytes(flowing) - before < 20 * MEBIBYTE
        assert flowing.sql("select 1").status_code == 200  # others are served
        received, last = len(first), first
        while not last.endswith(b"\r\n0\r\n\r\n"):
            last = last[-10:] + client.recv(MEBIBYTE)
            received += len(last)
    assert received > 100_000_000
    eventually(lambda: flowing.busy() == 0)


def test_a_client_that_goes_frees_its_connection(flowing: Served) -> None:
    for _ in range(6):  # more than there are connections
        with connect(flowing) as client:
            client.sendall(raw_request(flowing, WIDE.format(1_000_000)))
            client.recv(1000)
    eventually(lambda: flowing.busy() == 0)
    assert flowing.sql("select 1").status_code == 200


def test_an_error_in_the_middle_cuts_the_answer_off(flowing: Served) -> None:
    query = "select 10 / (20000 - g) as ratio, repeat('x', 100) from generate_series(1, 30000) g"
    with pytest.raises(httpx.TransportError):
        ask(flowing, {"query": query})
    early = ask(flowing, {"query": "select 10 / (5 - g) from generate_series(1, 30000) g"})
    assert (early.status_code, early.json()["code"]) == (400, "22012")
    assert flowing.sql("select 1").status_code == 200


def test_an_error_in_the_middle_of_a_held_result_is_the_answer(holding: Served) -> None:
    query = "select 10 / (20000 - g) as ratio, repeat('x', 100) from generate_series(1, 30000) g"
    refused = ask(holding, {"query": query})
    assert (refused.status_code, refused.json()["code"]) == (400, "22012")
    batch = [{"query": "select 1"}, {"query": WIDE.format(1000)}, {"query": query}]
    assert ask(holding, {"queries": batch}).json()["code"] == "22012"
    assert ask(holding, {"query": WIDE.format(1000)}).json()["rowCount"] == 1000


def test_a_held_result_for_a_slow_client_keeps_no_backend_and_holds_up_nobody(holding: Served) -> None:
    with connect(holding) as client:
        last = raw_request(holding, "select 'the last'", Connection="close")
        client.sendall(raw_request(holding, WIDE.format(20_000)) + last)
        first = client.recv(1000)
        eventually(lambda: holding.busy() == 0)
        assert holding.sql("select 1").status_code == 200
        answer = first + b"".join(iter(lambda: client.recv(MEBIBYTE), b""))
    head, _, rest = answer.partition(b"\r\n\r\n")
    size = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
    assert json.loads(rest[:size])["rowCount"] == 20_000
    assert rest[size:].endswith(b"}")
    assert b'"the last"' in rest[size:]


def test_a_client_that_goes_in_the_middle_of_a_held_result(holding: Served) -> None:
    for _ in range(6):
        with connect(holding) as client:
            client.sendall(raw_request(holding, WIDE.format(20_000)))
            client.recv(1000)
    eventually(lambda: holding.busy() == 0)
    assert holding.sql("select 1").status_code == 200


def test_what_writes_is_held(flowing: Served) -> None:
    made = ask(
        flowing,
        {"query": "insert into todos (user_id, task) select auth.user_id(), repeat('x', 100)"
                  " from generate_series(1, 500) returning id, task"},
    )  # fmt: skip
    assert (made.status_code, len(made.json()["rows"])) == (200, 500)
    assert "content-length" in made.headers


def test_before_http_1_1_the_end_of_the_connection_ends_the_body(flowing: Served) -> None:
    with connect(flowing) as client:
        client.sendall(raw_request(flowing, VALUES.format(3000), version="1.0"))
        answer = b"".join(iter(lambda: client.recv(MEBIBYTE), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"chunked" not in head
    assert len(json.loads(body)["rows"]) == 3000


def test_pipelined_requests_are_answered_in_turn(flowing: Served) -> None:
    with connect(flowing) as client:
        last = raw_request(flowing, "select 'the last'", Connection="close")
        client.sendall(raw_request(flowing, VALUES.format(2000)) + raw_request(flowing, "select 'second'") + last)
        answer = b"".join(iter(lambda: client.recv(MEBIBYTE), b""))
    assert answer.count(b"HTTP/1.1 200") == 3
    assert answer.index(b"0\r\n\r\nHTTP/1.1") < answer.index(b'"second"') < answer.index(b'"the last"')


@pytest.mark.parametrize("count", [0, 3, 3000])
@pytest.mark.parametrize("arrays", ["true", "false"])
def test_newline_delimited_json(holding: Served, count: int, arrays: str) -> None:
    answer = ask(holding, {"query": VALUES.format(count)}, Accept="application/x-ndjson", Neon_Array_Mode=arrays)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/x-ndjson")
    assert ("transfer-encoding" in answer.headers) == (count > 1000)
    expected = ask(holding, {"query": VALUES.format(count)}, Neon_Array_Mode=arrays).json()["rows"]
    assert [json.loads(line) for line in answer.text.splitlines()] == expected


def test_an_arrow_stream(holding: Served) -> None:
    query = """select g::int2 as a, g as b, g::int8 as c, g::float8 / 3 as d, g % 2 = 0 as e, 'é' || g as f,
        date '2026-01-01' + g as g, timestamp '2026-01-01 10:00:00.5' as h, timestamptz '2026-01-01 10:00:00+02' as i,
        (g * 0.25)::numeric(10, 2) as j, g::numeric as k, null::int as l, array[g] as m, '\\x00ff'::bytea as n
        from generate_series(1, {}) g"""
    for count in (0, 1, 5000):
        answer = ask(holding, {"query": query.format(count)}, Accept="application/vnd.apache.arrow.stream")
        assert (answer.status_code, answer.headers["content-type"]) == (200, "application/vnd.apache.arrow.stream")
        assert ("transfer-encoding" in answer.headers) == (count > 1000)
        table = pyarrow.ipc.open_stream(io.BytesIO(answer.content)).read_all()
        table.validate(full=True)
        assert [str(kind) for kind in table.schema.types] == [
            "int16", "int32", "int64", "double", "bool", "string", "date32[day]", "timestamp[us]",
            "timestamp[us, tz=UTC]", "decimal128(10, 2)", "string", "int32", "string", "binary",
        ]  # fmt: skip
        assert table.num_rows == count
    last = {name: str(value) for name, value in table.slice(4999).to_pylist()[0].items()}
    assert last == {
        "a": "5000", "b": "5000", "c": "5000", "d": "1666.6666666666667", "e": "True", "f": "é5000", "g": "2039-09-10",
        "h": "2026-01-01 10:00:00.500000", "i": "2026-01-01 08:00:00+00:00", "j": "1250.00", "k": "5000", "l": "None",
        "m": "{5000}", "n": "b'\\x00\\xff'",
    }  # fmt: skip


def test_what_arrow_cannot_hold_is_refused_and_comes_as_text_if_asked(holding: Served) -> None:
    query = "select date 'infinity' as forever"
    refused = ask(holding, {"query": query}, Accept="application/vnd.apache.arrow.stream")
    assert (refused.status_code, refused.json()["routine"]) == (400, "rowgate:result_unrepresentable")
    headers = {"Accept": "application/vnd.apache.arrow.stream", "Neon_Raw_Text_Output": "true"}
    texts = pyarrow.ipc.open_stream(io.BytesIO(ask(holding, {"query": query}, **headers).content)).read_all()
    assert texts.to_pylist() == [{"forever": "infinity"}]


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("*/*", "application/json"), ("text/html", "application/json"),
        ("application/json, application/x-ndjson", "application/json"),
        ("Application/X-NDJSON;q=0.5", "application/x-ndjson"),
        ("text/html, application/x-ndjson", "application/x-ndjson"), ("", "application/json"),
    ],
)  # fmt: skip
def test_the_first_format_that_there_is_wins(holding: Served, accept: str, kind: str) -> None:
    assert ask(holding, {"query": "select 1"}, Accept=accept).headers["content-type"] == kind


def test_a_batch_is_json_alone(holding: Served) -> None:
    refused = ask(holding, {"queries": [{"query": "select 1"}]}, Accept="application/x-ndjson")
    assert (refused.status_code, refused.json()["routine"]) == (400, "rowgate:malformed_header")


def test_errors_are_json_whatever_was_asked_for(holding: Served) -> None:
    refused = ask(holding, {"query": "select nothing_of_this"}, Accept="application/x-ndjson")
    assert (refused.status_code, refused.headers["content-type"]) == (400, "application/json")
    assert refused.json()["code"] == "42703"


def test_without_a_place_the_process_has_not_grown_files(flowing: Served) -> None:
    """After all of the above, no connection and no file is left open for it."""
    eventually(lambda: flowing.busy() == 0)
    assert len(os.listdir(f"/proc/{flowing.process.pid}/fd")) < 60
