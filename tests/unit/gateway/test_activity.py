"""Numbers of what happened lately, bounded whatever comes, and audit files read from their end."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowgate.gateway.audit.activity import (
    MOST_STATEMENTS,
    MOST_USERS,
    WINDOW_SECONDS,
    WINDOWS,
    Activity,
    Totals,
    percentile,
)
from rowgate.gateway.audit.journal import Journal
from rowgate.gateway.audit.reading import Wanted, read_at, read_back
from rowgate.gateway.audit.record import RequestRecord
from rowgate.settings import Settings

BLANK = RequestRecord(
    time=0.0, front="http", endpoint="", database="app", role="authenticated", subject="user_alice",
    organization=None, provider="clerk", token_id=None, actor=None, fingerprints=["f1"], tables=["todos"],
    verdict="allowed", outcome="ok", sqlstate=None, rows=1, size=10, milliseconds=1.0,
)  # fmt: skip


def record(**changes: Any) -> RequestRecord:
    return msgspec.structs.replace(BLANK, **changes)


@pytest.fixture
def at() -> list[float]:
    """The clock's hand."""
    return [1_000.0]


@pytest.fixture
def activity(at: list[float]) -> Activity:
    return Activity(lambda: at[0])


def test_windows_follow_the_clock_and_forget(activity: Activity, at: list[float]) -> None:
    activity.add(record(), ())
    activity.add(record(outcome="token_expired"), ())
    at[0] += WINDOW_SECONDS
    activity.add(record(), ())
    windows = activity.windows()
    assert len(windows) == WINDOWS
    assert [(one.count, one.failed) for one in windows[-2:]] == [(2, 1), (1, 0)]
    at[0] -= 3 * WINDOW_SECONDS  # a clock that was set back
    activity.add(record(), ())
    assert activity.windows()[-1].count == 2
    at[0] += 1_000
    assert sum(one.count for one in activity.windows()) == 0
    activity.add(record(), ())
    assert [one.count for one in activity.windows()][-2:] == [0, 1]


