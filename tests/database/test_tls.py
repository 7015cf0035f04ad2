"""TLS to Postgres in each sslmode, and the ways of proving a password with it and without it.

All of it runs on asyncio's own loop and on uvloop, whose TLS is another piece of code.
"""

import asyncio
import os
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from rowgate.errors import ConnectFailed, DatabaseError, ResultTooLarge, RowgateError
from rowgate.postgres.connection import Connection
from rowgate.postgres.exchange import Result
from rowgate.postgres.execution import execute_alone
from rowgate.postgres.opening import Login, Opener
from rowgate.postgres.target import Target
from tests.database.pools import Exposed, Run, eventually, exposed_on, failure, order, table
from tests.ports import reserve
from tests.servers import PlainPostgres, TestServer

PASSWORD = "Iñtërnâtiônàl pässword 7"
ENCRYPTED = "select ssl, coalesce(version, '') from pg_stat_ssl where pid = pg_backend_pid()"

# Who may come in how; the first line that fits counts.
ACCESS = """\
hostssl   all over_tls_only all scram-sha-256
hostnossl all over_tls_only all reject
host      all by_md5        all md5
host      all in_clear      all password
host      all all           all scram-sha-256
"""


# --- certificates ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Authority:
    """A certificate authority of the tests. ``file`` holds its certificate."""

    file: Path
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @classmethod
    def make(cls, folder: Path, name: str) -> "Authority":
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = (
            _builder(subject, subject, key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .sign(key, hashes.SHA256())
        )
        file = folder / f"{name}.pem"
        file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        return cls(file, certificate, key)

    def issue(self, host: str) -> tuple[bytes, bytes]:
        """A server's certificate for ``host``, and its key, both as PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        certificate = (
            _builder(x509.Name([]), self.certificate.subject, key)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=True)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(authority, critical=False)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .sign(self.key, hashes.SHA256())
        )
        return certificate.public_bytes(serialization.Encoding.PEM), key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


# --- the server -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Encrypted:
    """A server with a certificate for ``localhost`` that ``authority`` issued; ``stranger`` issued nothing."""

    exposed: Exposed
    authority: Path
    stranger: Path

    def opener(self, mode: str, *, host: str = "localhost", root: Path | None = None, **bounds: Any) -> Opener:
        options = {"host": host, "sslmode": mode} | ({} if root is None else {"sslrootcert": str(root)})
        return self.exposed.opener(target=self.exposed.target(**options), **bounds)

    async def session(self, opener: Opener, login: Login | None = None) -> tuple[str | None, ...]:
        """Whether the session of a login is encrypted, and by which protocol."""
        # Without the exposed role, which may not see what concerns its login role.
        login = login or replace(self.exposed.login(), settings={})
        (((*found,),),) = table(await execute_alone(opener, login, order(ENCRYPTED), 5.0))
        return tuple(found)

    async def refusal(self, opener: Opener) -> ConnectFailed:
        problem = await failure(opener.open(self.exposed.login(), _forget))
        assert isinstance(problem, ConnectFailed), problem
        return problem


@pytest.fixture(scope="module")
def encrypted() -> Iterator[Encrypted]:
    server = PlainPostgres()
    try:
        authority, stranger = (Authority.make(server.folder, name) for name in ("authority", "stranger"))
        _configure(server.folder / "data", *authority.issue("localhost"))
        server.start()
        with exposed_on(server) as exposed:
            for role, encryption in (
                ("over_tls_only", "scram-sha-256"),
                ("by_md5", "md5"),
                ("in_clear", "scram-sha-256"),
            ):
                exposed.admin.execute(f"SET password_encryption = '{encryption}'".encode())
                exposed.admin.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}'".encode())
            yield Encrypted(exposed, authority.file, stranger.file)
    finally:
        server.remove()


def _configure(data: Path, certificate: bytes, key: bytes) -> None:
    owner = data.stat()
    for name, content in (("server.crt", certificate), ("server.key", key)):
        (data / name).write_bytes(content)
        (data / name).chmod(0o600)
        os.chown(data / name, owner.st_uid, owner.st_gid)
    (data / "pg_hba.conf").write_text(ACCESS)
    with (data / "postgresql.conf").open("a") as settings:
        settings.write("ssl = on\n")


def _forget(connection: Connection) -> None:
    """Nobody has to know that a connection is lost."""


# --- the modes ------------------------------------------------------------------------------------------------


def test_disable_never_encrypts(encrypted: Encrypted, run: Run) -> None:
    assert run(encrypted.session(encrypted.opener("disable"))) == ("f", "")


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
@pytest.mark.parametrize("mode", ["allow", "prefer", "require"])
def test_prefer_and_require_encrypt_and_ask_for_no_authority(
    encrypted: Encrypted, run: Run, mode: str, host: str
) -> None:
    assert run(encrypted.session(encrypted.opener(mode, host=host))) == ("t", "TLSv1.3")


@pytest.mark.parametrize("mode", ["prefer", "require", "verify-ca", "verify-full"])
def test_the_authority_that_issued_the_certificate_is_accepted(encrypted: Encrypted, run: Run, mode: str) -> None:
    assert run(encrypted.session(encrypted.opener(mode, root=encrypted.authority))) == ("t", "TLSv1.3")


@pytest.mark.parametrize("mode", ["prefer", "require", "verify-ca", "verify-full"])
def test_another_authority_is_refused_and_nothing_goes_on_in_clear(encrypted: Encrypted, run: Run, mode: str) -> None:
    problem = run(encrypted.refusal(encrypted.opener(mode, root=encrypted.stranger)))
    assert isinstance(problem.__cause__, ssl.SSLCertVerificationError)
    assert "localhost" in (problem.detail or "")


@pytest.mark.parametrize("mode", ["verify-ca", "verify-full"])
def test_an_authority_that_the_system_does_not_know_is_refused(encrypted: Encrypted, run: Run, mode: str) -> None:
    problem = run(encrypted.refusal(encrypted.opener(mode)))
    assert isinstance(problem.__cause__, ssl.SSLCertVerificationError)


def test_verify_full_refuses_another_host_name_and_verify_ca_does_not(encrypted: Encrypted, run: Run) -> None:
    opener = encrypted.opener("verify-full", host="127.0.0.1", root=encrypted.authority)
    problem = run(encrypted.refusal(opener))
    assert isinstance(problem.__cause__, ssl.SSLCertVerificationError)
    opener = encrypted.opener("verify-ca", host="127.0.0.1", root=encrypted.authority)
    assert run(encrypted.session(opener)) == ("t", "TLSv1.3")


def test_a_missing_file_of_authorities_is_a_clear_error(encrypted: Encrypted, run: Run, tmp_path: Path) -> None:
    problem = run(encrypted.refusal(encrypted.opener("verify-full", root=tmp_path / "missing.pem")))
    assert "No such file" in (problem.detail or "")


@pytest.mark.parametrize("mode", ["require", "verify-ca", "verify-full"])
def test_a_server_without_tls_is_refused(postgres: TestServer, run: Run, mode: str) -> None:
    target = Target.parse(psycopg.conninfo.make_conninfo(postgres.conninfo(), sslmode=mode))
    opener = Opener(target, connect_timeout=5, max_result_bytes=1000)
    problem = run(failure(opener.open(Login("postgres", "hunter2", "postgres", {}), _forget)))
    assert isinstance(problem, ConnectFailed)
    assert problem.message == "Postgres does not offer TLS."


def test_prefer_goes_on_without_tls_where_the_server_has_none(postgres: TestServer, run: Run) -> None:
    with exposed_on(postgres) as exposed:
        opener = exposed.opener(target=exposed.target(sslmode="prefer"))
        results = run(execute_alone(opener, exposed.login(), order("select 1"), 5.0))
    assert table(results) == [[("1",)]]


def test_a_handshake_that_never_ends_costs_the_connect_timeout(run: Run) -> None:
    async def answered_and_silent() -> BaseException:
        port = reserve()
        gone = asyncio.Event()

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readexactly(8)
            writer.write(b"S")
            try:
                while await reader.read(1000):
                    pass
            except ConnectionError:
                pass  # closed by a reset
            writer.close()
            gone.set()

        async with await asyncio.start_server(answer, "127.0.0.1", port):
            target = Target.parse(f"host=127.0.0.1 port={port} user=x sslmode=require")
            opener = Opener(target, connect_timeout=0.3, max_result_bytes=1000)
            problem = await failure(opener.open(Login("x", "hunter2", "x", {}), _forget), 3.0)
            await asyncio.wait_for(gone.wait(), 3.0)
            return problem

    assert isinstance(run(answered_and_silent()), ConnectFailed)


# --- passwords ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("role", "mode", "outcome"),
    [
        ("over_tls_only", "verify-full", "t"),
        ("over_tls_only", "prefer", "t"),
        ("over_tls_only", "disable", DatabaseError),
        ("by_md5", "verify-full", "t"),
        ("by_md5", "disable", "f"),
        ("in_clear", "verify-full", "t"),
        ("in_clear", "require", "t"),
        ("in_clear", "disable", ConnectFailed),
    ],
)
def test_which_password_goes_over_which_wire(
    encrypted: Encrypted, run: Run, role: str, mode: str, outcome: str | type[RowgateError]
) -> None:
    root = encrypted.authority if mode.startswith("verify") else None
    opener = encrypted.opener(mode, root=root)
    login = Login(role, PASSWORD, encrypted.exposed.database, {})
    if isinstance(outcome, str):
        assert run(encrypted.session(opener, login))[0] == outcome
        wrong = run(failure(opener.open(replace(login, password="wrong"), _forget)))
        assert isinstance(wrong, DatabaseError)
        assert wrong.database_sqlstate == "28P01"
    else:
        assert type(run(failure(opener.open(login, _forget)))) is outcome


# --- working over it ------------------------------------------------------------------------------------------


def test_a_pool_over_tls(encrypted: Encrypted, run: Run) -> None:
    """Large answers, a cancel, a backend that goes: each crosses the TLS layer in its own way."""

    async def work() -> None:
        opener = encrypted.opener("verify-full", root=encrypted.authority)
        async with encrypted.exposed.pool(size=1, target=opener.target, max_result_bytes=8_000_000) as pool:
            ((large,),) = (await pool.run("select repeat('x', 5000000)"))[0]
            assert large == "x" * 5_000_000
            assert len((await pool.run("select generate_series(1, 100000)"))[0]) == 100_000
            assert await pool.value("select length($1)", "y" * 3_000_000) == "3000000"
            task = asyncio.create_task(pool.run("select pg_sleep(30)"))
            await pool.running("pg_sleep")
            task.cancel()
            await eventually(lambda: all(one.state != "active" for one in pool.backends()), 1.0)
            first = await pool.process_id()
            assert isinstance(await failure(task), asyncio.CancelledError)
            too_large = await failure(pool.run("select repeat('x', 1000) from generate_series(1, 100000)"))
            assert isinstance(too_large, ResultTooLarge)
            second = await pool.process_id()
            assert first == second, "a result that was too large costs no connection"
            encrypted.exposed.admin.execute("SELECT pg_terminate_backend(%s)", [second])
            await eventually(lambda: pool.pool.counts == (0, 0, 0))
            third = await pool.process_id()
            seen = encrypted.exposed.admin.execute("SELECT ssl FROM pg_stat_ssl WHERE pid = %s", [third])
            assert seen.fetchall() == [(True,)]

    run(work())


def test_many_connections_over_tls_at_once(encrypted: Encrypted, run: Run) -> None:
    async def work() -> list[list[Result]]:
        async with encrypted.exposed.pool(size=8, target=encrypted.opener("require").target) as pool:
            return await asyncio.gather(*(pool.value("select $1::text", str(number)) for number in range(100)))

    assert run(work()) == [str(number) for number in range(100)]
