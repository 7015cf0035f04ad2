"""The page Activity: what this process answers, in charts and tables that follow it, and every request with its record.

Shows the requests of the endpoint that was signed in to, and nothing of others. A statement is shown with ``$n`` in
place of its constants, unless records hold the text itself (``audit_sql``). Changes nothing.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

from starlette.responses import Response
from starlette.routing import Route

from rowgate.console.pages.access import Doorway, Visit
from rowgate.console.pages.charts import HEIGHT, WIDTH, rate_bars, time_lines
from rowgate.console.pages.frame import Frame
from rowgate.console.pages.times_and_numbers import time_of_day, to_the_second, whole_number
from rowgate.errors import RequestRefused, StatementRefused, catalogue
from rowgate.gateway.allowlist_file import plain
from rowgate.gateway.audit.activity import WINDOW_SECONDS, Activity, Total, Window, percentile
from rowgate.gateway.audit.reading import Wanted, read_at, read_back
from rowgate.gateway.audit.record import CLIENT_GONE, NOT_RUN, OK, RequestRecord
from rowgate.gateway.audit.writer import STANDARD_ERROR
from rowgate.gateway.gateway import Gateway
from rowgate.settings import Settings

PATH: Final = "/activity"
SHOWN: Final = 25
LOOKED_AT: Final = 5_000
"""How many records in memory are looked at for one page."""
HEAVIEST: Final = 10
MINUTE: Final = 60 // WINDOW_SECONDS
FRONTS: Final = ("http", "session")
SINCE: Final = {"": "any time", "60": "the last minute", "300": "the last 5 minutes", "3600": "the last hour",
                "86400": "the last day"}  # fmt: skip
_LONGEST: Final = 200
_WORDS: Final = {
    CLIENT_GONE: "The client went away before the answer.",
    NOT_RUN: "It stood behind a statement that failed.",
}


@dataclass(frozen=True, slots=True)
class Chosen:
    """What was asked for: which records, from memory or the audit file, from where on, and whether the page follows."""

    wanted: Wanted
    since: str
    is_file: bool
    before: int | None
    is_live: bool

    def query(self, **changes: Any) -> str:
        """The same as a query, with changes; what says nothing is left out."""
        wanted = self.wanted
        known = {
            "subject": wanted.subject, "code": wanted.outcome, "front": wanted.front, "since": self.since,
            "from": "file" if self.is_file else "", "before": self.before or "", "live": "" if self.is_live else "off",
        }  # fmt: skip
        return urlencode({name: value for name, value in {**known, **changes}.items() if value != ""})


@dataclass(frozen=True, slots=True)
class Row:
    """One request in the list. ``path`` leads to its record."""

    record: RequestRecord
    path: str
    text: str


@dataclass(frozen=True, slots=True)
class Rows:
    """A page of the list. ``older`` is the query of the next one."""

    rows: tuple[Row, ...]
    older: str


class ActivityPage:
    """The page, the part that follows, and a record."""

    def __init__(self, frame: Frame, gateway: Gateway, settings: Settings) -> None:
        self._frame = frame
        self._gateway = gateway
        self._has_file = bool(settings.audit_log) and settings.audit_log != STANDARD_ERROR
        self._file = Path(settings.audit_log)
        self._in_memory = settings.activity_records
        self._workers = settings.workers
        self._meanings = {one.code: _first_sentence(one.__doc__ or "") for one in catalogue()} | _WORDS

    def routes(self, doorway: Doorway) -> list[Route]:
        """Their addresses."""
        return [
            Route(PATH, doorway.guarded(self.show), methods=["GET"]),
            Route(f"{PATH}/live", doorway.guarded(self.live), methods=["GET"]),
            Route(f"{PATH}/memory/{{number}}", doorway.guarded(self.record_in_memory), methods=["GET"]),
            Route(f"{PATH}/file/{{number}}", doorway.guarded(self.record_in_file), methods=["GET"]),
        ]

    async def show(self, visit: Visit) -> Response:
        """The whole page."""
        return await self._page(visit, "activity.html")

    async def live(self, visit: Visit) -> Response:
        """What changes by itself."""
        return await self._page(visit, "activity_live.html")

    async def record_in_memory(self, visit: Visit) -> Response:
        """One request by its number since the start."""
        number = whole_number(visit.request.path_params["number"])
        journal = self._gateway.journal
        found = [] if journal is None or number is None else journal.numbered(number + 1, 1)
        return self._record(visit, next((record for known, record in found if known == number), None))

    async def record_in_file(self, visit: Visit) -> Response:
        """One request by its place in the audit file."""
        place = whole_number(visit.request.path_params["number"])
        record = None
        if self._has_file and place is not None:
            try:
                record = await asyncio.to_thread(read_at, self._file, place)
            except OSError:
                record = None
        return self._record(visit, record)

    async def _page(self, visit: Visit, template: str) -> Response:
        chosen = self._chosen(visit)
        activity = self._activity(visit)
        windows = activity.windows()
        last_minute = windows[-MINUTE:]
        count = sum(one.count for one in last_minute)
        return self._frame.page(
            visit.request, visit.session, template, chosen=chosen, width=WIDTH, height=HEIGHT, fronts=FRONTS,
            since=SINCE, has_file=self._has_file, file=self._file.name, in_memory=self._in_memory, process=os.getpid(),
            workers=self._workers, is_kept=self._is_kept(),
            started=to_the_second(activity.started_at), is_empty=not activity.outcomes, time_of=time_of_day,
            outcomes=sorted(activity.outcomes), rate=count / 60, failed=sum(one.failed for one in last_minute),
            count=count, percentiles=_percentiles(last_minute), bars=rate_bars(windows), lines=time_lines(windows),
            failed_in_all=sum(one.failed for one in windows), count_in_all=sum(one.count for one in windows),
            refusals=self._refusals(activity), statements=self._statements(activity),
            users=activity.users.heaviest(HEAVIEST), pools=self._pools(visit), sessions=self._gateway.session_count,
            rows=await self._rows(visit, chosen, activity),
        )  # fmt: skip

    def _is_kept(self) -> bool:
        journal = self._gateway.journal
        return journal is not None and journal.activity is not None

    def _record(self, visit: Visit, record: RequestRecord | None) -> Response:
        if record is None or not self._is_open_to(visit, record):
            raise RequestRefused(
                "This record is not there any more.",
                hint="Memory holds the latest; with audit_log the file has all of them.",
            )
        return self._frame.page(
            visit.request, visit.session, "activity_record.html", record=record, at=to_the_second(record.time),
            meaning=self._meanings.get(record.outcome, ""), texts=self._texts(self._activity(visit), record),
        )  # fmt: skip

    def _chosen(self, visit: Visit) -> Chosen:
        query = visit.request.query_params
        since = query.get("since", "")
        since = since if since in SINCE else ""
        front = query.get("front", "")
        wanted = Wanted(
            query.get("subject", "").strip()[:_LONGEST],
            query.get("code", "").strip()[:_LONGEST],
            front if front in FRONTS else "",
            time.time() - float(since) if since else 0.0,
            visit.endpoint.name,
        )
        is_file = self._has_file and query.get("from") == "file"
        before = whole_number(query.get("before", ""))
        is_live = query.get("live") != "off" and not is_file and before is None
        return Chosen(wanted, since, is_file, before, is_live)

    def _activity(self, visit: Visit) -> Activity:
        journal = self._gateway.journal
        known = journal.activity if journal is not None else None
        return (known or {}).get(visit.endpoint.name) or Activity()

    @staticmethod
    def _is_open_to(visit: Visit, record: RequestRecord) -> bool:
        return record.endpoint == visit.endpoint.name

    def _refusals(self, activity: Activity) -> list[tuple[str, int, str]]:
        """Code, count and meaning, the commonest first."""
        return [
            (code, count, self._meanings.get(code, ""))
            for code, count in activity.outcomes.most_common()
            if code != OK
        ]  # fmt: skip

    def _statements(self, activity: Activity) -> list[tuple[str, str, Total, float]]:
        """Fingerprint, text, total, and its part of the heaviest one's time."""
        heaviest = activity.statements.heaviest(HEAVIEST)
        most = max((total.milliseconds for _, total in heaviest), default=0.0) or 1.0
        return [
            (fingerprint, _without_constants(total.text), total, 100 * total.milliseconds / most)
            for fingerprint, total in heaviest
        ]

    @staticmethod
    def _pools(visit: Visit) -> list[tuple[str, str, int, int, int, int]]:
        """Database, role, connections at work, idle, how many there may be, requests that wait."""
        found = []
        for database in visit.endpoint.open_databases:
            for role, pool in sorted(database.pools.items()):
                opened, idle, waiting = pool.counts
                found.append((database.name, role, opened - idle, idle, pool.size, waiting))
        return found

    async def _rows(self, visit: Visit, chosen: Chosen, activity: Activity) -> Rows:
        if chosen.is_file:
            return await self._rows_of_file(chosen, activity)
        journal = self._gateway.journal
        if journal is None:
            return Rows((), "")
        found: list[Row] = []
        number = 0
        # Bounded, because requests wait meanwhile.
        looked_at = journal.numbered(chosen.before, LOOKED_AT)
        for number, record in looked_at:
            if chosen.wanted.takes(record):
                found.append(Row(record, f"{PATH}/memory/{number}", self._first_text(activity, record)))
                if len(found) == SHOWN:
                    break
        return Rows(tuple(found), chosen.query(before=number) if journal.numbered(number, 1) else "")

    async def _rows_of_file(self, chosen: Chosen, activity: Activity) -> Rows:
        try:
            page = await asyncio.to_thread(
                read_back, self._file, chosen.wanted, before=chosen.before, most=SHOWN
            )  # fmt: skip
        except OSError as problem:
            raise RequestRefused("The audit file cannot be read.", detail=problem.strerror) from problem
        rows = tuple(
            Row(record, f"{PATH}/file/{place}", self._first_text(activity, record)) for place, record in page.records
        )
        return Rows(rows, "" if page.before is None else chosen.query(before=page.before))

    def _first_text(self, activity: Activity, record: RequestRecord) -> str:
        texts = self._texts(activity, record)
        return "" if not texts else texts[0] + (f" and {len(texts) - 1} more" if len(texts) > 1 else "")

    @staticmethod
    def _texts(activity: Activity, record: RequestRecord) -> list[str]:
        """The statements of a record: as it holds them, else as they are known by their fingerprints."""
        if record.sql is not None:
            return [text for text in record.sql if text]
        known = [activity.statements.of(fingerprint) for fingerprint in record.fingerprints]
        return [_without_constants(one.text) if one is not None else "" for one in known]


def _first_sentence(text: str) -> str:
    """Of a class's docstring, without the marks of code."""
    return " ".join(text.split(". ", 1)[0].replace("``", "").split()).removesuffix(".") + "."


def _percentiles(windows: Sequence[Window]) -> list[tuple[str, float | None]]:
    return [(f"p{percent}", percentile(windows, percent)) for percent in (50, 95, 99)]


@lru_cache(1024)
def _without_constants(text: str) -> str:
    try:
        return " ".join(plain(text).split()) if text else ""
    except StatementRefused:
        return ""
