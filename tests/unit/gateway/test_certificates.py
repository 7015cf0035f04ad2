"""Certificates: those of development are made, kept and renewed; files are read again; what cannot be used is told."""

import datetime
import logging
import ssl
from pathlib import Path

import pytest
from cryptography import x509

from rowgate.errors import DataFolderUnusable, SettingInvalid
from rowgate.gateway.dev_certificates import DevelopmentCertificates, ensure_certificates
from rowgate.gateway.tls import Application, TlsCertificates
from rowgate.settings import Settings

NOW = datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC)


def days(number: int) -> datetime.datetime:
    return NOW + datetime.timedelta(days=number)


def certificates(made: DevelopmentCertificates) -> tuple[x509.Certificate, x509.Certificate]:
    """The server's and the authority's."""
    server, authority = x509.load_pem_x509_certificates(made.cert_file.read_bytes())
    assert authority == x509.load_pem_x509_certificate(made.authority_file.read_bytes())
    return server, authority


# --- of development -------------------------------------------------------------------------------------------


def test_what_is_made(tmp_path: Path) -> None:
    made = ensure_certificates(tmp_path / "new", ["*.Db.localhost", "10.1.2.3"], now=NOW)
    server, authority = certificates(made)
    server.verify_directly_issued_by(authority)
    names = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost", "*.localhost", "*.db.localhost"]
    assert [str(one) for one in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "::1", "10.1.2.3"]
    assert authority.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert not server.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    modes = {file.name: file.stat().st_mode & 0o777 for file in (tmp_path / "new").iterdir()}
    assert modes == {"ca.pem": 0o644, "ca-key.pem": 0o600, "server.pem": 0o644, "server-key.pem": 0o600}


def test_they_are_kept(tmp_path: Path) -> None:
    first = certificates(ensure_certificates(tmp_path, now=NOW))
    assert certificates(ensure_certificates(tmp_path, now=days(300))) == first


def test_other_names_and_age_renew_the_certificate_and_not_the_authority(tmp_path: Path) -> None:
    server, authority = certificates(ensure_certificates(tmp_path, now=NOW))
    named, same = certificates(ensure_certificates(tmp_path, ["a.example.test"], now=NOW))
    aged, still = certificates(ensure_certificates(tmp_path, ["a.example.test"], now=days(380)))
    assert len({one.serial_number for one in (server, named, aged)}) == 3
    assert authority == same == still
    assert aged.not_valid_after_utc == days(380 + 397)


def test_an_authority_near_its_end_is_renewed_with_its_certificate(tmp_path: Path) -> None:
    server, authority = certificates(ensure_certificates(tmp_path, now=NOW))
    renewed, other = certificates(ensure_certificates(tmp_path, now=days(3640)))
    assert (renewed == server, other == authority) == (False, False)
    renewed.verify_directly_issued_by(other)


def test_a_damaged_certificate_is_made_again(tmp_path: Path) -> None:
    made = ensure_certificates(tmp_path, now=NOW)
    _, authority = certificates(made)
    made.cert_file.write_text("damaged")
    assert certificates(ensure_certificates(tmp_path, now=NOW))[1] == authority
    made.key_file.unlink()
    assert certificates(ensure_certificates(tmp_path, now=NOW))[1] == authority


@pytest.mark.parametrize("name", ["ca.pem", "ca-key.pem"])
def test_a_damaged_authority_is_told_and_left_alone(tmp_path: Path, name: str) -> None:
    ensure_certificates(tmp_path, now=NOW)
    (tmp_path / name).write_text("damaged")
    with pytest.raises(DataFolderUnusable, match="development certificates") as told:
        ensure_certificates(tmp_path, now=NOW)
    assert "damaged" in (told.value.detail or "")
    assert (tmp_path / name).read_text() == "damaged"


