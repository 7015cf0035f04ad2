"""Where a Postgres is: host, port, TLS mode and the control role, read from one connection string.

Reads connection strings by libpq's own rules (through psycopg). Never connects.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from typing import Final, Literal, cast, get_args

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from rowgate.errors import SettingInvalid

TlsMode = Literal["disable", "prefer", "require", "verify-ca", "verify-full"]
DEFAULT_PORT: Final = 5432


@dataclass(frozen=True, slots=True)
class Target:
    """One Postgres server, and the control role's way into it.

    ``host`` is a name, an address, or a folder that holds a Unix socket (it then starts with a slash).
    """

    host: str
    port: int
    database: str
    tls: TlsMode
    root_certificate: str | None
    conninfo: str = field(repr=False)

    @classmethod
    def parse(cls, connection_string: str) -> Target:
        """Reads a URL or a keyword string (PostgreSQL 18, section 34.1.1).

        Raises SettingInvalid, which never repeats the connection string: it may hold a password.
        """
        try:
            given = conninfo_to_dict(connection_string)
        except ProgrammingError as problem:
            raise SettingInvalid(
                "the database_url is not a connection string",
                hint="Write it as postgresql://role:password@host:5432/database.",
            ) from problem
        host = str(given.get("host") or given.get("hostaddr") or "")
        if not host or "," in host:
            raise SettingInvalid("the database_url must name exactly one host")
        mode = str(given.get("sslmode") or "prefer")
        if mode == "allow":
            mode = "prefer"
        if mode not in get_args(TlsMode):
            raise SettingInvalid(f"sslmode={mode} is not known", detail=f"expected one of {get_args(TlsMode)}")
        port = str(given.get("port") or DEFAULT_PORT)
        if not port.isdigit() or not 0 < int(port) < 65536:
            raise SettingInvalid("the port of the database_url is not a port number")
        if host.startswith("/"):
            mode = "disable"
        root = given.get("sslrootcert")
        return cls(
            host=host,
            port=int(port),
            database=str(given.get("dbname") or given.get("user") or "postgres"),
            tls=cast(TlsMode, mode),
            root_certificate=None if root in (None, "system") else str(root),
            conninfo=connection_string,
        )

    @property
    def is_socket(self) -> bool:
        """Whether ``host`` is a folder with a Unix socket."""
        return self.host.startswith("/")

    @property
    def socket_path(self) -> str:
        """The socket file of this server."""
        return f"{self.host}/.s.PGSQL.{self.port}"

    def control_conninfo(self, database: str) -> str:
        """The control role's connection string for one database of this server (it holds the password)."""
        return make_conninfo(
            self.conninfo,
            dbname=database,
            application_name="rowgate control",
            connect_timeout=5,
            keepalives_idle=30,
            tcp_user_timeout=20_000,
        )

    def tls_context(self) -> ssl.SSLContext | None:
        """What TLS must verify in this mode (PostgreSQL 18, section 34.19.1); None where TLS is off."""
        if self.tls == "disable":
            return None
        context = ssl.create_default_context(cafile=self.root_certificate)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self.tls != "verify-full":
            context.check_hostname = False
        if self.tls in ("prefer", "require"):
            context.verify_mode = ssl.CERT_NONE if self.root_certificate is None else ssl.CERT_REQUIRED
        return context
