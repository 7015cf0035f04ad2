"""The server side of the Postgres protocol: what a client sends, what it is answered, and in which order."""
