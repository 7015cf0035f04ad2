"""Spans and metrics of requests for OpenTelemetry, made from records by a thread of its own.

Where they go is said by OpenTelemetry's own variables (``OTEL_EXPORTER_OTLP_ENDPOINT`` and so on). Whoever has a record
only puts it into a queue; a collector that is slow or away never makes a request wait. Sets nothing global. Import it
only where it is asked for: it needs the extra ``otel``.
"""

from __future__ import annotations

import logging
import threading
import uuid
from collections import deque
from typing import Final

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from rowgate import __version__
from rowgate.gateway.audit.record import OK, RequestRecord
from rowgate.gateway.audit.spans import NAMES, attributes, dimensions, times, was_let_in

PROPAGATOR: Final = TraceContextTextMapPropagator()
MOST_WAITING: Final = 20_000
WAKE_SECONDS: Final = 0.2
LAST_SECONDS: Final = 5.0
SECONDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
"""The buckets of the durations: a point query takes about a millisecond."""

log = logging.getLogger("rowgate.telemetry")


class Telemetry:
    """Takes records; at most ``most_waiting`` wait at once."""

    def __init__(self, *, most_waiting: int = MOST_WAITING) -> None:
        self._traces, self._metrics = _providers()
        self._tracer = self._traces.get_tracer("rowgate", __version__)
        meter = self._metrics.get_meter("rowgate", __version__)
        self._durations = meter.create_histogram(
            "rowgate.request.duration", "s", "Requests over HTTP and statements of sessions",
            explicit_bucket_boundaries_advisory=SECONDS,
        )  # fmt: skip
        self._rows = meter.create_counter("rowgate.rows", "{row}", "Rows returned or changed")
        self._bytes = meter.create_counter("rowgate.response.size", "By", "Bytes of answers")
        self._most_waiting = most_waiting
        self._waiting: deque[tuple[RequestRecord, bytes | None]] = deque()
        self._stopping = threading.Event()
        self.dropped = 0
        """How many records found no place in the queue."""
        self._thread = threading.Thread(target=self._run, name="rowgate-telemetry", daemon=True)
        self._thread.start()

    def put(self, record: RequestRecord, traceparent: bytes | None) -> None:
        """Takes one record, and the caller's place in its trace (W3C Trace Context). Never waits."""
        if len(self._waiting) >= self._most_waiting:
            self.dropped += 1
        else:
            self._waiting.append((record, traceparent))

    def close(self) -> None:
        """Sends what waits, within a few seconds."""
        self._stopping.set()
        self._thread.join(LAST_SECONDS)

    def _run(self) -> None:
        while not self._stopping.wait(WAKE_SECONDS):
            self._take_waiting()
        self._take_waiting()
        if self.dropped:
            log.warning("%d requests are in no span and no metric: too many came at once", self.dropped)
        self._traces.shutdown()
        self._metrics.shutdown(LAST_SECONDS * 1000)

    def _take_waiting(self) -> None:
        while self._waiting:
            record, traceparent = self._waiting.popleft()
            try:
                self._tell(record, traceparent)
            except Exception:
                # One record that cannot be told must not end the thread.
                log.exception("a request has no span")

    def _tell(self, record: RequestRecord, traceparent: bytes | None) -> None:
        began, ended = times(record)
        span = self._tracer.start_span(
            NAMES[record.front],
            context=_context(traceparent) if was_let_in(record) else None,
            kind=SpanKind.SERVER,
            attributes=attributes(record),
            start_time=began,
        )
        if record.outcome != OK:
            span.set_status(Status(StatusCode.ERROR))
        span.end(ended)
        measured = dimensions(record)
        self._durations.record(record.milliseconds / 1000, measured)
        self._rows.add(record.rows, measured)
        self._bytes.add(record.size, measured)


def _providers() -> tuple[TracerProvider, MeterProvider]:
    resource = _resource()
    traces = TracerProvider(resource=resource, shutdown_on_exit=False)
    traces.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    reader = PeriodicExportingMetricReader(OTLPMetricExporter())
    return traces, MeterProvider([reader], resource=resource, shutdown_on_exit=False)


def _resource() -> Resource:
    """Who sends: the operator's ``OTEL_SERVICE_NAME`` and ``OTEL_RESOURCE_ATTRIBUTES`` come first."""
    own = {"service.name": "rowgate", "service.version": __version__, "service.instance.id": str(uuid.uuid4())}
    return Resource.create({**own, **OTELResourceDetector().detect().attributes})


def _context(traceparent: bytes | None) -> Context | None:
    """The caller's context; one that cannot be read is none."""
    if traceparent is None:
        return None
    return PROPAGATOR.extract({"traceparent": traceparent.decode("ascii", "replace")}, Context())