@given(st.lists(st.floats(0.001, 3_600_000), min_size=1, max_size=60), st.sampled_from([50, 95, 99]))
def test_percentiles_are_right_within_a_tenth(times: list[float], percent: int) -> None:
    activity = Activity(lambda: 0.0)
    for milliseconds in times:
        activity.add(record(milliseconds=milliseconds), ())
    exact = sorted(times)[-(-len(times) * percent // 100) - 1]
    found = percentile(activity.windows(), percent)
    assert found is not None
    assert abs(found - exact) <= 0.1 * exact + 0.001


def test_no_percentile_of_nothing(activity: Activity) -> None:
    assert percentile(activity.windows(), 99) is None


def test_who_and_what_took_how_long(activity: Activity) -> None:
    activity.add(record(milliseconds=5.0, rows=2), ["select 1"])
    activity.add(record(milliseconds=7.0, rows=3, outcome="database_error"), ["select 2"])
    activity.add(record(subject=None, provider=None, role="anonymous", fingerprints=["f2", "f3"], milliseconds=8.0),
                 ["select a", "select auth.jwt_session_init('eyJ')"])  # fmt: skip
    one = activity.statements.of("f1")
    assert one is not None
    assert (one.text, one.count, one.failed) == ("select 1", 2, 1)
    assert (one.milliseconds, one.longest, one.rows) == (12.0, 7.0, 5)
    shares = [activity.statements.of(name) for name in ("f2", "f3")]
    assert [(share.milliseconds, share.text) for share in shares if share] == [(4.0, "select a"), (4.0, "")]
    assert [key for key, _ in activity.users.heaviest(5)] == [
        ("clerk", "user_alice", "authenticated"), (None, None, "anonymous"),
    ]  # fmt: skip
    provider = activity.providers.of("clerk")
    assert (provider.count if provider else 0, activity.providers.of("other")) == (2, None)
    assert activity.outcomes == {"ok": 2, "database_error": 1}


def test_what_strangers_send_takes_no_more_room_and_pushes_nothing_heavy_out(activity: Activity) -> None:
    activity.add(record(milliseconds=1_000_000.0, fingerprints=["heavy"]), ["select heavy"])
    for number in range(5 * MOST_USERS):
        activity.add(record(subject=f"user_{number}", fingerprints=[f"{number}"]), ["x" * 5_000])
    assert activity.statements.of("heavy") is not None
    assert activity.users.of(("clerk", "user_alice", "authenticated")) is not None
    assert len(activity.statements.heaviest(10**6)) <= 2 * MOST_STATEMENTS
    assert len(activity.users.heaviest(10**6)) <= 2 * MOST_USERS
    assert {total.text for _, total in activity.statements.heaviest(10**6)} == {"select heavy", ""}


def test_half_is_forgotten_at_once() -> None:
    totals: Totals[int] = Totals(2)
    for number in range(5):
        totals.make(number, _total(number))
    assert sorted(key for key, _ in totals.heaviest(9)) == [2, 3, 4]


def _total(milliseconds: float) -> Any:
    from rowgate.gateway.audit.activity import Total

    total = Total()
    total.add(milliseconds, 0, 0.0, failed=False)
    return total


def test_a_journal_is_kept_where_somebody_reads_it() -> None:
    assert Journal.of(Settings()) is None
    assert Journal.of(Settings(admin_port=0, activity_records=0)) is None
    console = Journal.of(Settings(admin_port=0, activity_records=2))
    assert console is not None
    for name in ("", "other", ""):
        console.add(record(endpoint=name), ["select 1"])
    assert {name: one.outcomes["ok"] for name, one in (console.activity or {}).items()} == {"": 2, "other": 1}
    assert (console.taken, len(console.recent(9))) == (3, 2)
    assert [number for number, _ in console.numbered(None, 9)] == [3, 2]
    assert [number for number, _ in console.numbered(3, 9)] == [2]
    assert [console.numbered(before, 9) for before in (2, 1, 0)] == [[], [], []]
    assert len(console.numbered(10**9, 9)) == 2
    file_alone = Journal(Settings())
    file_alone.add(record())
    assert file_alone.activity is None


# --- the file -----------------------------------------------------------------------------------------------------


Write = Callable[[list[bytes]], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def written(lines: list[bytes]) -> Path:
        path = tmp_path / "audit.log"
        path.write_bytes(b"".join(line + b"\n" for line in lines))
        return path

    return written


def everything(path: Path, wanted: Wanted, most: int, most_bytes: int) -> list[RequestRecord]:
    """All pages, each of them read again by its places."""
    found: list[RequestRecord] = []
    before: int | None = None
    while True:
        page = read_back(path, wanted, before=before, most=most, most_bytes=most_bytes)
        assert len(page.records) <= most
        assert [read_at(path, place) for place, _ in page.records] == [one for _, one in page.records]
        found += [one for _, one in page.records]
        if page.before is None:
            return found
        assert before is None or page.before < before
        before = page.before


@given(
    rows=st.lists(
        st.tuples(
            st.sampled_from(["user_a", "user_b", 'a"b\\', "é\n"]), st.sampled_from(["ok", "token_expired", "ok_not"]),
            st.sampled_from(["http", "session"]), st.sampled_from(["", "one", "two"]), st.booleans(),
        ),
        max_size=30,
    ),
    subject=st.sampled_from(["", "user", "user_a", '"b', "é", "\n", "nobody"]),
    outcome=st.sampled_from(["", "ok", "token_expired"]),
    front=st.sampled_from(["", "http"]),
    endpoint=st.sampled_from([None, "", "one"]),
    most=st.integers(1, 7),
    most_bytes=st.integers(1, 3_000),
)  # fmt: skip
def test_pages_hold_what_is_asked_for_and_all_of_it(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Any], subject: str, outcome: str, front: str,
    endpoint: str | None, most: int, most_bytes: int,
) -> None:  # fmt: skip
    records = [
        record(time=100.0 + number, subject=who, outcome=came, front=by, endpoint=at)
        for number, (who, came, by, at, _) in enumerate(rows)
    ]
    lines = []
    for one, (*_, has_event) in zip(records, rows, strict=True):
        if has_event:
            lines += [b'{"time":1,"event":"opened"}', b"torn {", b"", b"\xff"]
        lines.append(msgspec.json.encode(one))
    path = tmp_path_factory.mktemp("audit") / "audit.log"
    path.write_bytes(b"\n".join(lines) + (b"\n" if lines and rows[0][-1] else b""))
    wanted = Wanted(subject, outcome, front, 0.0, endpoint)
    expected = [one for one in reversed(records) if wanted.takes(one)]
    if most_bytes > 400:  # a line is always read whole, where a page is larger than it
        assert everything(path, wanted, most, most_bytes) == expected
    assert everything(path, wanted, most, 1 << 20) == expected


def test_lines_that_reach_over_chunks(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rowgate.gateway.audit.reading.CHUNK_BYTES", 64)
    records = [record(time=float(number), sql=["x" * (37 * number % 400)]) for number in range(50)]
    path = write([msgspec.json.encode(one) for one in records])
    assert everything(path, Wanted(), 7, 1 << 20) == records[::-1]
    assert everything(path, Wanted(outcome="ok"), 7, 5_000) == records[::-1]


def test_reading_stops_where_everything_is_older(write: Write) -> None:
    old, new = [record(time=1_000.0)] * 100, [record(time=90_000.0)] * 3
    path = write([msgspec.json.encode(one) for one in [*old, *new]])
    page = read_back(path, Wanted(since=89_000.0), before=None, most=50)
    assert (len(page.records), page.before) == (3, None)


@pytest.mark.parametrize("place", [1, 7, 10_000_000])
def test_a_place_that_is_no_lines_beginning_holds_nothing(write: Write, place: int) -> None:
    path = write([msgspec.json.encode(record())] * 3)
    assert read_at(path, place) is None
    assert read_at(path, 0) == record()


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        read_back(tmp_path / "nothing", Wanted(), before=None, most=1)