def test_files_that_do_not_belong_together(tmp_path: Path) -> None:
    ensure_certificates(tmp_path / "a", now=NOW)
    ensure_certificates(tmp_path / "b", now=NOW)
    (tmp_path / "a" / "ca-key.pem").write_bytes((tmp_path / "b" / "ca-key.pem").read_bytes())
    with pytest.raises(DataFolderUnusable):
        ensure_certificates(tmp_path / "a", now=NOW)


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataFolderUnusable):
        ensure_certificates(tmp_path / "file" / "folder", now=NOW)


@pytest.mark.parametrize("name", ["", "a..b", "*", "*.*.b", "a.*.b", "with blank", "bücher.example"])
def test_names_that_cannot_stand_in_a_certificate(tmp_path: Path, name: str) -> None:
    with pytest.raises(SettingInvalid):
        ensure_certificates(tmp_path, [name], now=NOW)


# --- of the settings ------------------------------------------------------------------------------------------


def test_none_are_needed() -> None:
    assert TlsCertificates.of(Settings()) is None


@pytest.mark.parametrize("missing", ["tls_cert", "tls_key"])
def test_one_without_the_other(missing: str, tmp_path: Path) -> None:
    made = ensure_certificates(tmp_path)
    given = {"tls_cert": str(made.cert_file), "tls_key": str(made.key_file), missing: ""}
    with pytest.raises(SettingInvalid, match=missing):
        TlsCertificates.of(Settings(**given))  # type: ignore[arg-type]


@pytest.mark.parametrize("which", ["no certificate", "no key", "not PEM", "another key", "a passphrase"])
def test_files_that_cannot_be_used_at_the_start(which: str, tmp_path: Path) -> None:
    made = ensure_certificates(tmp_path / "a")
    if which == "no certificate":
        made.cert_file.unlink()
    elif which == "no key":
        made.key_file.unlink()
    elif which == "not PEM":
        made.cert_file.write_text("damaged")
    elif which == "another key":
        made.key_file.write_bytes(ensure_certificates(tmp_path / "b").key_file.read_bytes())
    else:
        encrypt(made.key_file)
    with pytest.raises(SettingInvalid, match="the certificate cannot be used") as told:
        TlsCertificates(made.cert_file, made.key_file)
    assert str(made.cert_file) in (told.value.detail or "")


def encrypt(file: Path) -> None:
    from cryptography.hazmat.primitives import serialization as pem

    key = pem.load_pem_private_key(file.read_bytes(), None)
    protection = pem.BestAvailableEncryption(b"secret")
    file.write_bytes(key.private_bytes(pem.Encoding.PEM, pem.PrivateFormat.PKCS8, protection))


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_files_are_looked_at_once_a_second(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "rowgate.tls")
    made = ensure_certificates(tmp_path)
    clock = Clock()
    loaded = TlsCertificates(made.cert_file, made.key_file, clock=clock)
    first = loaded.context(Application.HTTP)
    ensure_certificates(tmp_path, ["new.example.test"])
    clock.now = 0.9
    assert loaded.context(Application.HTTP) is first
    clock.now = 1.0
    second = loaded.context(Application.HTTP)
    assert second is not first
    clock.now = 5.0
    assert loaded.context(Application.HTTP) is second
    assert caplog.messages == ["the certificate was read again"]


def test_a_broken_file_is_told_once_and_mended_later(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    made = ensure_certificates(tmp_path)
    clock = Clock()
    loaded = TlsCertificates(made.cert_file, made.key_file, clock=clock)
    first = loaded.context(Application.POSTGRESQL)
    good = made.cert_file.read_bytes()
    made.cert_file.write_text("half of a file")
    for clock.now in (1.0, 2.0, 3.0):
        assert loaded.context(Application.POSTGRESQL) is first
    assert len(caplog.records) == 1
    made.cert_file.write_bytes(good)
    clock.now = 4.0
    assert loaded.context(Application.POSTGRESQL) is not first


def test_what_the_contexts_speak(tmp_path: Path) -> None:
    made = ensure_certificates(tmp_path)
    context = TlsCertificates(made.cert_file, made.key_file).context(Application.POSTGRESQL)
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.options & ssl.OP_NO_RENEGOTIATION
