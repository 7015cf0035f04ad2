"""The Postgres protocol 3.0/3.2 as pure functions and objects: bytes in, messages out. No socket, no asyncio."""
