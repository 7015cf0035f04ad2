"""The names that a person chose: functions of pg_catalog and of extensions that the computed rules get wrong.

Data only. The rules that read it are in ``catalog`` and ``functions``.
"""

from __future__ import annotations

from typing import Final


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


CURATED_FUNCTIONS: Final = _names(
    """
    age array_sample array_shuffle array_to_json array_to_string clock_timestamp concat concat_ws convert convert_from
    convert_to current_schema date date_add date_part date_subtract date_trunc enum_first enum_last enum_range extract
    format gen_random_uuid generate_series json_agg json_agg_strict json_build_array json_build_object json_object_agg
    json_object_agg_strict json_object_agg_unique json_object_agg_unique_strict json_populate_record
    json_populate_recordset json_to_record json_to_recordset json_to_tsvector jsonb_agg jsonb_agg_strict
    jsonb_build_array jsonb_build_object jsonb_object_agg jsonb_object_agg_strict jsonb_object_agg_unique
    jsonb_object_agg_unique_strict jsonb_path_exists_tz jsonb_path_match_tz jsonb_path_query_array_tz
    jsonb_path_query_first_tz jsonb_path_query_tz jsonb_populate_record jsonb_populate_record_valid
    jsonb_populate_recordset jsonb_to_record jsonb_to_recordset jsonb_to_tsvector length make_timestamptz money nextval
    now numeric overlaps pg_size_bytes pg_size_pretty pg_typeof phraseto_tsquery plainto_tsquery quote_literal
    quote_nullable random random_normal row_to_json statement_timestamp time timeofday timestamp timestamptz timetz
    timezone to_char to_date to_json to_jsonb to_number to_timestamp to_tsquery to_tsvector transaction_timestamp
    ts_headline uuidv4 uuidv7 websearch_to_tsquery xml xml_is_well_formed
    """
)
"""Functions of pg_catalog that are open although an overload is STABLE or VOLATILE, or the name begins with pg_."""

REFUSED_IMMUTABLE: Final = _names(
    """
    aclcontains acldefault aclinsert aclitemeq aclremove hash_aclitem hash_aclitem_extended icu_unicode_version
    makeaclitem postgresql_fdw_validator satisfies_hash_partition unicode_version
    """
)
"""Immutable functions of pg_catalog that stay closed: they tell about roles, partitions or the server's build."""

REFUSED_IMMUTABLE_PREFIXES: Final = ("pg_", "txid_", "brin_", "gin_", "gist_", "spg_", "binary_upgrade_", "lo_")
"""Immutable functions with these beginnings serve indexes and administration."""

TRUSTED_EXTENSIONS: Final = frozenset(
    {"pgcrypto", "uuid-ossp", "pg_trgm", "unaccent", "citext", "hstore", "ltree", "vector", "postgis"}
)
"""Extensions whose functions work on their arguments alone, but for :data:`REFUSED_OF_EXTENSIONS`."""

REFUSED_OF_EXTENSIONS: Final = _names(
    """
    set_limit show_limit
    addauth addgeometrycolumn checkauth checkauthtrigger disablelongtransactions dropgeometrycolumn dropgeometrytable
    enablelongtransactions find_srid gettransactionid lockrow longtransactionsenabled populate_geometry_columns
    st_estimated_extent st_estimatedextent st_find_extent st_findextent st_fromflatgeobuftotable unlockrows
    updategeometrysrid
    """
)
"""Functions of trusted extensions that stay closed: pg_trgm's that keep state in the session, PostGIS's that run DDL
or read statistics of hidden rows. (PostGIS's ``postgis_*`` is closed by its prefix.)"""
