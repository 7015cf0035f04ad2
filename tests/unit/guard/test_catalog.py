"""The function catalogue: which names it opens, and what rows it takes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowgate.errors import SetupIncomplete, StatementRefused
from rowgate.guard import CATALOG_QUERY, CLIENT, FunctionCatalog, FunctionRow, Guard
from rowgate.guard.curated import CURATED_FUNCTIONS, REFUSED_IMMUTABLE, REFUSED_OF_EXTENSIONS
from rowgate.guard.functions import judge_column, judge_function
from rowgate.guard.parser import StatementParser

DEFAULT = FunctionCatalog.default()
STOCK = (
    FunctionRow("pg_catalog", "count", True, True, None, True, True),
    FunctionRow("pg_catalog", "set_config", False, True, None, True, False),
    FunctionRow("pg_catalog", "now", False, True, None, True, False),
)


def catalog(*rows: FunctionRow) -> FunctionCatalog:
    return FunctionCatalog.from_rows((*STOCK, *rows))


def is_open(name: str, functions: FunctionCatalog = DEFAULT) -> bool:
    return judge_function(name.split("."), functions) is None


@pytest.mark.parametrize(
    "name",
    [
        "set_config",
        "current_setting",
        "current_query",
        "query_to_xml",
        "cursor_to_xml",
        "table_to_xml",
        "schema_to_xml",
        "database_to_xml",
        "ts_rewrite",
        "ts_stat",
        "pg_cancel_backend",
        "pg_terminate_backend",
        "pg_sleep",
        "pg_sleep_for",
        "pg_sleep_until",
        "pg_advisory_lock",
        "pg_try_advisory_xact_lock",
        "lo_get",
        "lo_put",
        "lo_unlink",
        "loread",
        "lowrite",
        "pg_export_snapshot",
        "pg_notify",
        "pg_logical_emit_message",
        "currval",
        "lastval",
        "setseed",
        "setval",
        "pg_blocking_pids",
        "pg_lock_status",
        "pg_stat_get_activity",
        "pg_clear_relation_stats",
        "pg_restore_relation_stats",
        "brin_summarize_range",
        "gin_clean_pending_list",
        "pg_nextoid",
        "pg_create_physical_replication_slot",
        "binary_upgrade_set_next_pg_type_oid",
        "pg_control_system",
        "pg_xact_status",
        "txid_status",
        "txid_current",
        "pg_database_size",
        "pg_relation_size",
        "pg_tablespace_size",
        "pg_read_file",
        "pg_ls_dir",
        "pg_stat_file",
        "pg_read_file_old",
        "bernoulli",
        "system",
        "version",
        "current_database",
        "current_schemas",
        "inet_server_addr",
        "has_table_privilege",
        "has_column_privilege",
        "row_security_active",
        "to_regclass",
        "to_regrole",
        "pg_get_viewdef",
        "pg_get_expr",
        "pg_show_all_settings",
        "pg_prepared_statement",
        "pg_cursor",
        "pg_listening_channels",
        "pg_current_snapshot",
        "obj_description",
        "col_description",
        "shobj_description",
        "pg_input_is_valid",
        "pg_backend_pid",
        "acldefault",
        "makeaclitem",
        "regclasssend",
        "regclassin",
        "textin",
        "byteaout",
        "satisfies_hash_partition",
        "icu_unicode_version",
        "pg_partition_root",
        "array_agg_transfn",
        "pg_typeof_future",
    ],
)
def test_a_closed_function_is_closed_in_both_spellings(name: str) -> None:
    assert not is_open(name)
    assert not is_open(f"pg_catalog.{name}")


@pytest.mark.parametrize("name", sorted(CURATED_FUNCTIONS))
def test_a_curated_function_exists_and_is_open(name: str) -> None:
    assert name in DEFAULT.builtin
    assert is_open(name)
    assert is_open(f"pg_catalog.{name}")


def test_the_hand_made_lists_name_functions_that_exist() -> None:
    assert DEFAULT.builtin >= REFUSED_IMMUTABLE
    assert not REFUSED_OF_EXTENSIONS & DEFAULT.builtin


def test_the_default_has_the_size_of_a_server() -> None:
    assert len(DEFAULT.builtin) > 2_700
    assert 1_300 < len(DEFAULT.allowed) < 1_600
    assert DEFAULT.allowed < DEFAULT.builtin


def test_nothing_open_reaches_past_its_arguments_by_its_name() -> None:
    suspicious = ("pg_", "lo_", "has_", "to_reg", "inet_server", "inet_client", "binary_upgrade_", "txid_", "acl")
    named = {name for name in DEFAULT.allowed if name.startswith(suspicious)}
    assert named == {"pg_size_bytes", "pg_size_pretty", "pg_typeof"}


def test_the_users_own_functions_are_for_grant() -> None:
    for name in ("my_function", "app.my_function", "public.version", "app.count"):
        assert is_open(name)


@pytest.mark.parametrize(
    ("row", "opens"),
    [
        (FunctionRow("pg_catalog", "fresh", True, True, None, True, True), True),
        (FunctionRow("pg_catalog", "fresh", False, True, None, True, True), False),
        (FunctionRow("pg_catalog", "fresh", True, False, None, True, True), False),
        (FunctionRow("pg_catalog", "fresh", True, True, None, False, True), False),
        (FunctionRow("pg_catalog", "fresh", True, True, "plpgsql", True, True), False),
        (FunctionRow("public", "fresh", False, True, "dblink", True, True), False),
        (FunctionRow("public", "fresh", True, True, "cube", True, True), False),
        (FunctionRow("public", "fresh", False, True, "pgcrypto", True, True), True),
        (FunctionRow("public", "set_limit", False, True, "pg_trgm", True, True), False),
        (FunctionRow("public", "st_findextent", False, True, "postgis", True, True), False),
    ],
)
def test_one_row(row: FunctionRow, opens: bool) -> None:
    functions = catalog(row)
    assert is_open(row.name, functions) is opens
    assert is_open(f"{row.schema}.{row.name}", functions) is opens


@given(st.permutations([True, False, None]))
def test_one_closed_row_closes_a_name_in_any_order(order: list[bool | None]) -> None:
    rows = [FunctionRow("pg_catalog", "f", bool(each), True, None, True, False) for each in order]
    assert not is_open("f", catalog(*rows))


def test_only_the_extensions_own_schema_is_closed_for_qualified_names() -> None:
    functions = catalog(FunctionRow("extensions", "fetch_url", False, True, "fetcher", True, True))
    assert not is_open("extensions.fetch_url", functions)
    assert not is_open("fetch_url", functions)
    assert is_open("app.fetch_url", functions)


def test_trust_can_be_given_to_other_extensions() -> None:
    row = FunctionRow("public", "cube_dim", True, True, "cube", True, True)
    trusting = FunctionCatalog.from_rows([*STOCK, row], trusted_extensions=frozenset({"cube"}))
    assert is_open("cube_dim", trusting)


def test_the_extension_of_the_session_keeps_its_own_rules() -> None:
    functions = catalog(
        FunctionRow("auth", "user_id", False, True, "pg_session_jwt", True, False),
        FunctionRow("auth", "jwt_session_init", False, True, "pg_session_jwt", True, True),
    )
    assert is_open("auth.user_id", functions)
    assert is_open("user_id", functions)
    assert not is_open("auth.jwt_session_init", functions)
    assert not is_open("jwt_session_init", functions)


def test_a_name_that_only_newer_servers_have_is_the_users() -> None:
    assert is_open("uuidv7", catalog())


@pytest.mark.parametrize("rows", [(), STOCK[:1], STOCK[1:], [STOCK[0]._replace(schema="public"), *STOCK[1:]]])
def test_rows_without_pg_catalog_are_refused(rows: tuple[FunctionRow, ...]) -> None:
    with pytest.raises(SetupIncomplete):
        FunctionCatalog.from_rows(rows)


def test_plain_tuples_are_taken() -> None:
    assert FunctionCatalog.from_rows([tuple(row) for row in STOCK]) == catalog()  # type: ignore[misc]


@pytest.mark.parametrize(
    "name",
    ["pg_sleep", "current_setting", "lo_get", "regclass", "regclassin", "pg_of_the_future", "setseed", "ts_stat"],
)
def test_a_closed_function_of_one_argument_may_not_follow_a_dot(name: str) -> None:
    assert judge_column(name, DEFAULT) is not None


@pytest.mark.parametrize(
    "name",
    [
        "id",
        "name",
        "version",
        "time_out",
        "date_in",
        "internal",
        "http_status",
        "lo_x",
        "cron_x",
        "system",
        "pg_typeof",
    ],
)
def test_a_columns_name_may_follow_a_dot(name: str) -> None:
    assert judge_column(name, DEFAULT) is None


def test_functions_of_extensions_in_column_notation() -> None:
    functions = catalog(
        FunctionRow("public", "latitude", True, True, "earthdistance", True, True),
        FunctionRow("public", "fetch_url", False, True, "fetcher", True, True),
        FunctionRow("public", "fetch_two", False, True, "fetcher", True, False),
    )
    closed = [name for name in ("latitude", "fetch_url", "fetch_two") if judge_column(name, functions)]
    assert closed == ["fetch_url"]


def test_the_query_is_one_statement_that_reads() -> None:
    (statement,) = StatementParser().parse(CATALOG_QUERY).statements
    assert "SelectStmt" in statement["stmt"]
    with pytest.raises(StatementRefused):  # and no client may send it
        Guard(CLIENT, DEFAULT).check(CATALOG_QUERY)


def test_the_catalogue_is_quiet_in_a_repr() -> None:
    assert len(repr(DEFAULT)) < 100
