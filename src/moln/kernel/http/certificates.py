"""A certificate authority of the cloud's own, and certificates that it signs: made once, renewed before they end."""

from __future__ import annotations

import ipaddress
import os
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from moln.kernel.errors import Failure

CA_DAYS, CA_SPARE_DAYS = 3650, 400  # an authority outlives every certificate that it signs
DAYS, SPARE_DAYS = 397, 30  # CA/Browser Forum's bound on a server's certificate
Key = ec.EllipticCurvePrivateKey


def ensure(folder: Path, names: frozenset[str], now: datetime) -> Path:
    """The file with a server's key and certificate for these names, renewed where need be. `ca.crt` beside it is what clients trust.

    names: host names and addresses. Each file is whole or not there, so that death at any line leaves nothing half made.
    Raises: Failure, when the folder cannot be used.
    """
    try:
        folder.mkdir(exist_ok=True)
        folder.chmod(0o755)  # whoever may enter the home may read ca.crt
        ca_key, ca = _authority(folder, now)
        file = folder / "server.pem"
        if not _serves(file, names, ca, now):
            _put(file, _server(names, ca_key, ca, now), 0o600)
    except OSError as error:
        raise Failure(f"Certificates cannot be kept in {folder} ({error.strerror}).") from None
    return file


def _authority(folder: Path, now: datetime) -> tuple[Key, x509.Certificate]:
    """The authority; a new one keeps the key of the old, where there is one."""
    file = folder / "ca.pem"
    key, ca = _read(file)
    if key is None or ca is None or ca.not_valid_after_utc - now < timedelta(days=CA_SPARE_DAYS):
        key = key or ec.generate_private_key(ec.SECP256R1())
        ca = _signed_authority(key, now)
        _put(file, _pem(key) + ca.public_bytes(serialization.Encoding.PEM), 0o600)
    public, text = folder / "ca.crt", ca.public_bytes(serialization.Encoding.PEM)
    if not public.exists() or public.read_bytes() != text:
        _put(public, text, 0o644)
    return key, ca


def _signed_authority(key: Key, now: datetime) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Moln CA {os.urandom(4).hex()}")])
    usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)  # signs certificates and their revocations
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    builder = _builder(name, name, key, now, CA_DAYS).add_extension(x509.BasicConstraints(True, 0), critical=True)
    return builder.add_extension(usage, critical=True).add_extension(identifier, critical=False).sign(key, hashes.SHA256())


def _server(names: frozenset[str], ca_key: Key, ca: x509.Certificate, now: datetime) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Moln API")])
    usage = x509.KeyUsage(True, False, False, False, False, False, False, False, False)  # signs handshakes
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key())
    made = _builder(subject, ca.subject, key, now, DAYS)
    for extension, critical in (
        (x509.BasicConstraints(False, None), True), (usage, True), (identifier, False),
        (x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False),
        (x509.SubjectAlternativeName([_general(name) for name in sorted(names)]), False),
    ):  # fmt: skip
        made = made.add_extension(extension, critical=critical)
    return _pem(key) + made.sign(ca_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _builder(subject: x509.Name, issuer: x509.Name, key: Key, now: datetime, days: int) -> x509.CertificateBuilder:
    """Valid from an hour ago: clients' clocks differ."""
    begins, ends = now - timedelta(hours=1), now + timedelta(days=days)
    made = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
    return made.serial_number(x509.random_serial_number()).not_valid_before(begins).not_valid_after(ends)


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _serves(file: Path, names: frozenset[str], ca: x509.Certificate, now: datetime) -> bool:
    """Whether the file's certificate is of this authority, for these names, and lasts."""
    key, found = _read(file)
    if key is None or found is None or found.not_valid_after_utc - now < timedelta(days=SPARE_DAYS):
        return False
    try:
        found.verify_directly_issued_by(ca)
        listed = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except Exception:  # whatever a damaged file may cause: a new one is made
        return False
    return {str(n.value) for n in listed} == {str(_general(n).value) for n in names}


def _read(file: Path) -> tuple[Key | None, x509.Certificate | None]:
    try:
        raw = file.read_bytes()
        key = serialization.load_pem_private_key(raw, None)
        return (key if isinstance(key, ec.EllipticCurvePrivateKey) else None), x509.load_pem_x509_certificate(raw)
    except (FileNotFoundError, ValueError):
        return None, None


def _pem(key: Key) -> bytes:
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def _put(file: Path, data: bytes, mode: int) -> None:
    new = file.with_name(f".{file.name}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
        out.write(data)
        out.flush()
        os.fsync(out.fileno())
    new.chmod(mode)
    new.replace(file)
