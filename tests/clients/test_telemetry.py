"""OpenTelemetry from a running stack: what a back end and a session ask stands in spans, without a word of theirs."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from tests.clients.stack import Stack, start, until
from tests.collector import Collector, collecting, told

TRACE = "0af7651916cd43dd8448eb211c80319c"


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with collecting() as running:
        yield running


@pytest.fixture(scope="module")
def stack(collector: Collector, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    running = start(
        tmp_path_factory.mktemp("telemetry") / "data", "--no-fsync", ROWGATE_OPENTELEMETRY="true",
        OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, OTEL_BSP_SCHEDULE_DELAY="100", OTEL_METRIC_EXPORT_INTERVAL="200",
    )  # fmt: skip
    yield running
    assert running.stop() == 0


def test_requests_and_statements_are_spans(stack: Stack, collector: Collector) -> None:
    alice = stack.tokens["alice"]
    answer = stack.sql(
        "select 'written-here', $1::text",
        ["a-parameter"],
        token=alice,
        headers={"traceparent": f"00-{TRACE}-{'1' * 16}-01"},
    )
    assert answer.status_code == 200
    stack.sql("select 1", url="postgresql://stranger@x/nowhere")
    with psycopg.connect(stack.tcp_url, password=alice) as connection:
        connection.execute("select %s::text, auth.user_id()", ["a-parameter"])
    until(
        lambda: {span.name for span in collector.spans} == {"POST /sql", "statement"} and len(collector.spans) > 2, 20
    )
    request = next(span for span in collector.spans if span.trace_id.hex() == TRACE)
    assert told(request.attributes)["rowgate.role"] == "authenticated"
    until(lambda: "rowgate.request.duration" in collector.metrics(), 20)
    everything = b"".join(body for _, body in collector.bodies)
    for secret in (
        alice.encode(),
        alice.split(".")[2].encode(),
        b"written-here",
        b"a-parameter",
        b"user_alice",
        b"stranger",
    ):
        assert secret not in everything
