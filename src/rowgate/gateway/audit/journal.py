"""Where records go: the last ones stay in memory with a count of every outcome, all of them go to the audit file, and
to OpenTelemetry where that is asked for.

The memory is for whoever looks on (the console, which also gets numbers by endpoint); the file is what is kept. Use it
from the event loop alone.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING

from rowgate.errors import SettingInvalid
from rowgate.gateway.audit.activity import Activity
from rowgate.gateway.audit.record import RequestRecord
from rowgate.gateway.audit.writer import AuditWriter
from rowgate.settings import Settings

if TYPE_CHECKING:
    from rowgate.gateway.audit.telemetry import Telemetry


class Journal:
    """Takes records. Raises SettingInvalid where the audit file cannot be opened, or packages are missing."""

    def __init__(self, settings: Settings) -> None:
        self._recent: deque[RequestRecord] = deque(maxlen=settings.activity_records)
        self._counts: Counter[tuple[str, str]] = Counter()
        self._writer = AuditWriter(settings.audit_log, chained=settings.audit_chain) if settings.audit_log else None
        self._telemetry = _telemetry() if settings.opentelemetry else None
        self.with_sql = settings.audit_sql
        self.with_parameters = settings.audit_parameters
        self.activity: dict[str, Activity] | None = {} if _has_onlooker(settings) else None
        """What the console shows, by endpoint; None where there is no console."""
        self.taken = 0
        """How many records there were since the start."""

    @classmethod
    def of(cls, settings: Settings) -> Journal | None:
        """The journal that settings ask for; None where nobody would read it."""
        wanted = settings.audit_log or settings.opentelemetry or _has_onlooker(settings)
        return cls(settings) if wanted else None

    def add(self, record: RequestRecord, texts: Sequence[str] = (), traceparent: bytes | None = None) -> None:
        """Takes one record, the texts of its statements, and the header ``traceparent``. Never waits."""
        self.taken += 1
        self._recent.append(record)
        if self.activity is not None:
            activity = self.activity.get(record.endpoint)
            if activity is None:
                activity = self.activity[record.endpoint] = Activity()
            activity.add(record, texts)
        self._counts[record.front, record.outcome] += 1
        if self._writer is not None:
            self._writer.put(record)
        if self._telemetry is not None:
            self._telemetry.put(record, traceparent)

    def recent(self, most: int) -> list[RequestRecord]:
        """The last records, the newest first."""
        newest_first = reversed(self._recent)
        return [record for record, _ in zip(newest_first, range(most), strict=False)]

    def numbered(self, before: int | None, most: int) -> list[tuple[int, RequestRecord]]:
        """Records with their numbers since the start (from 1), the newest first: at most ``most``, of those that are
        still in memory and came before the one with the number ``before`` (None: all)."""
        newest = self.taken if before is None else min(before - 1, self.taken)
        skipped = self.taken - newest
        found = islice(reversed(self._recent), skipped, skipped + most)
        return [(newest - place, record) for place, record in enumerate(found)]

    @property
    def counts(self) -> dict[tuple[str, str], int]:
        """How many records there were since the start, by front and outcome."""
        return dict(self._counts)

    @property
    def dropped(self) -> int:
        """How many records are not in the audit file because it could not take them."""
        return 0 if self._writer is None else self._writer.dropped

    def reopen(self) -> None:
        """The audit file was moved away."""
        if self._writer is not None:
            self._writer.reopen()

    def close(self) -> None:
        """Writes what is left."""
        if self._writer is not None:
            self._writer.close()
        if self._telemetry is not None:
            self._telemetry.close()


def _telemetry() -> Telemetry:
    """Imported here, because only the extra ``otel`` has what it needs. Raises SettingInvalid without it."""
    try:
        from rowgate.gateway.audit.telemetry import Telemetry
    except ImportError as error:
        raise SettingInvalid(
            "OpenTelemetry needs packages that are not installed.",
            detail=f"{error.name} is missing",
            hint="Install them with `pip install 'rowgate[otel]'`, or set opentelemetry to off.",
        ) from error
    return Telemetry()


def _has_onlooker(settings: Settings) -> bool:
    """Whether a console shows what is asked."""
    return settings.admin_port is not None and settings.activity_records > 0
