"""What hardening takes away from PUBLIC in pg_catalog, by name, and why. Data only.

Every one of these is closed to exposed roles by the guard as well; taking the privilege away is the second wall. Names
that a server does not have are passed over. Where some belongs to Postgres's own code paths it is left out: views that
clients of the protocol read, and ``current_setting``, which ``auth.user_id()`` calls as its owner.
"""

from __future__ import annotations

from typing import Final


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split())


FUNCTIONS: Final[tuple[tuple[str, str, tuple[str, ...]], ...]] = (
    (
        "settings and session state",
        "They set the role, the identity or what the next user of the connection meets.",
        _names("set_config current_query currval lastval setseed"),
    ),
    (
        "functions that run SQL given as text",
        "The guard cannot see what they run.",
        _names(
            """
            query_to_xml query_to_xmlschema query_to_xml_and_xmlschema cursor_to_xml cursor_to_xmlschema table_to_xml
            table_to_xmlschema table_to_xml_and_xmlschema schema_to_xml schema_to_xmlschema schema_to_xml_and_xmlschema
            database_to_xml database_to_xmlschema database_to_xml_and_xmlschema ts_stat ts_rewrite
            """
        ),
    ),
    (
        "signals to other backends and sleeping",
        "They end other users' statements, or hold a connection that others wait for.",
        _names("pg_cancel_backend pg_terminate_backend pg_sleep pg_sleep_for pg_sleep_until"),
    ),
    (
        "advisory locks",
        "They outlive the statement, and one statement can fill the lock table of the whole server.",
        _names(
            """
            pg_advisory_lock pg_advisory_lock_shared pg_advisory_unlock pg_advisory_unlock_all
            pg_advisory_unlock_shared pg_advisory_xact_lock pg_advisory_xact_lock_shared pg_try_advisory_lock
            pg_try_advisory_lock_shared pg_try_advisory_xact_lock pg_try_advisory_xact_lock_shared
            """
        ),
    ),
    (
        "large objects",
        "They are data without row-level security.",
        _names(
            """
            lo_close lo_creat lo_create lo_from_bytea lo_get lo_lseek lo_lseek64 lo_open lo_put lo_tell lo_tell64
            lo_truncate lo_truncate64 lo_unlink loread lowrite
            """
        ),
    ),
    (
        "messages, snapshots and replication",
        "They reach other sessions, or write to the log of changes.",
        _names(
            """
            pg_notify pg_export_snapshot pg_logical_emit_message pg_notification_queue_usage
            binary_upgrade_logical_slot_has_caught_up pg_copy_logical_replication_slot
            pg_copy_physical_replication_slot pg_create_logical_replication_slot pg_create_physical_replication_slot
            pg_drop_replication_slot pg_logical_slot_get_binary_changes pg_logical_slot_get_changes
            pg_logical_slot_peek_binary_changes pg_logical_slot_peek_changes pg_replication_slot_advance
            pg_sync_replication_slots
            """
        ),
    ),
    (
        "functions that look at other sessions, transactions and the disk",
        "They tell what others do, and how much of it there is.",
        _names(
            """
            pg_blocking_pids pg_isolation_test_session_is_blocked pg_lock_status pg_prepared_xact pg_prepared_statement
            pg_cursor pg_safe_snapshot_blocking_pids pg_get_wait_events pg_stat_get_activity
            pg_stat_get_backend_activity pg_stat_get_backend_client_addr pg_stat_get_backend_idset
            pg_stat_get_backend_io pg_stat_get_backend_wal
            pg_stat_get_io pg_stat_get_progress_info pg_stat_get_wal_senders pg_stat_clear_snapshot
            pg_stat_force_next_flush pg_control_checkpoint pg_control_init pg_control_recovery pg_control_system
            pg_last_committed_xact pg_xact_commit_timestamp pg_xact_commit_timestamp_origin pg_xact_status txid_status
            pg_database_size pg_indexes_size pg_relation_size pg_table_size pg_tablespace_size pg_total_relation_size
            pg_relation_filenode pg_relation_filepath pg_sequence_last_value pg_get_sequence_data pg_get_loaded_modules
            pg_read_file_old pg_rotate_logfile_old
            """
        ),
    ),
    (
        "maintenance",
        "They change statistics and indexes.",
        _names(
            """
            brin_desummarize_range brin_summarize_new_values brin_summarize_range gin_clean_pending_list
            pg_clear_attribute_stats pg_clear_relation_stats pg_restore_attribute_stats pg_restore_relation_stats
            pg_extension_config_dump pg_import_system_collations pg_nextoid pg_stop_making_pinned_objects
            """
        ),
    ),
)
"""Groups of functions: title, reason, names. All overloads of a name are meant."""

VIEWS: Final = _names(
    """
    pg_stat_activity pg_stat_replication pg_stat_ssl pg_stat_gssapi pg_stat_progress_vacuum pg_stat_progress_analyze
    pg_stat_progress_copy pg_stat_all_tables pg_stat_sys_tables pg_stat_user_tables pg_stat_xact_all_tables
    pg_stat_xact_user_tables pg_stat_all_indexes pg_stat_user_indexes pg_stat_database pg_stat_user_functions
    pg_statio_all_tables pg_statio_user_tables pg_statio_all_sequences pg_statio_user_sequences pg_stat_io
    pg_stats pg_stats_ext pg_stats_ext_exprs pg_locks pg_prepared_statements pg_prepared_xacts pg_cursors
    pg_replication_slots pg_db_role_setting pg_wait_events
    """
)
"""Views and tables of pg_catalog that tell about other sessions, numbers of rows, values of columns, or settings of
roles, where applications keep secrets."""

LANGUAGES: Final = ("plpgsql", "sql")
"""Whoever has no language makes no function: not in pg_temp, and not by DO."""

LOGIN_SETTINGS: Final = (
    ("statement_timeout", "30s"),
    ("idle_in_transaction_session_timeout", "5min"),
    ("temp_file_limit", "1GB"),
    ("log_parameter_max_length", "0"),
    ("log_parameter_max_length_on_error", "0"),
)
"""Defaults of the login roles, for whoever uses one directly; the gateway's startup packet comes before them."""
