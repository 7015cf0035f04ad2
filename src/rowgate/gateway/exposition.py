"""The gateway's counts as text for Prometheus (exposition format 0.0.4). Pure: values in, text out.

``METRICS`` is the whole list; the documentation is made from it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Final

import rowgate
from rowgate.gateway.meter import BOUNDS, Histogram, Meter

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
METRICS: Final = {
    "rowgate_info": ("gauge", "1, with the version as a label."),
    "rowgate_http_requests_total": ("counter", "Answers to POST /sql, by status."),
    "rowgate_http_request_seconds": ("histogram", "How long they took, from the whole request to the answer."),
    "rowgate_session_statements_total": ("counter", "Statements that sessions of exposed roles have executed."),
    "rowgate_session_exchange_seconds": ("histogram", "How long Postgres took for what a session had sent it at once."),
    "rowgate_errors_total": ("counter", "Errors that clients were told, by front and code."),
    "rowgate_sessions": ("gauge", "Clients connected over TCP and WebSocket."),
    "rowgate_pool_connections": ("gauge", "Connections to Postgres, by endpoint, database, role and state."),
    "rowgate_pool_waiting": ("gauge", "Requests that wait for one, by endpoint, database and role."),
    "rowgate_registry_connected": ("gauge", "Whether the registry of a database is followed: 1 or 0."),
    "rowgate_audit_dropped_total": ("counter", "Audit records that the file could not take."),
}
"""Name, type and meaning of each metric."""

Samples = Iterable[tuple[Mapping[str, str], float]]


def exposition(
    meter: Meter,
    *,
    sessions: int,
    pools: Sequence[tuple[Mapping[str, str], tuple[int, int, int]]],
    registries: Samples,
    dropped: int,
) -> str:
    """The text. ``pools`` are labels with connections, idle ones and requests waiting; ``registries`` labels with 1
    or 0."""
    connections = [
        ({**labels, "state": state}, count)
        for labels, (opened, idle, _) in pools
        for state, count in (("busy", opened - idle), ("idle", idle))
    ]
    parts = [
        _samples("rowgate_info", [({"version": rowgate.__version__}, 1)]),
        _samples(
            "rowgate_http_requests_total",
            [({"status": str(status)}, count) for status, count in sorted(meter.http_statuses.items())],
        ),
        _histogram("rowgate_http_request_seconds", meter.http),
        _samples("rowgate_session_statements_total", [({}, meter.session_statements)]),
        _histogram("rowgate_session_exchange_seconds", meter.exchanges),
        _samples(
            "rowgate_errors_total",
            [({"front": front, "code": code}, count) for (front, code), count in sorted(meter.errors.items())],
        ),
        _samples("rowgate_sessions", [({}, sessions)]),
        _samples("rowgate_pool_connections", connections),
        _samples("rowgate_pool_waiting", [(labels, waiting) for labels, (_, _, waiting) in pools]),
        _samples("rowgate_registry_connected", registries),
        _samples("rowgate_audit_dropped_total", [({}, dropped)]),
    ]
    return "".join(parts)


def _head(name: str) -> str:
    kind, meaning = METRICS[name]
    return f"# HELP {name} {meaning}\n# TYPE {name} {kind}\n"


def _samples(name: str, samples: Samples) -> str:
    return _head(name) + "".join(f"{name}{_labels(labels)} {value:g}\n" for labels, value in samples)


def _histogram(name: str, histogram: Histogram) -> str:
    counts = list(accumulate(histogram.buckets))
    bounds = [*(f"{bound:g}" for bound in BOUNDS), "+Inf"]
    lines = [f'{name}_bucket{{le="{bound}"}} {count}\n' for bound, count in zip(bounds, counts, strict=True)]
    return _head(name) + "".join(lines) + f"{name}_sum {histogram.total:.9g}\n{name}_count {counts[-1]}\n"


def _labels(labels: Mapping[str, str]) -> str:
    inside = ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())
    return f"{{{inside}}}" if inside else ""


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
