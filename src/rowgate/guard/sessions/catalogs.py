"""Which relations of pg_catalog and information_schema a session may read: a reviewed list, table by table.

They say what there is: tables, columns, types, functions by name. Postgres shows them to PUBLIC, and no client of the
wire protocol works without them. They never say what somebody keeps in tables, does at the moment, or has set.
Data only; the walk beside it reads these names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_TABLES = _names(
    """
    pg_attrdef pg_attribute pg_class pg_constraint pg_depend pg_description pg_index pg_indexes pg_inherits pg_matviews
    pg_namespace pg_partitioned_table pg_sequence pg_sequences pg_statistic_ext pg_tables pg_views
    """
)
"""Tables, views, indexes, sequences and their columns: every ``\\d`` of psql, every reflection. pg_class.reltuples is
known with them, an estimate of all rows that changes at ANALYZE; sizes and counters, which change at each insert, stay
closed. pg_statistic_ext has the names of extended statistics, whose values are in pg_statistic_ext_data."""

_TYPES = _names("pg_enum pg_range pg_type")
"""Types: asyncpg, psycopg, JDBC, Npgsql and Prisma read them before they can decode a row."""

_CODE = _names(
    """
    pg_aggregate pg_am pg_amop pg_amproc pg_cast pg_collation pg_conversion pg_event_trigger pg_extension pg_language
    pg_opclass pg_operator pg_opfamily pg_policies pg_policy pg_proc pg_rewrite pg_rules pg_transform pg_trigger
    """
)
"""Functions, operators, triggers, rules and policies by name and signature. Policies and triggers belong here because
``\\d table`` reads them for each table and shows nothing where it may not; so constants in a policy and arguments of a
trigger are no place for secrets. Bodies of functions are in :data:`CLOSED_COLUMNS`."""

_SEARCH = _names("pg_ts_config pg_ts_config_map pg_ts_dict pg_ts_parser pg_ts_template")
"""Text search configurations, which queries name."""

_SERVER = _names(
    "pg_auth_members pg_database pg_group pg_publication pg_publication_namespace pg_publication_rel"
    " pg_publication_tables pg_roles pg_shdescription pg_tablespace pg_user"
)
"""Names of roles (who owns a table), databases (``\\l``) and tablespaces; publications, which ``\\d table`` reads. The
roles are the operator's, a few for all users; users of an application have none."""

_ZONES = _names("pg_timezone_abbrevs pg_timezone_names")
"""The time zone database, for pickers of time zones."""

CATALOGS: Final = _TABLES | _TYPES | _CODE | _SEARCH | _SERVER | _ZONES
"""Relations of pg_catalog. What is not here is refused, on purpose so:

- pg_statistic, pg_stats*, pg_statistic_ext_data: values out of rows that a policy hides.
- pg_authid, pg_shadow: password hashes. pg_user_mapping(s), pg_foreign_*, pg_subscription: other servers and passwords.
- pg_db_role_setting, pg_settings, pg_file_settings, pg_hba_*, pg_ident_*, pg_config: values of settings, secrets of
  applications among them. SHOW and current_setting() are open for a list of names.
- pg_stat_*, pg_statio_*, pg_locks, pg_prepared_*, pg_cursors, pg_backend_memory_contexts, pg_shmem_*, pg_replication_*:
  what others do at the moment, and what the gateway keeps on its connections.
- pg_largeobject*: data without policies. pg_default_acl, pg_init_privs, pg_parameter_acl, pg_shdepend, pg_seclabel(s),
  pg_available_extension*: no client needs them to work.
"""

INFORMATION_SCHEMA: Final = _names(
    """
    administrable_role_authorizations applicable_roles attributes character_sets check_constraint_routine_usage
    check_constraints collation_character_set_applicability collations column_column_usage column_domain_usage
    column_privileges column_udt_usage columns constraint_column_usage constraint_table_usage data_type_privileges
    domain_constraints domain_udt_usage domains element_types enabled_roles information_schema_catalog_name
    key_column_usage parameters referential_constraints role_column_grants role_routine_grants role_table_grants
    role_udt_grants role_usage_grants routine_privileges routines schemata sequences sql_features
    sql_implementation_info table_constraints table_privileges tables triggered_update_columns triggers udt_privileges
    usage_privileges user_defined_types view_column_usage view_routine_usage view_table_usage views
    """
)
"""Views of information_schema: they show what the role itself has a privilege on. Closed are those of foreign servers
and user mappings."""


@dataclass(frozen=True, slots=True)
class ClosedColumns:
    """A catalog of which some columns stay closed: ``closed`` may be named nowhere in a statement that reads it, and
    behind its own name or alias only ``open`` may stand, because any other name would be a function of the row."""

    closed: frozenset[str]
    open: frozenset[str]


CLOSED_COLUMNS: Final[Mapping[str, ClosedColumns]] = MappingProxyType(
    {
        # Bodies of functions have keys and addresses in them more often than one likes; settings of a function too.
        "pg_proc": ClosedColumns(
            _names("prosrc probin prosqlbody proconfig"),
            _names(
                """
                oid proacl proallargtypes proargdefaults proargmodes proargnames proargtypes procost proisstrict prokind
                prolang proleakproof proname pronamespace pronargdefaults pronargs proowner proparallel prorettype
                proretset prorows prosecdef prosupport protrftypes provariadic provolatile
                """
            ),
        ),
        # What ALTER ROLE ... SET keeps, where applications put secrets.
        "pg_roles": ClosedColumns(
            _names("rolpassword rolconfig"),
            _names(
                "oid rolbypassrls rolcanlogin rolconnlimit rolcreatedb rolcreaterole rolinherit rolname rolreplication"
                " rolsuper rolvaliduntil"
            ),
        ),
        "pg_user": ClosedColumns(
            _names("passwd useconfig"),
            _names("usebypassrls usecreatedb usename userepl usesuper usesysid valuntil"),
        ),
        # How many rows everybody has inserted so far.
        "pg_sequences": ClosedColumns(
            _names("last_value"),
            _names(
                "cache_size cycle data_type increment_by max_value min_value schemaname sequencename sequenceowner"
                " start_value"
            ),
        ),
    }
)
"""A query that reads such a catalog names its columns: no ``*``, no whole row, no NATURAL join, no new names for
columns or joins, so that none of them comes along unseen."""


def is_structural(node: dict[str, Any]) -> bool:
    """Whether a RangeVar node names an open catalog. Without a schema only names of pg_catalog count: it stands first
    in every search path that a session can have."""
    if "catalogname" in node:
        return False
    schema, name = node.get("schemaname", "pg_catalog"), node.get("relname", "")
    return (schema == "pg_catalog" and name in CATALOGS) or (
        schema == "information_schema" and name in INFORMATION_SCHEMA
    )
