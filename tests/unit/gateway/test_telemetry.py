"""Records as spans and metrics, sent by the real exporter; off, there is nothing of it."""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Iterator

import msgspec
import pytest

from rowgate.errors import CredentialsMissing, DatabaseError, RowgateError, SettingInvalid, StatementRefused
from rowgate.gateway import connection_string
from rowgate.gateway.audit import telemetry as telemetry_module
from rowgate.gateway.audit.journal import Journal
from rowgate.gateway.audit.record import CLIENT_GONE, RequestRecord, Trace
from rowgate.gateway.audit.telemetry import Telemetry
from rowgate.settings import Settings
from tests.collector import Collector, collecting, told

CALLER = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    with collecting() as running:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", running.url)
        yield running


def record(problem: RowgateError | str | None = None, *, let_in: bool = True) -> RequestRecord:
    trace = Trace("http")
    trace.connection = connection_string.parse("postgresql://strange_role@ep/strange_database")
    trace.endpoint = "main"
    trace.texts = ["select 'secret in the text'"]
    made = trace.record(problem, size=100, with_sql=True)
    return msgspec.structs.replace(
        made, verdict="allowed" if let_in else "", tables=["todos"] * 50, fingerprints=["0123456789abcdef"], rows=3,
        milliseconds=250.0, provider="local", subject="user_alice", token_id="jti-1", organization="org-1",
    )  # fmt: skip


def test_a_span_and_measurements_of_each_record(collector: Collector) -> None:
    journal = Journal.of(Settings(opentelemetry=True))
    assert journal is not None
    made = record()
    journal.add(made, (), CALLER)
    journal.add(record(DatabaseError({"C": "42P01"})))
    journal.close()
    good, bad = collector.spans
    assert (good.name, good.kind) == ("POST /sql", 2)
    assert (good.trace_id.hex(), good.parent_span_id.hex()) == (CALLER[3:35].decode(), CALLER[36:52].decode())
    assert good.start_time_unix_nano == int(made.time * 1e9)
    assert good.end_time_unix_nano - good.start_time_unix_nano == 250_000_000
    attributes = told(good.attributes)
    assert attributes["db.namespace"] == "strange_database"
    assert attributes["rowgate.tables"] == ["todos"] * 16
    assert "error.type" not in attributes
    assert (bad.status.code, bad.parent_span_id) == (2, b"")
    assert told(bad.attributes)["error.type"] == "database_error"
    assert told(bad.attributes)["db.response.status_code"] == "42P01"
    durations = collector.metrics()["rowgate.request.duration"].histogram.data_points
    assert {told(point.attributes)["rowgate.outcome"]: (point.count, point.sum) for point in durations} == {
        "ok": (1, 0.25), "database_error": (1, 0.25),
    }  # fmt: skip
    sender = collector.senders()[0]
    assert sender["service.name"] == "rowgate"
    assert sender["service.instance.id"]


def test_who_asked_and_what_is_never_told(collector: Collector) -> None:
    telemetry = Telemetry()
    telemetry.put(record(), None)
    telemetry.put(record(StatementRefused("no", detail="secret in the text")), None)
    telemetry.close()
    everything = b"".join(body for _, body in collector.bodies)
    assert b"rowgate.tables" in everything
    for secret in (b"secret in the text", b"user_alice", b"jti-1", b"org-1"):
        assert secret not in everything


@pytest.mark.parametrize("problem", [CredentialsMissing("no"), DatabaseError({"C": "28P01"}), CLIENT_GONE])
def test_strangers_choose_neither_names_nor_traces(collector: Collector, problem: RowgateError | str) -> None:
    telemetry = Telemetry()
    telemetry.put(record(problem, let_in=False), CALLER)
    telemetry.close()
    assert not collector.spans[0].parent_span_id
    everything = b"".join(body for _, body in collector.bodies)
    assert b"strange_" not in everything


@pytest.mark.parametrize(
    "traceparent", [b"", b"x", b"00-" + b"0" * 32 + b"-b7ad6b7169203331-01", b"\xff" * 60, CALLER * 9]
)
def test_a_caller_that_cannot_be_read_is_none(collector: Collector, traceparent: bytes) -> None:
    telemetry = Telemetry()
    telemetry.put(record(), traceparent)
    telemetry.close()
    assert not collector.spans[0].parent_span_id


def test_the_operators_name_comes_first(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "sql-gateway")
    telemetry = Telemetry()
    telemetry.put(record(), None)
    telemetry.close()
    assert collector.senders()[0]["service.name"] == "sql-gateway"


def test_a_collector_that_is_away_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{nobody.getsockname()[1]}")
        monkeypatch.setattr(telemetry_module, "LAST_SECONDS", 0.5)
        telemetry = Telemetry(most_waiting=2)
        began = time.monotonic()
        made = record()
        for _ in range(1000):
            telemetry.put(made, None)
        assert time.monotonic() - began < 1
        assert telemetry.dropped >= 990
        telemetry.close()
        assert time.monotonic() - began < 5


def test_off_there_is_nothing_of_it() -> None:
    assert Journal.of(Settings()) is None


def test_without_the_extra_it_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "rowgate.gateway.audit.telemetry", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(SettingInvalid) as missing:
        Journal.of(Settings(opentelemetry=True))
    assert "rowgate[otel]" in (missing.value.hint or "")
