"""Which settings a session may have, and in which spelling they reach Postgres."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowgate.errors import StatementRefused
from rowgate.guard import CLIENT, FunctionCatalog, Guard, SessionSetting, session_setting
from rowgate.guard.relations import is_refused_schema
from rowgate.guard.sessions.settings import SETTABLE, SHOWABLE, readable_setting

GUARD = Guard(CLIENT, FunctionCatalog.default())


@pytest.mark.parametrize(
    ("name", "value", "assignment"),
    [
        ("application_name", "", "application_name TO ''"),
        ("Application_Name", "it's \\ me", "application_name TO 'it''s \\ me'"),
        ("application_name", "é" * 40, "application_name TO '" + "é" * 31 + "'"),
        ("bytea_output", "HEX", "bytea_output TO 'hex'"),
        ("client_encoding", "utf-8", "client_encoding TO 'UTF8'"),
        ("client_encoding", "UNICODE", "client_encoding TO 'UTF8'"),
        ("client_encoding", None, "client_encoding TO DEFAULT"),
        ("client_min_messages", "Warning", "client_min_messages TO 'warning'"),
        ("DateStyle", "ISO", "datestyle TO 'ISO'"),
        ("datestyle", "sql , European", "datestyle TO 'SQL', 'EUROPEAN'"),
        ("default_transaction_isolation", "Read Committed", "default_transaction_isolation TO 'read committed'"),
        ("default_transaction_read_only", "tr", "default_transaction_read_only TO 'on'"),
        ("default_transaction_deferrable", "of", "default_transaction_deferrable TO 'off'"),
        ("extra_float_digits", "03", "extra_float_digits TO '3'"),
        ("extra_float_digits", "-15", "extra_float_digits TO '-15'"),
        ("intervalstyle", "iso_8601", "intervalstyle TO 'iso_8601'"),
        ("jit", "off", "jit TO 'off'"),
        ("row_security", "true", "row_security TO 'on'"),
        ("search_path", '"$user", public', "search_path TO '$user', 'public'"),
        ("search_path", 'App,"a ""b"" \'c"', "search_path TO 'app', 'a \"b\" ''c'"),
        ("search_path", "pg_catalog, public", "search_path TO 'pg_catalog', 'public'"),
        ("search_path", "", "search_path TO ''"),
        ("search_path", '""', "search_path TO ''"),
        ("standard_conforming_strings", "1", "standard_conforming_strings TO 'on'"),
        ("timezone", "Europe/Berlin", "timezone TO 'Europe/Berlin'"),
        ("timezone", "<+03>-03", "timezone TO '<+03>-03'"),
        ("TimeZone", "-3.5", "timezone TO '-3.5'"),
    ],
)
def test_a_value_has_one_spelling(name: str, value: str | None, assignment: str) -> None:
    assert session_setting(name, value).assignment == assignment


@pytest.mark.parametrize(
    ("value", "milliseconds"),
    [
        ("0", 0),
        ("250", 250),
        ("250ms", 250),
        ("5 s", 5_000),
        ("1.5s", 1_500),
        ("2min", 120_000),
        ("1h", 3_600_000),
        ("1d", 86_400_000),
        ("1000us", 1),
        (" 7 ", 7),
    ],
)
def test_a_time_out_comes_in_milliseconds(value: str, milliseconds: int) -> None:
    for name in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"):
        assert session_setting(name, value) == SessionSetting(name, (str(milliseconds),), milliseconds)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("bytea_output", "base64"),
        ("bytea_output", ""),
        ("client_encoding", ""),
        ("client_encoding", "UTF16"),
        ("client_encoding", "utf8é"),
        ("datestyle", ""),
        ("datestyle", "iso, iso"),
        ("datestyle", "iso, mdy, dmy"),
        ("datestyle", "default"),
        ("default_transaction_read_only", "o"),
        ("default_transaction_read_only", "maybe"),
        ("extra_float_digits", "4"),
        ("extra_float_digits", "-16"),
        ("extra_float_digits", "1e0"),
        ("extra_float_digits", "٣"),
        ("row_security", "off"),
        ("search_path", "a,"),
        ("search_path", ",a"),
        ("search_path", "a b"),
        ("search_path", '"a'),
        ("search_path", 'a"b"'),
        ("search_path", '"a"b'),
        ("search_path", "a, pg_catalog"),
        ("search_path", "PG_TEMP"),
        ("search_path", "x" * 64),
        ("statement_timeout", ""),
        ("statement_timeout", "s"),
        ("statement_timeout", "-1"),
        ("statement_timeout", "1w"),
        ("statement_timeout", "1 S"),
        ("statement_timeout", "1e3"),
        ("statement_timeout", "0x10"),
        ("statement_timeout", "25d"),
        ("statement_timeout", "9" * 30),
        ("statement_timeout", "١"),
        ("timezone", ""),
        ("timezone", "../x"),
        ("timezone", "a b"),
        ("timezone", "é"),
        ("timezone", "x" * 64),
        ("timezone", "interval '1'"),
    ],
)
def test_other_values_are_refused(name: str, value: str) -> None:
    with pytest.raises(StatementRefused) as caught:
        session_setting(name, value)
    assert caught.value.refused_sqlstate == "22023"
    assert caught.value.detail


@pytest.mark.parametrize("name", ["role", "session_authorization", "a.b", "", "work_mem", "ſearch_path", "jit ", "JİT"])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(StatementRefused) as caught:
        session_setting(name, "x")
    assert caught.value.refused_sqlstate == "42501"


def test_only_lists_have_several_values() -> None:
    assert session_setting("search_path", ("a", "b")).values == ("a", "b")
    assert session_setting("datestyle", ("iso", "dmy")).values == ("ISO", "DMY")
    for name in sorted(SETTABLE - {"search_path", "datestyle"}):
        with pytest.raises(StatementRefused):
            session_setting(name, ("on", "on"))


def test_what_can_be_set_can_be_shown() -> None:
    assert SETTABLE < SHOWABLE
    assert not any("." in name for name in SHOWABLE)
    assert not {"role", "work_mem", "data_directory", "config_file", "port", "all"} & SHOWABLE
    for name in sorted(SHOWABLE):
        assert readable_setting(name.upper()) == name


@given(st.sampled_from(sorted(SETTABLE)), st.text(max_size=40))
def test_any_value_is_decided_and_reads_as_itself_again(name: str, value: str) -> None:
    try:
        setting = session_setting(name, value)
    except StatementRefused:
        return
    (again,) = GUARD.check_session(f"SET LOCAL {setting.assignment}".replace("\0", "").encode(errors="ignore").decode())
    assert [each.name for each in again.settings] == [name]


@given(st.lists(st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1, max_size=12), max_size=4))
def test_a_list_of_quoted_names_is_read_as_it_was_meant(names: list[str]) -> None:
    text = ", ".join('"' + name.replace('"', '""') + '"' for name in names)
    if any(is_refused_schema(name) and name != "pg_catalog" for name in names) or "pg_catalog" in names[1:]:
        with pytest.raises(StatementRefused):
            session_setting("search_path", text)
        return
    setting = session_setting("search_path", text)
    assert setting.values == tuple(names)
    (again,) = GUARD.check_session(f"SET {setting.assignment}")
    assert again.settings == (setting,)
