"""Whether a signature is one. Beside signatures.py, as few images are signed and the library takes its time and memory: imported at need."""

from __future__ import annotations

from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from moln.image.model.signatures import Signature

HASHES: dict[str, hashes.HashAlgorithm] = {
    "SHA-224": hashes.SHA224(), "SHA-256": hashes.SHA256(), "SHA-384": hashes.SHA384(), "SHA-512": hashes.SHA512(),
}  # fmt: skip


def check(signature: Signature, digest: bytes, certificate_pem: bytes, now: datetime) -> None:
    """Whether the digest was signed with the certificate's key. now: with its zone. Raises: ValueError."""
    certificate = x509.load_pem_x509_certificate(certificate_pem)
    if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
        raise ValueError("the certificate is not valid at this time")
    key, method = certificate.public_key(), HASHES[signature.method]
    hashed = Prehashed(method)
    try:
        match key:
            case rsa.RSAPublicKey() if signature.key_type == "RSA-PSS":
                key.verify(signature.value, digest, padding.PSS(padding.MGF1(method), padding.PSS.AUTO), hashed)
            case dsa.DSAPublicKey() if signature.key_type == "DSA":
                key.verify(signature.value, digest, hashed)
            case ec.EllipticCurvePublicKey() if signature.key_type.lower() == f"ecc_{key.curve.name}":
                key.verify(signature.value, digest, ec.ECDSA(hashed))
            case _:
                raise ValueError(f"the certificate has no key of the type {signature.key_type[:32]}")
    except InvalidSignature:
        raise ValueError("the signature is another's, or of other data") from None
