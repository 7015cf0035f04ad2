"""The page Connect: connection strings for each role and client, ready to paste. Holds no password and no token."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final
from urllib.parse import quote

from starlette.responses import Response
from starlette.routing import Route

from rowgate.console.pages.access import Doorway, Visit
from rowgate.console.pages.frame import Frame
from rowgate.gateway.gateway import Gateway
from rowgate.settings import Settings

PATH: Final = "/connect"


@dataclass(frozen=True, slots=True)
class Snippet:
    """Something to paste."""

    title: str
    text: str


class Connect:
    """The page."""

    def __init__(self, frame: Frame, gateway: Gateway, settings: Settings) -> None:
        self._frame = frame
        self._gateway = gateway
        self._settings = settings

    def routes(self, doorway: Doorway) -> list[Route]:
        """Its address."""
        return [Route(PATH, doorway.guarded(self.show), methods=["GET"])]

    async def show(self, visit: Visit) -> Response:
        """The strings of one role."""
        roles = sorted(visit.database.exposes, key=lambda role: (role != "authenticated", role))
        asked = visit.request.query_params.get("role", "")
        role = asked if asked in roles else roles[0] if roles else "authenticated"
        snippets = self._snippets(role, visit.endpoint.name, visit.database.name)
        return self._frame.page(visit.request, visit.session, "connect.html", roles=roles, role=role, snippets=snippets)

    def _host(self, endpoint: str) -> str:
        """A name that reaches this gateway from this machine, as nearly as can be told."""
        host = self._settings.host
        try:
            address = ip_address(host)
            is_here = address.is_loopback or address.is_unspecified
            host = "localhost" if is_here else f"[{host}]" if address.version == 6 else host
        except ValueError:
            pass
        return f"{endpoint}.{host}" if endpoint else host

    def _snippets(self, role: str, endpoint: str, database: str) -> list[Snippet]:
        host = self._host(endpoint)
        secure = "s" if self._settings.tls_cert and host != "localhost" else ""
        name, place = quote(role, safe=""), quote(database, safe="")
        url = f"postgresql://{name}@{host}:{self._gateway.port}/{place}"
        http = f"http{secure}://{host}:{self._gateway.port}/sql"
        variable = f"DATABASE_{''.join(one if one.isalnum() else '_' for one in role.upper())}_URL"
        found = [
            Snippet(".env", f"{variable}='{url}'"),
            Snippet("Serverless driver (JavaScript)", _SERVERLESS.format(http=http, variable=variable)),
            Snippet("Drizzle", _DRIZZLE.format(http=http, variable=variable)),
            Snippet("Kysely", _KYSELY.format(http=http, variable=variable)),
            Snippet("curl", _CURL.format(http=http, url=url)),
        ]
        if self._gateway.tcp_port is None:
            return found
        mode = "require" if self._settings.tls_cert else "prefer"
        tcp = f"postgresql://{name}@{host}:{self._gateway.tcp_port}/{place}?sslmode={mode}"
        where = {"role": role, "host": host, "port": self._gateway.tcp_port, "database": database, "mode": mode}
        return [
            *found,
            Snippet("psql", f"PGPASSWORD=\"$TOKEN\" \\\n  psql '{tcp}'"),
            Snippet("psycopg (Python)", f"psycopg.connect(\n    {tcp!r},\n    password=token,\n)"),
            Snippet("SQLAlchemy", _SQLALCHEMY.format(**where)),
            Snippet("Django", _DJANGO.format(**where)),
        ]


_SERVERLESS: Final = """\
import {{ neon, neonConfig }} from '@neondatabase/serverless';

neonConfig.fetchEndpoint = () => '{http}';
const sql = neon(process.env.{variable}, {{
  authToken: async () => getToken(),
}});
const rows = await sql`select auth.user_id()`;"""
_DRIZZLE: Final = """\
import {{ neon, neonConfig }} from '@neondatabase/serverless';
import {{ drizzle }} from 'drizzle-orm/neon-http';

neonConfig.fetchEndpoint = () => '{http}';
const sql = neon(process.env.{variable}, {{
  authToken: async () => getToken(),
}});
const db = drizzle(sql);"""
_KYSELY: Final = """\
import {{ neon, neonConfig }} from '@neondatabase/serverless';
import {{ Kysely }} from 'kysely';
import {{ NeonDialect }} from 'kysely-neon';

neonConfig.fetchEndpoint = () => '{http}';
const sql = neon(process.env.{variable}, {{
  authToken: async () => getToken(),
}});
const db = new Kysely({{
  dialect: new NeonDialect({{ neon: sql }}),
}});"""
_CURL: Final = """\
curl -s {http} \\
  -H 'Neon-Connection-String: {url}' \\
  -H "Authorization: Bearer $TOKEN" \\
  -d '{{"query": "select auth.user_id()"}}'"""
_SQLALCHEMY: Final = """\
url = URL.create(
    "postgresql+psycopg",
    username={role!r}, password=token,
    host={host!r}, port={port}, database={database!r},
    query={{"sslmode": {mode!r}}},
)
engine = create_engine(url)"""
_DJANGO: Final = """\
DATABASES = {{"default": {{
    "ENGINE": "django.db.backends.postgresql",
    "USER": {role!r}, "PASSWORD": token,
    "HOST": {host!r}, "PORT": {port},
    "NAME": {database!r},
    "OPTIONS": {{"sslmode": {mode!r}}},
}}}}"""
