"""A certificate authority of the cloud's own, and certificates that it signs: made once, renewed before they end."""

from __future__ import annotations

import hashlib
import ipaddress
import os
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from moln.kernel.errors import Failure

CA_DAYS, CA_SPARE_DAYS = 3650, 400  # an authority outlives every certificate that it signs
DAYS, SPARE_DAYS = 397, 30  # CA/Browser Forum's bound on a server's certificate
MEMBER_DAYS, MEMBER_SPARE_DAYS = 90, 30  # nodes and controllers, who renew their own
LATE_DAYS = 20  # one that lasts no longer should have been renewed: it was tried for ten days
SIGNING, COMING, NEXT = "ca.pem", "coming.pem", "next.pem"  # an authority's files: that which signs, and another in its place (succession.py)
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # of its group (SEC 2, 2.4.2)
Key = ec.EllipticCurvePrivateKey


def ensure(folder: Path, names: frozenset[str], now: datetime, *, anew: bool = False) -> Path:
    """The file with a server's key and certificate for these names, renewed where need be. `ca.crt` beside it is what clients trust.

    names: host names and addresses. anew: however long the present one lasts. Each file is whole or not there, so that death at any line leaves nothing half made.
    Raises: Failure, when the folder cannot be used.
    """
    return Authority(folder, now).ensure_server(folder / "server.pem", names, now, anew=anew)


