"""Where records go: the last ones stay in memory with a count of every outcome, all of them go to the audit file.

The memory is for whoever looks on (the console, which also gets numbers by endpoint); the file is what is kept. Use it
from the event loop alone.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence

from rowgate.gateway.audit.activity import Activity
from rowgate.gateway.audit.record import RequestRecord
from rowgate.gateway.audit.writer import AuditWriter
from rowgate.settings import Settings


class Journal:
    """Takes records. Raises SettingInvalid where the audit file cannot be opened."""

    def __init__(self, settings: Settings) -> None:
        self._recent: deque[RequestRecord] = deque(maxlen=settings.activity_records)
        self._counts: Counter[tuple[str, str]] = Counter()
        self._writer = AuditWriter(settings.audit_log, chained=settings.audit_chain) if settings.audit_log else None
        self.with_sql = settings.audit_sql
        self.activity: dict[str, Activity] | None = None if settings.admin_port is None else {}
        """What the console shows, by endpoint; None where there is no console."""
        self.taken = 0
        """How many records there were since the start."""

    @classmethod
    def of(cls, settings: Settings) -> Journal | None:
        """The journal that settings ask for; None where nobody would read it."""
        return cls(settings) if settings.audit_log or settings.admin_port is not None else None

    def add(self, record: RequestRecord, texts: Sequence[str] = ()) -> None:
        """Takes one record, and the texts of its statements. Never waits."""
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

    def recent(self, most: int) -> list[RequestRecord]:
        """The last records, the newest first."""
        newest_first = reversed(self._recent)
        return [record for record, _ in zip(newest_first, range(most), strict=False)]

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
