"""The audit file: every record once and in order, whatever the disk does, and a chain that tells of every change."""

import errno
import json
import os
import select
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from rowgate.cli.main import app
from rowgate.errors import MalformedBody, SettingInvalid, StatementRefused
from rowgate.gateway.audit import writer as writer_module
from rowgate.gateway.audit.chain import START, link, verify
from rowgate.gateway.audit.journal import Journal
from rowgate.gateway.audit.record import CLIENT_GONE, RequestRecord, Trace, shown_sql
from rowgate.gateway.audit.writer import AuditWriter
from rowgate.settings import Settings

DEADLINE = 10.0


def record(number: int, *, size: int = 0) -> RequestRecord:
    trace = Trace("http")
    trace.texts = [f"select {number}"]
    return trace.record(None, size=size, with_sql=True)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def until(condition: Any) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_every_record_is_a_line_in_order(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    writer = AuditWriter(str(path))
    for number in range(5000):
        writer.put(record(number))
    writer.close()
    assert [line["sql"] for line in lines(path)] == [[f"select {number}"] for number in range(5000)]
    assert path.stat().st_mode & 0o077 == 0


def test_a_rotated_file_goes_on_under_its_name_and_the_chain_with_it(tmp_path: Path) -> None:
    path, old = tmp_path / "audit.log", tmp_path / "audit.log.1"
    writer = AuditWriter(str(path), chained=True)
    writer.put(record(1))
    until(lambda: len(lines(path)) == 2)
    path.rename(old)
    writer.reopen()
    until(path.exists)
    writer.put(record(2))
    writer.close()
    assert [line.get("sql") for line in lines(path)] == [None, ["select 2"]]
    both = old.read_bytes().splitlines() + path.read_bytes().splitlines()
    assert verify(both).problem is None
    assert verify(path.read_bytes().splitlines()).problem is None


def test_a_beginning_that_was_cut_off_is_told(tmp_path: Path) -> None:
    """Within a run by the line that then comes first; at the line of a run's start by the hash that it names."""
    path = tmp_path / "audit.log"
    for number in range(2):
        writer = AuditWriter(str(path), chained=True)
        writer.put(record(number))
        writer.close()
    whole = path.read_bytes().splitlines()
    assert verify(whole).before == START.decode()
    assert [verify(whole[cut:]).line for cut in range(4)] == [None, 1, None, 1]
    assert verify(whole[2:]).before == verify(whole[:2]).last
    path.write_bytes(b"\n".join(whole[2:]) + b"\n")
    told = CliRunner().invoke(app, ["audit", "verify", str(path)])
    assert (told.exit_code, f"going on from {verify(whole[:2]).last}" in told.stdout) == (0, True)


def test_a_second_run_goes_on_from_the_last_line(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    for number in range(3):
        writer = AuditWriter(str(path), chained=True)
        writer.put(record(number))
        writer.close()
    assert verify(path.read_bytes().splitlines()).lines == 6
    assert verify(path.read_bytes().splitlines()).problem is None


def test_a_torn_last_line_is_told_and_nothing_is_appended_to_it(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    writer = AuditWriter(str(path), chained=True)
    writer.put(record(1))
    writer.close()
    with path.open("ab") as file:
        file.write(b'{"time":1')
    writer = AuditWriter(str(path), chained=True)
    writer.put(record(2))
    writer.close()
    found = verify(path.read_bytes().splitlines())
    assert (found.line, found.lines) == (3, 3)
    assert json.loads(path.read_bytes().splitlines()[-1])["sql"] == ["select 2"]


def test_a_full_disk_costs_no_request_anything_and_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "audit.log"
    is_full = True

    def write(file: int, data: bytes) -> int:
        if is_full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real_write(file, data[: max(1, len(data) // 2)])  # and then it takes only a part at a time

    real_write = os.write
    monkeypatch.setattr(writer_module.os, "write", write)
    writer = AuditWriter(str(path), chained=True, most_waiting=10)
    for number in range(5):
        writer.put(record(number))
    until(lambda: writer._is_failing)
    for number in range(5, 30):
        writer.put(record(number))
    assert writer.dropped > 0
    is_full = False
    writer.close()
    written = lines(path)
    assert verify(path.read_bytes().splitlines()).problem is None
    missing = sum(line["records"] for line in written if line.get("event") == "dropped")
    assert missing == writer.dropped
    assert len([line for line in written if "sql" in line]) == 30 - missing


def test_a_file_that_cannot_be_opened_is_told_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(SettingInvalid, match="cannot be written"):
        AuditWriter(str(tmp_path / "missing" / "audit.log"))


@given(
    st.lists(st.dictionaries(st.text(max_size=5), st.text(max_size=10), min_size=1), min_size=2, max_size=8), st.data()
)
def test_every_change_breaks_the_chain(values: list[dict[str, str]], data: st.DataObject) -> None:
    previous, written = START, []
    for value in values:
        line, previous = link(previous, msgspec.json.encode(value))
        written.append(line)
    assert verify(written).last == previous.decode()
    assert verify(written).problem is None
    place = data.draw(st.integers(0, len(written) - 2))
    assert verify(written[:place] + written[place + 1 :]).problem is not None
    changed = bytearray(written[place])
    position = data.draw(st.integers(0, len(changed) - 1))
    changed[position] ^= data.draw(st.integers(1, 255))
    assert verify([*written[:place], bytes(changed), *written[place + 1 :]]).problem is not None
    swapped = [*written[:place], written[place + 1], written[place], *written[place + 2 :]]
    assert verify(swapped).problem is not None


@given(st.lists(st.binary(max_size=200), max_size=5))
def test_verify_takes_anything(written: list[bytes]) -> None:
    assert verify(written).lines <= len(written)


def test_the_command(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    writer = AuditWriter(str(path), chained=True)
    for number in range(3):
        writer.put(record(number))
    writer.close()
    whole = path.read_bytes()
    last = verify(whole.splitlines()).last
    command = ["audit", "verify", str(path), "--json"]
    assert CliRunner().invoke(app, command).exit_code == 0
    assert CliRunner().invoke(app, [*command, "--expect", last]).exit_code == 0
    path.write_bytes(b"".join(line + b"\n" for line in whole.splitlines()[:-1]))
    assert CliRunner().invoke(app, command).exit_code == 0  # only the kept hash tells
    assert CliRunner().invoke(app, [*command, "--expect", last]).exit_code == 1
    path.write_bytes(whole.replace(b"select 1", b"select 9"))
    answer = CliRunner().invoke(app, command)
    assert (answer.exit_code, json.loads(answer.stdout)["line"]) == (1, 3)


def test_outcomes() -> None:
    trace = Trace("http")
    assert trace.record(MalformedBody("x"), size=1, with_sql=False).outcome == "malformed_body"
    refused = trace.record(StatementRefused("x", sqlstate="42601"), size=1, with_sql=False)
    assert (refused.outcome, refused.sqlstate, refused.verdict) == ("statement_refused", "42601", "refused")
    assert trace.record(CLIENT_GONE, size=0, with_sql=False).outcome == "client_gone"


def test_a_text_that_may_hold_a_token_is_not_shown() -> None:
    assert shown_sql("select auth.JWT_session_init('eyJ')") == ""


def test_the_journal_keeps_the_last_records_and_counts_all() -> None:
    journal = Journal(Settings(activity_records=3))
    for number in range(5):
        journal.add(record(number, size=number))
    assert [one.size for one in journal.recent(2)] == [4, 3]
    assert [one.size for one in journal.recent(10)] == [4, 3, 2]
    assert journal.counts == {("http", "ok"): 5}
    assert Journal.of(Settings()) is None


def test_lines_on_standard_error_are_not_mixed_with_those_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """What goes into a pipe in one write of at most PIPE_BUF bytes stays in one piece there."""
    written: list[bytes] = []

    def write(file: int, data: memoryview) -> int:
        written.append(bytes(data))
        return len(data)

    monkeypatch.setattr(os, "write", write)
    writer = AuditWriter("stderr")
    records = [*(record(number) for number in range(200)), long_record(), *(record(number) for number in range(200))]
    for one in records:
        writer.put(one)
    writer.close()
    assert b"".join(written).count(b"\n") == len(records)
    assert all(piece.endswith(b"\n") for piece in written)
    assert [piece for piece in written if len(piece) > select.PIPE_BUF] == [
        piece for piece in written if piece.count(b"\n") == 1
    ]
    assert len(written) < 60


def long_record() -> RequestRecord:
    trace = Trace("http")
    trace.texts = ["select '" + "x" * 10_000 + "'"]
    return trace.record(None, size=0, with_sql=True)