class Authority:
    """The cloud's own authority, kept in `folder`. public: the file with its certificate, which whoever trusts it needs; while another comes
    in its place (succession.py), with both. certificate signs servers; newest signs members, and servers that ask each other. They are the same, but for that time.
    """

    def __init__(self, folder: Path, now: datetime):
        """Raises: Failure, when the folder cannot be used."""
        self.public = folder / "ca.crt"
        try:
            folder.mkdir(exist_ok=True)
            folder.chmod(0o755)  # whoever may enter the home may read ca.crt
            self._key, self.certificate = _authority(folder, now)
            key, newest = read(folder / NEXT)
            self._newest_key, self.newest = (key, newest) if key and newest else (self._key, self.certificate)
        except OSError as error:
            raise Failure(f"Certificates cannot be kept in {folder} ({error.strerror}).") from None

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the authority's certificate, in hex."""
        return self.certificate.fingerprint(hashes.SHA256()).hex()

    def ensure_server(self, file: Path, names: frozenset[str], now: datetime, *, asks: bool = False, anew: bool = False) -> Path:
        """A server's key and certificate in a file (0600), renewed where need be. asks: it is also a client of its like. Raises: Failure."""
        by = (self._newest_key, self.newest) if asks else (self._key, self.certificate)
        try:
            if anew or not _serves(file, names, by[1], now):
                listed = x509.SubjectAlternativeName([_general(name) for name in sorted(names)])
                usages = [ExtendedKeyUsageOID.SERVER_AUTH, *([ExtendedKeyUsageOID.CLIENT_AUTH] if asks else [])]
                _put(file, self._made(x509.Name([_said("Moln API")]), listed, usages, now, DAYS, by), 0o600)
        except OSError as error:
            raise Failure(f"{file} cannot be written ({error.strerror}).") from None
        return file

    def renew_server(self, file: Path, now: datetime, *, asks: bool) -> None:
        """Have a server's that is there renewed where need be, for the same names. Raises: Failure."""
        _, found = read(file)
        if found is not None and (listed := names(found)):
            self.ensure_server(file, frozenset(listed), now, asks=asks)

    def ensure_member(self, file: Path, role: str, name: str, now: datetime, *, anew: bool = False) -> Path:
        """The same for a member of the cloud, see `sign`. anew: however long the present one lasts. Raises: Failure."""
        key, found = read(file)
        if anew or key is None or found is None or not _lasts(found, self.newest, now, MEMBER_SPARE_DAYS) or member_of(found) != (role, name):
            key = ec.generate_private_key(ec.SECP256R1())
            signed = self.sign(key.public_key(), role, name, now)
            try:
                put(file, private_pem(key) + signed.public_bytes(serialization.Encoding.PEM))
            except OSError as error:
                raise Failure(f"{file} cannot be written ({error.strerror}).") from None
        return file

    def sign(self, key: ec.EllipticCurvePublicKey, role: str, name: str, now: datetime) -> x509.Certificate:
        """A certificate by which members of the cloud know each other, as clients and as servers.

        It proves no real host's name: no browser or OpenStack client ever takes it for an API's. Its common name is the member's: OVN's
        southbound database lets a chassis write only what bears that.
        """
        subject = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, f"Moln {role}"), _said(name)])
        uri = x509.UniformResourceIdentifier(f"moln:{role}:{quote(name, safe='')}")
        listed = x509.SubjectAlternativeName([uri, x509.DNSName(member_host(role, name)), x509.DNSName(member_host(role))])
        both = [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
        return self._signed(key, subject, listed, both, now, MEMBER_DAYS, (self._newest_key, self.newest))

    def _made(self, subject: x509.Name, listed: x509.SubjectAlternativeName, usages: list[Any], now: datetime, days: int,
              by: tuple[Key, x509.Certificate]) -> bytes:  # fmt: skip
        key = ec.generate_private_key(ec.SECP256R1())
        made = self._signed(key.public_key(), subject, listed, usages, now, days, by)
        return private_pem(key) + made.public_bytes(serialization.Encoding.PEM)

    def _signed(self, key: ec.EllipticCurvePublicKey, subject: x509.Name, listed: x509.SubjectAlternativeName, usages: list[Any],
                now: datetime, days: int, by: tuple[Key, x509.Certificate]) -> x509.Certificate:  # fmt: skip
        usage = x509.KeyUsage(True, False, False, False, False, False, False, False, False)  # signs handshakes
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(by[0].public_key())
        made = _builder(subject, by[1].subject, key, now, days)
        for extension, critical in (
            (x509.BasicConstraints(False, None), True), (usage, True), (identifier, False),
            (x509.SubjectKeyIdentifier.from_public_key(key), False), (x509.ExtendedKeyUsage(usages), False), (listed, False),
        ):  # fmt: skip
            made = made.add_extension(extension, critical=critical)
        return made.sign(by[0], hashes.SHA256())


def member_host(role: str, name: str = "") -> str:
    """The host name in a member's certificate, of no real host: TLS looks whether it is the one that it wants to speak to.

    Without a name: anyone of that role.
    """
    return f"{hashlib.sha256(name.encode()).hexdigest()[:32]}.{role}.moln.internal" if name else f"{role}.moln.internal"


def member_of(certificate: x509.Certificate) -> tuple[str, str] | None:
    """The role and the name of whom `sign` made the certificate for; None: it is of another kind."""
    try:
        listed = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return None
    for uri in listed.get_values_for_type(x509.UniformResourceIdentifier):
        return member_named(uri)
    return None


def member_named(uri: str) -> tuple[str, str] | None:
    """The same of the name alone."""
    parts = uri.split(":")
    return (parts[1], unquote(parts[2])) if len(parts) == 3 and parts[0] == "moln" else None


def _authority(folder: Path, now: datetime) -> tuple[Key, x509.Certificate]:
    """The authority; a new one keeps the key of the old, where there is one."""
    file = folder / SIGNING
    key, ca = read(file)
    if key is None or ca is None or ca.not_valid_after_utc - now < timedelta(days=CA_SPARE_DAYS):
        key = key or ec.generate_private_key(ec.SECP256R1())
        ca = _signed_authority(key, now)
        _put(file, private_pem(key) + ca.public_bytes(serialization.Encoding.PEM), 0o600)
    _, another = next((found for name in (NEXT, COMING) if (found := read(folder / name))[1]), (None, None))
    public, text = folder / "ca.crt", b"".join(one.public_bytes(serialization.Encoding.PEM) for one in (ca, another) if one)
    if not public.exists() or public.read_bytes() != text:
        _put(public, text, 0o644)
    return key, ca


def derive(folder: Path, secret: bytes, now: datetime) -> None:
    """Have the authority in `folder` be that which follows from a secret: whoever has it takes what the others sign. Raises: Failure."""
    drawn = int.from_bytes(hashlib.sha512(secret).digest()) % (P256_ORDER - 1) + 1
    key = ec.derive_private_key(drawn, ec.SECP256R1())
    try:
        there, _ = read(folder / SIGNING)
        if there is None or there.private_numbers() != key.private_numbers():
            folder.mkdir(exist_ok=True)
            _put(folder / SIGNING, private_pem(key) + _signed_authority(key, now).public_bytes(serialization.Encoding.PEM), 0o600)
    except OSError as error:
        raise Failure(f"Certificates cannot be kept in {folder} ({error.strerror}).") from None


def new_authority(now: datetime) -> bytes:
    """The key and the certificate of another one, in PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    return private_pem(key) + _signed_authority(key, now).public_bytes(serialization.Encoding.PEM)


def _signed_authority(key: Key, now: datetime) -> x509.Certificate:
    usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)  # signs certificates and their revocations
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Moln CA {identifier.digest.hex()[:8]}")])  # who has the same key, has the same name
    builder = _builder(name, name, key.public_key(), now, CA_DAYS).add_extension(x509.BasicConstraints(True, 0), critical=True)
    return builder.add_extension(usage, critical=True).add_extension(identifier, critical=False).sign(key, hashes.SHA256())


def _said(text: str) -> x509.NameAttribute[str]:
    return x509.NameAttribute(NameOID.COMMON_NAME, text[:64])  # RFC 5280's bound


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, days: int) -> x509.CertificateBuilder:
    """Valid from an hour ago: clients' clocks differ."""
    begins, ends = now - timedelta(hours=1), now + timedelta(days=days)
    made = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key)
    return made.serial_number(x509.random_serial_number()).not_valid_before(begins).not_valid_after(ends)


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _serves(file: Path, wanted: frozenset[str], ca: x509.Certificate, now: datetime) -> bool:
    """Whether the file's certificate is of this authority, for these names, and lasts."""
    key, found = read(file)
    if key is None or found is None or not _lasts(found, ca, now, SPARE_DAYS):
        return False
    return set(names(found)) == {str(_general(n).value) for n in wanted}


