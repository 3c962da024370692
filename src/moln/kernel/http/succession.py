"""Another authority in the place of one: first everybody trusts both, then members are signed by the new one, at last the old one counts no more.

How far it is stands in the authority's folder: COMING is trusted, NEXT signs members as well; ca.pem signs servers (the APIs, NATS) to the end, for
whoever was away and trusts nothing else. Each step is the renaming of one file.
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from moln.kernel.errors import Failure
from moln.kernel.http import certificates
from moln.kernel.http.certificates import COMING, NEXT, Authority


def step(folder: Path) -> str:
    """COMING, NEXT, or nothing: there is one authority."""
    return next((name for name in (NEXT, COMING) if (folder / name).exists()), "")


def begin(folder: Path, now: datetime) -> None:
    """Have another authority, trusted beside the one that there is. Raises: Failure."""
    try:
        if not step(folder):
            certificates.put(folder / COMING, certificates.new_authority(now))
    except OSError as error:
        raise Failure(f"Another authority cannot be kept in {folder} ({error.strerror}).") from None
    Authority(folder, now)  # says whom to trust


def go(folder: Path) -> None:
    """Members are signed by the new one from now on. Raises: Failure."""
    _rename(folder, COMING, NEXT)


def finish(folder: Path, now: datetime) -> None:
    """The new one alone counts. Raises: Failure."""
    go(folder)
    _rename(folder, NEXT, certificates.SIGNING)
    Authority(folder, now)


def _rename(folder: Path, before: str, after: str) -> None:
    try:
        if (folder / before).exists():
            (folder / before).replace(folder / after)
    except OSError as error:
        raise Failure(f"{folder / before} cannot be renamed ({error.strerror}).") from None


def newest(folder: Path) -> str:
    """The fingerprint of the authority that is to stay: SHA-256 of its certificate, in hex. Raises: Failure, when there is none."""
    _, found = certificates.read(folder / (step(folder) or certificates.SIGNING))
    if found is None:
        raise Failure(f"There is no authority in {folder}.")
    return fingerprint(found)


def fingerprint(certificate: x509.Certificate) -> str:
    return certificate.fingerprint(hashes.SHA256()).hex()


def issuer(certificate: x509.Certificate, bundle: bytes) -> str:
    """The fingerprint of the one among trusted authorities (PEM) that signed a certificate; empty: none of them."""
    return next((fingerprint(ca) for ca in trusted(bundle) if _signed(certificate, ca)), "")


def digest(bundle: bytes) -> str:
    """Of all that is trusted, for others to compare."""
    return hashlib.sha256(bundle).hexdigest()[:32]


def trusted(bundle: bytes) -> list[x509.Certificate]:
    """Raises: ValueError, when it has no certificate in PEM."""
    return x509.load_pem_x509_certificates(bundle)


def named(bundle: bytes, wanted: str) -> str:
    """The one with this fingerprint, in PEM; empty: it is not there."""
    try:
        found = [ca for ca in trusted(bundle) if fingerprint(ca) == wanted]
    except ValueError:
        return ""
    return found[0].public_bytes(Encoding.PEM).decode() if found else ""


def _signed(certificate: x509.Certificate, ca: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(ca)
    except Exception:  # another issuer's, or whatever a damaged one may cause
        return False
    return True
