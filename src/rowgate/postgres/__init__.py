"""Talking to Postgres: connection, pool, session context, cancel, and the embedded server for development."""