def names(found: x509.Certificate) -> list[str]:
    """Host names and addresses that a server's certificate is for; none: it cannot be read."""
    try:
        return [str(n.value) for n in found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value]
    except Exception:  # whatever a damaged file may cause
        return []


def _lasts(found: x509.Certificate, ca: x509.Certificate, now: datetime, spare_days: int) -> bool:
    """Whether a certificate is of this authority, and for how long still."""
    if found.not_valid_after_utc - now < timedelta(days=spare_days):
        return False
    try:
        found.verify_directly_issued_by(ca)
    except Exception:  # whatever a damaged file may cause
        return False
    return True


def read(file: Path) -> tuple[Key | None, x509.Certificate | None]:
    try:
        raw = file.read_bytes()
        key = serialization.load_pem_private_key(raw, None)
        return (key if isinstance(key, ec.EllipticCurvePrivateKey) else None), x509.load_pem_x509_certificate(raw)
    except (FileNotFoundError, ValueError):
        return None, None


def private_key(raw: bytes) -> Key:
    """Raises: ValueError."""
    key = serialization.load_pem_private_key(raw, None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError("not a key on an elliptic curve")
    return key


def put(file: Path, data: bytes) -> None:
    """A private file, whole or not there. Raises: OSError."""
    _put(file, data, 0o600)


def private_pem(key: Key) -> bytes:
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
