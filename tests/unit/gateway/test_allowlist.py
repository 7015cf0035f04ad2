"""The allow-list: constants may differ and nothing else; a file that was tampered with is refused."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rowgate.cli.main import app
from rowgate.errors import SettingInvalid, StatementNotListed
from rowgate.gateway.allowlist import AllowList
from rowgate.gateway.allowlist_file import ListedStatement, digest, plain, read_lists, recorded_path, write_lists
from rowgate.guard.catalog import FunctionCatalog
from rowgate.guard.guard import Guard
from rowgate.guard.statements import CLIENT
from rowgate.settings import Settings

ROLE = "authenticated"
LISTED = "select id, task from todos where done = false and id = $1"


@pytest.fixture
def guard() -> Guard:
    return Guard(CLIENT, FunctionCatalog.default())


def settings(path: Path, mode: str) -> Settings:
    return Settings(statements=((ROLE, mode),), allowlist_file=str(path))


def listed(path: Path, guard: Guard, *texts: str) -> AllowList:
    statements = [
        ListedStatement(plain(text), digest(plain(text)), guard.check(text).fingerprint, (), "2026-01-01")
        for text in texts
    ]
    write_lists(path, {ROLE: {one.sha256: one for one in statements}})
    return AllowList(settings(path, "lock"))


def passes(allowlist: AllowList, guard: Guard, text: str) -> bool:
    answers = set()
    for _ in range(2):  # the second time it is remembered
        for session in (False, True):
            try:
                if session:
                    allowlist.check_session(ROLE, guard.check_session(text))
                else:
                    allowlist.check(ROLE, [text], [guard.check(text)])
                answers.add(True)
            except StatementNotListed:
                answers.add(False)
    (answer,) = answers
    return answer


@pytest.mark.parametrize(
    ("text", "allowed"),
    [
        (LISTED, True),
        ("  " + LISTED + " ; ", True),
        (LISTED.replace("false", "true"), True),
        (LISTED.replace("$1", "7"), False),  # it would be $1 and false $2
        ("", True),
        (LISTED.replace("and", "or"), False),
        (LISTED.replace("id = $1", "true"), False),
        (LISTED + " or true", False),
        (LISTED.replace("task", "note"), False),
        (LISTED.replace("todos", '"todos "'), False),
        (LISTED.replace("todos", "other.todos"), False),
        (LISTED + " limit 1", False),
        ("select 1", False),
        (LISTED.replace("id = $1", "id = $1 /* and more */"), False),
        (LISTED.upper(), False),
    ],
)
def test_other_constants_pass_and_nothing_else(tmp_path: Path, guard: Guard, text: str, allowed: bool) -> None:
    assert passes(listed(tmp_path / "list.json", guard, LISTED), guard, text) is allowed


def test_one_fingerprint_is_not_enough(tmp_path: Path, guard: Guard) -> None:
    path = tmp_path / "list.json"
    allowlist = listed(path, guard, LISTED)
    same = LISTED.replace("select", "SELECT")
    assert guard.check(same).fingerprint == guard.check(LISTED).fingerprint
    assert not passes(allowlist, guard, same)


def test_handshakes_pass_and_other_roles_are_free(tmp_path: Path, guard: Guard) -> None:
    allowlist = listed(tmp_path / "list.json", guard, LISTED)
    for text in ("begin", "set application_name = 'x'", "show server_version", "commit", "discard all"):
        allowlist.check_session(ROLE, guard.check_session(text))
    with pytest.raises(StatementNotListed):
        allowlist.check_session(ROLE, guard.check_session("begin; select 1; commit"))
    with pytest.raises(StatementNotListed):
        allowlist.check_session(ROLE, guard.check_session("declare c cursor for select 1"))
    allowlist.check("anonymous", ["select 1"], [guard.check("select 1")])


async def test_record_review_approve_lock(tmp_path: Path, guard: Guard) -> None:
    path = tmp_path / "list.json"
    recording = AllowList(settings(path, "record"))
    recording.start()
    secret = "select 'a secret' from todos where id = 12345"
    for text in (LISTED, LISTED, secret, secret.replace("12345", "7")):
        recording.check(ROLE, [text], [guard.check(text)])
    await recording.stop()
    written = recorded_path(path).read_text()
    assert "a secret" not in written
    assert "12345" not in written
    command = ["--file", str(path), "--json"]
    shown = CliRunner().invoke(app, ["allowlist", "diff", *command])
    assert (shown.exit_code, len(json.loads(shown.stdout))) == (1, 2)
    first = next(one for one in json.loads(shown.stdout) if one["text"] == plain(LISTED))
    assert (first["role"], first["tables"], first["fingerprint"]) == (ROLE, ["todos"], guard.check(LISTED).fingerprint)
    assert CliRunner().invoke(app, ["allowlist", "approve", "ffff", *command]).exit_code == 1
    assert CliRunner().invoke(app, ["allowlist", "approve", first["sha256"][:8], *command]).exit_code == 0
    locked = AllowList(settings(path, "lock"))
    assert passes(locked, guard, LISTED)
    assert not passes(locked, guard, secret)
    assert CliRunner().invoke(app, ["allowlist", "approve", *command]).exit_code == 0
    assert CliRunner().invoke(app, ["allowlist", "diff", *command]).exit_code == 0
    assert len(json.loads(CliRunner().invoke(app, ["allowlist", "show", *command]).stdout)) == 2
    assert passes(AllowList(settings(path, "lock")), guard, secret)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("todos", "users"),
        lambda text: text.replace('"version": 1', '"version": 2'),
        lambda text: text[:-20],
        lambda text: text.replace('"sha256"', '"sha"'),
        lambda text: "[" * 100_000,
        lambda text: "",
    ],
)
def test_a_file_that_was_changed_is_refused(tmp_path: Path, guard: Guard, change: object) -> None:
    path = tmp_path / "list.json"
    listed(path, guard, LISTED)
    path.write_text(change(path.read_text()))  # type: ignore[operator]
    with pytest.raises(SettingInvalid):
        AllowList(settings(path, "lock"))


def test_settings_that_make_no_sense(tmp_path: Path) -> None:
    with pytest.raises(SettingInvalid, match="no mode"):
        AllowList(settings(tmp_path / "list.json", "locked"))
    with pytest.raises(SettingInvalid, match="not there"):
        AllowList(settings(tmp_path / "list.json", "lock"))
    assert AllowList.of(settings(tmp_path / "list.json", "off")) is None
    assert read_lists(tmp_path / "missing") == {}


async def test_what_is_rejected_stays_out_until_it_comes_again(tmp_path: Path, guard: Guard) -> None:
    """Another process takes it out of the file, while this one still remembers it."""
    path = tmp_path / "list.json"
    recording = AllowList(settings(path, "record"))
    for text in ("select 1 as one", "select 2 as two"):
        recording.check(ROLE, [text], [guard.check(text)])
    await recording.write()
    command = ["allowlist", "reject", digest(plain("select 1 as one"))[:12], "--file", str(path), "--json"]
    assert [one["text"] for one in json.loads(CliRunner().invoke(app, command).stdout)] == ["select $1 as one"]
    assert CliRunner().invoke(app, command).exit_code == 1  # it is not there any more
    assert recorded(path) == {"select $1 as two"}
    recording.check(ROLE, ["select 3 as three"], [guard.check("select 3 as three")])
    await recording.write()
    assert recorded(path) == {"select $1 as two", "select $1 as three"}
    recording.check(ROLE, ["select 1 as one"], [guard.check("select 1 as one")])
    await recording.write()
    assert recorded(path) == {"select $1 as one", "select $1 as two", "select $1 as three"}


def recorded(path: Path) -> set[str]:
    return {one.text for one in read_lists(recorded_path(path)).get(ROLE, {}).values()}


def test_a_list_is_read_again_and_a_damaged_one_changes_nothing(tmp_path: Path, guard: Guard) -> None:
    path = tmp_path / "list.json"
    locked = listed(path, guard, LISTED)
    assert passes(locked, guard, LISTED)
    listed(path, guard, "select 1 as other")
    assert passes(locked, guard, LISTED)
    locked.read_again()
    assert not passes(locked, guard, LISTED)
    assert passes(locked, guard, "select 2 as other")
    path.write_text("{")
    with pytest.raises(SettingInvalid):
        locked.read_again()
    assert passes(locked, guard, "select 2 as other")


async def test_several_processes_record_into_one_file(tmp_path: Path, guard: Guard) -> None:
    path = tmp_path / "list.json"
    first, second = AllowList(settings(path, "record")), AllowList(settings(path, "record"))
    for recording, text in ((first, "select 1 from todos"), (second, "select id from todos"), (first, LISTED)):
        recording.start()
        recording.check(ROLE, [text], [guard.check(text)])
    await first.stop()
    await second.stop()
    assert {one.text for one in read_lists(recorded_path(path))[ROLE].values()} == {
        plain(text) for text in ("select 1 from todos", "select id from todos", LISTED)
    }
