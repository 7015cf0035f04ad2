"""The management API: what is configured, read and changed behind admin tokens, on a port of its own."""
