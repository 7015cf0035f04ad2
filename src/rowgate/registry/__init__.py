"""What was configured: providers and exposed roles, kept in the schema ``rowgate`` of a real Postgres."""
