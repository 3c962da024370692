"""Key pairs of type x509: a certificate by which a user signs in to Windows guests over WinRM, and its private key."""

from __future__ import annotations

import datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

BITS = 2048
YEARS = 10
PRINCIPAL_NAME = x509.ObjectIdentifier("1.3.6.1.4.1.311.20.2.3")  # Microsoft's userPrincipalName, which WinRM maps to an account
UTF8_STRING = 0x0C


def generate(user_id: str, now_us: int) -> tuple[str, str]:
    """(certificate, private key), both PEM. Takes some 100 ms: not for the loop."""
    key = rsa.generate_private_key(65537, BITS)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, user_id[:64])])
    began = datetime.datetime.fromtimestamp(now_us / 1e6, datetime.UTC) - datetime.timedelta(days=1)
    principal = f"{user_id[:64]}@localhost".encode()
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(began)
        .not_valid_after(began + datetime.timedelta(days=YEARS * 365))
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .add_extension(
            x509.SubjectAlternativeName([x509.OtherName(PRINCIPAL_NAME, bytes([UTF8_STRING, len(principal)]) + principal)]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return certificate.public_bytes(serialization.Encoding.PEM).decode(), private.decode()
