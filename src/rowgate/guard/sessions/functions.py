"""The functions that queries of the structural catalogs call: a reviewed list beside the computed one.

They turn the catalogs' own values to text, or answer for the connected role alone. Data, and the one step that adds
them to a catalogue.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from rowgate.guard.catalog import FunctionCatalog


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_DEFINITIONS = _names(
    """
    col_description format_type obj_description pg_collation_for pg_column_is_updatable pg_describe_object
    pg_get_constraintdef pg_get_expr pg_get_function_arg_default pg_get_function_arguments
    pg_get_function_identity_arguments pg_get_function_result pg_get_indexdef pg_get_keywords
    pg_get_partition_constraintdef pg_get_partkeydef pg_get_ruledef pg_get_serial_sequence pg_get_statisticsobjdef
    pg_get_statisticsobjdef_columns pg_get_statisticsobjdef_expressions pg_get_triggerdef pg_get_userbyid
    pg_get_viewdef pg_identify_object pg_index_column_has_property pg_index_has_property pg_indexam_has_property
    pg_partition_ancestors pg_partition_root pg_relation_is_publishable pg_relation_is_updatable shobj_description
    ts_token_type
    """
)
"""The text and the properties of what the catalogs describe, and what text search parsers know."""

_VISIBILITY = _names(
    """
    pg_collation_is_visible pg_conversion_is_visible pg_function_is_visible pg_opclass_is_visible
    pg_operator_is_visible pg_opfamily_is_visible pg_statistics_obj_is_visible pg_table_is_visible
    pg_ts_config_is_visible pg_ts_dict_is_visible pg_ts_parser_is_visible pg_ts_template_is_visible
    pg_type_is_visible
    """
)
"""Whether a name is found through the search path."""

_NAMES_AND_OIDS = _names(
    """
    regclass to_regclass to_regcollation to_regnamespace to_regoper to_regoperator to_regproc to_regprocedure to_regrole
    to_regtype to_regtypemod
    """
)
"""From names to oids and back, as casts to these types do."""

_PRIVILEGES = _names(
    """
    has_any_column_privilege has_column_privilege has_database_privilege has_function_privilege
    has_language_privilege has_schema_privilege has_sequence_privilege has_table_privilege has_tablespace_privilege
    has_type_privilege pg_has_role row_security_active
    """
)
"""What roles may do; the catalogs' access lists say it too."""

_SURROUNDINGS = _names(
    """
    current_database current_schemas getdatabaseencoding pg_backend_pid pg_char_to_encoding pg_encoding_to_char
    pg_is_in_recovery version
    """
)
"""The database, the server and the connection, by name and number. The pid is one of many that a session has."""

SESSION_FUNCTIONS: Final = _DEFINITIONS | _VISIBILITY | _NAMES_AND_OIDS | _PRIVILEGES | _SURROUNDINGS
"""Functions of pg_catalog that sessions may call beyond queries over HTTP.

Left out on purpose: pg_get_functiondef and pg_get_function_sqlbody (bodies of functions), sizes and counters (what
others insert), pg_tablespace_location and the addresses (the operator's machine), pg_options_to_table (foreign
servers), txid_* and pg_current_* (numbers that everybody's work moves), pg_postmaster_start_time, and everything with
a lock, a file, a signal or a text that is run as SQL.
"""

SESSION_HELPERS: Final = frozenset({"_pg_expandarray"})
"""Functions of information_schema that JDBC calls for primary keys: arrays in, rows out."""


def session_catalog(catalog: FunctionCatalog) -> FunctionCatalog:
    """``catalog`` with :data:`SESSION_FUNCTIONS` open."""
    return replace(catalog, allowed=catalog.allowed | SESSION_FUNCTIONS)
