"""What the database must hold: the extension pg_session_jwt, exposed roles, grants; set-up plans and applies them."""
