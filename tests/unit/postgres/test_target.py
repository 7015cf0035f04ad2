"""Connection strings of the operator: libpq's rules, and no password in any message."""

import ssl

import pytest

from rowgate.errors import SettingInvalid
from rowgate.postgres.target import Target


def test_a_url_is_read() -> None:
    target = Target.parse("postgresql://control:pw@db.internal:6543/app?sslmode=require")
    assert (target.host, target.port, target.database, target.tls) == ("db.internal", 6543, "app", "require")
    assert "pw" not in repr(target)
    assert "dbname=other" in target.control_conninfo("other")


def test_a_socket_needs_no_tls() -> None:
    target = Target.parse("host=/run/postgresql dbname=app user=x sslmode=verify-full")
    assert (target.is_socket, target.tls) == (True, "disable")
    assert target.socket_path == "/run/postgresql/.s.PGSQL.5432"
    assert target.tls_context() is None


@pytest.mark.parametrize(
    ("mode", "verify", "hostname"),
    [
        ("prefer", ssl.CERT_NONE, False),
        ("require", ssl.CERT_NONE, False),
        ("verify-ca", ssl.CERT_REQUIRED, False),
        ("verify-full", ssl.CERT_REQUIRED, True),
    ],
)
def test_what_tls_verifies(mode: str, verify: ssl.VerifyMode, hostname: bool) -> None:
    context = Target.parse(f"postgresql://u@h/d?sslmode={mode}").tls_context()
    assert context is not None
    assert (context.verify_mode, context.check_hostname) == (verify, hostname)


@pytest.mark.parametrize(
    "text",
    ["nonsense hunter2", "postgresql://u:hunter2@/d", "postgresql://u:hunter2@a,b/d",
     "postgresql://u:hunter2@h/d?sslmode=maybe", "postgresql://u:hunter2@h:99999/d"],
)  # fmt: skip
def test_what_is_refused(text: str) -> None:
    with pytest.raises(SettingInvalid) as refused:
        Target.parse(text)
    assert "hunter2" not in str(vars(refused.value))
