"""A certificate authority for development: made in the data folder, with a certificate for this machine's names.

Both are kept, so that what was told to trust the authority once goes on trusting it; the certificate is renewed when it
nears its end or other names are wanted. Its key never leaves the folder and is its owner's alone. Not for production:
whoever can read the key can be any server to whoever trusts the authority.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from rowgate.errors import DataFolderUnusable, SettingInvalid

OWN_NAMES: Final = ("localhost", "*.localhost", "127.0.0.1", "::1")
AUTHORITY_DAYS: Final = 3650
# Clients refuse certificates that are good for longer than 825 days, and public ones after 398.
CERTIFICATE_DAYS: Final = 397
RENEW_DAYS: Final = 30
BACKDATED: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class DevelopmentCertificates:
    """Where the files are: what clients are to trust, and what the gateway shows."""

    authority_file: Path
    cert_file: Path
    key_file: Path


@dataclass(frozen=True, slots=True)
class _Pair:
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def ensure_certificates(
    folder: Path, names: Sequence[str] = (), *, now: datetime | None = None
) -> DevelopmentCertificates:
    """The authority and the certificate of ``folder``, made or renewed where that is due.

    Args:
        folder: where they are kept.
        names: host names and addresses beside localhost, ``*.localhost`` and the loopback addresses; a first label
            may be ``*``. Node and OpenSSL take a wildcard only where two more labels follow.
        now: the time, for tests.

    Raises:
        DataFolderUnusable: a file is damaged, or cannot be read or written.
        SettingInvalid: a name cannot stand in a certificate.
    """
    now = now or datetime.now(UTC)
    wanted = _alternative_names([*OWN_NAMES, *names])
    found = DevelopmentCertificates(folder / "ca.pem", folder / "server.pem", folder / "server-key.pem")
    authority_key = folder / "ca-key.pem"
    authority = _read(found.authority_file, authority_key)
    if authority is None or _ends_soon(authority.certificate, now):
        authority = _make_authority(now)
        _write(authority_key, _key_pem(authority.key))
        _write(found.authority_file, _pem(authority.certificate), mode=0o644)
    try:
        current = _read(found.cert_file, found.key_file)
    except DataFolderUnusable:
        current = None  # a certificate that nobody was told to trust is made again
    if current is None or not _serves(current.certificate, authority, wanted, now):
        current = _make_certificate(authority, wanted, now)
        _write(found.key_file, _key_pem(current.key))
        _write(found.cert_file, _pem(current.certificate) + _pem(authority.certificate), mode=0o644)
    return found


# --- making ---------------------------------------------------------------------------------------------------


def _make_authority(now: datetime) -> _Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    name = _common_name(f"Rowgate development authority {now:%Y-%m-%d %H:%M:%S}")
    builder = _builder(name, name, key, now, AUTHORITY_DAYS)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_key_usage(signs_certificates=True), critical=True)
    return _Pair(builder.sign(key, hashes.SHA256()), key)


def _make_certificate(authority: _Pair, names: x509.SubjectAlternativeName, now: datetime) -> _Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    issuer = authority.certificate
    builder = _builder(_common_name("Rowgate development"), issuer.subject, key, now, CERTIFICATE_DAYS)
    builder = builder.add_extension(names, critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_key_usage(signs_certificates=False), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    issued_by = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key())
    builder = builder.add_extension(issued_by, critical=False)
    return _Pair(builder.sign(authority.key, hashes.SHA256()), key)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime, days: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _common_name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _alternative_names(names: Sequence[str]) -> x509.SubjectAlternativeName:
    return x509.SubjectAlternativeName([_general_name(name) for name in dict.fromkeys(names)])


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        pass
    labels = name.lower().removeprefix("*.").split(".")
    if not name.isascii() or any(not label or "*" in label or " " in label for label in labels):
        raise SettingInvalid(f"{name!r} cannot stand in a certificate", detail="expected a host name or an address")
    return x509.DNSName(name.lower())


# --- judging --------------------------------------------------------------------------------------------------


def _serves(
    certificate: x509.Certificate, authority: _Pair, wanted: x509.SubjectAlternativeName, now: datetime
) -> bool:
    if _ends_soon(certificate, now):
        return False
    try:
        certificate.verify_directly_issued_by(authority.certificate)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
        return False
    return names == wanted


def _ends_soon(certificate: x509.Certificate, now: datetime) -> bool:
    return certificate.not_valid_after_utc - now < timedelta(days=RENEW_DAYS)


# --- files ----------------------------------------------------------------------------------------------------


def _read(cert_file: Path, key_file: Path) -> _Pair | None:
    """The pair; None where one of the files is not there."""
    try:
        certificate = x509.load_pem_x509_certificate(cert_file.read_bytes())
        key = serialization.load_pem_private_key(key_file.read_bytes(), None)
    except FileNotFoundError:
        return None
    except OSError as problem:
        raise _unusable(cert_file.parent, f"its files cannot be read: {problem.strerror}") from problem
    except (ValueError, TypeError) as problem:
        raise _unusable(cert_file.parent, f"{cert_file.name} or {key_file.name} is damaged") from problem
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        raise _unusable(cert_file.parent, f"{cert_file.name} and {key_file.name} do not belong together")
    return _Pair(certificate, key)


def _write(path: Path, content: bytes, *, mode: int = 0o600) -> None:
    """Replaces ``path`` in one step; until ``mode`` is set, it is the owner's alone."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                os.fchmod(file.fileno(), mode)
            os.replace(temporary, path)
        finally:
            Path(temporary).unlink(missing_ok=True)
    except OSError as problem:
        raise _unusable(path.parent, f"{path.name} cannot be written: {problem.strerror}") from problem


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _unusable(folder: Path, reason: str) -> DataFolderUnusable:
    return DataFolderUnusable(
        "The development certificates cannot be used.",
        detail=f"{folder}: {reason}",
        hint="Delete that folder, and new ones are made at the next start; then trust the new ca.pem.",
    )
