"""As much of PostgREST as the benchmarks ask for, by its own configuration file: so that what they tell it is tried.

It reads ``db-uri``, ``jwt-secret`` (a file of keys), ``db-anon-role`` and ``server-port``, verifies the token, takes
the role, and sets ``request.jwt.claims``, as PostgREST's documentation has it ("Authentication", "Transactions").
"""

from __future__ import annotations

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import jwt
import psycopg
from psycopg import sql
from psycopg.rows import dict_row
from psycopg_pool import ConnectionPool

settings = dict(line.split(" = ", 1) for line in Path(sys.argv[1]).read_text().splitlines())
given = {name: json.loads(value) for name, value in settings.items()}
keys = jwt.PyJWKSet.from_json(Path(given["jwt-secret"].removeprefix("@")).read_text())


class Handler(BaseHTTPRequestHandler):
    """One client."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Rows of a table."""
        parts = urlsplit(self.path)
        asked = dict(parse_qsl(parts.query))
        names = asked["select"].split(",") if "select" in asked else ()
        columns = sql.SQL(",").join(map(sql.Identifier, names)) if names else sql.SQL("*")
        query = sql.SQL("select {} from {}").format(columns, sql.Identifier(parts.path[1:]))
        if "id" in asked:
            query += sql.SQL(" where id = {}").format(int(asked["id"].removeprefix("eq.")))
        if "limit" in asked:
            query += sql.SQL(" limit {}").format(int(asked["limit"]))
        self._run(query)

    def do_POST(self) -> None:
        """A new row."""
        row = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert self.headers["Prefer"] == "return=representation"
        self._run(sql.SQL("insert into {} ({}) values ({}) returning id").format(
            sql.Identifier(urlsplit(self.path).path[1:]), sql.SQL(",").join(map(sql.Identifier, row)),
            sql.SQL(",").join(map(sql.Literal, row.values())),
        ))  # fmt: skip

    def _run(self, query: sql.Composed) -> None:
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        claims: dict[str, Any] = {}
        if token:
            claims = jwt.decode(token, keys[jwt.get_unverified_header(token)["kid"]], algorithms=["RS256"])
        role = claims.get("role", given["db-anon-role"])
        with pool.connection() as connection, connection.transaction():
            connection.execute(sql.SQL("set local role {}").format(sql.Identifier(role)))
            connection.execute("select set_config('request.jwt.claims', %s, true)", [json.dumps(claims)])
            rows = connection.execute(query).fetchall()
        body = json.dumps(rows, default=str).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing is logged."""


with ConnectionPool[psycopg.Connection[dict[str, Any]]](
    given["db-uri"], min_size=1, max_size=given["db-pool"], kwargs={"row_factory": dict_row}, timeout=60
) as pool:
    ThreadingHTTPServer.request_queue_size = 128
    ThreadingHTTPServer((given["server-host"], given["server-port"]), Handler).serve_forever()
