"""A record as OpenTelemetry's span and measurements: names and attributes. Pure.

Never tells SQL text, parameters, tokens or who the user is, and nothing that somebody wrote who was not let in. Names
are those of the semantic conventions for databases and HTTP where they have one, ``rowgate.*`` otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from rowgate.gateway.audit.record import OK, RequestRecord

Value = str | int | Sequence[str]

MOST_TABLES: Final = 16
LONGEST_NAME: Final = 128
NAMES: Final[Mapping[str, str]] = {"http": "POST /sql", "session": "statement"}


def was_let_in(record: RequestRecord) -> bool:
    """Whether the request got past the check of who it is."""
    return record.outcome == OK or bool(record.verdict)


def attributes(record: RequestRecord) -> dict[str, Value]:
    """Those of the span."""
    told: dict[str, Value] = {"db.system.name": "postgresql", **dimensions(record)}
    if record.front == "http":
        told |= {"http.request.method": "POST", "http.route": "/sql"}
    if record.outcome != OK:
        told["error.type"] = record.outcome
    if record.sqlstate is not None:
        told["db.response.status_code"] = record.sqlstate
    if not was_let_in(record):
        return told
    told |= {
        "db.namespace": record.database[:LONGEST_NAME],
        "rowgate.role": record.role[:LONGEST_NAME],
        "rowgate.rows": record.rows,
        "rowgate.response.size": record.size,
        "rowgate.fingerprints": list(record.fingerprints),
        "rowgate.tables": [name[:LONGEST_NAME] for name in record.tables[:MOST_TABLES]],
    }
    if record.provider is not None:
        told["rowgate.provider"] = record.provider
    return told


def dimensions(record: RequestRecord) -> dict[str, Value]:
    """Those of the measurements: few values each, and none that a client can choose."""
    return {"rowgate.front": record.front, "rowgate.outcome": record.outcome, "rowgate.endpoint": record.endpoint}


def times(record: RequestRecord) -> tuple[int, int]:
    """When it began and ended, in nanoseconds since 1970."""
    began = int(record.time * 1e9)
    return began, began + int(record.milliseconds * 1e6)
