"""The server side of the Postgres protocol 3.0/3.2: what a client sends, what it is answered, and in which order."""
