"""Sessions: one client that speaks the Postgres protocol, over whatever front it came through."""
