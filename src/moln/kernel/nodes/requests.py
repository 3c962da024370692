"""What a node asks for and is given when it joins or renews: as JSON on the wire, each side's own checks beside it."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import secrets

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from msgspec import Struct

from moln.kernel.errors import Invalid
from moln.kernel.link.nats_keys import USER, is_name, verified

NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,62}[A-Za-z0-9])?")
SECRET_BYTES = 20
NODE, CONTROLLER = "node", "controller"  # what a token lets a machine be


class Enrolment(Struct, frozen=True):
    """csr: a request for a certificate (PKCS #10, PEM), of which only the key counts. nats_key: the public key on NATS; nats_proof: its
    signature over the request, in base64."""

    token: str
    name: str
    csr: str
    nats_key: str
    nats_proof: str


class Admission(Struct, frozen=True):
    """What a node may go by. certificate, ca: PEM. claims: what NATS takes for its key. nats: where. southbound: OVN's southbound
    database (ovsdb(7)); empty: at the controller that was asked.
    """

    name: str
    certificate: str
    ca: str
    claims: str
    nats: list[str]
    southbound: str = ""


def new_token(fingerprint: str, kind: str = NODE) -> tuple[str, str]:
    """A join token, and the digest by which it is kept: the token itself is shown once and stored nowhere."""
    secret = base64.b32encode(secrets.token_bytes(SECRET_BYTES)).decode().lower()
    return f"{secret}.{fingerprint}", digest(secret, kind)


def digest(secret: str, kind: str = NODE) -> str:
    """Enough for what is random. Of another kind it is another one: who may be a node may be no controller."""
    return hashlib.sha256((secret if kind == NODE else f"{kind} {secret}").encode()).hexdigest()


def parts(token: str) -> tuple[str, str]:
    """A token's secret, and the fingerprint of the authority that it is for. Raises: Invalid."""
    secret, _, fingerprint = token.strip().partition(".")
    if not secret or not re.fullmatch("[0-9a-f]{64}", fingerprint):
        raise Invalid("This is no join token: it looks like SECRET.FINGERPRINT, as `moln node token` and `moln controller token` print it.")
    return secret, fingerprint


def checked_name(name: str) -> str:
    """A node's name. Raises: Invalid."""
    if not NAME.fullmatch(name):
        raise Invalid("A node's name has 1 to 64 letters, digits, dots, hyphens or underscores, and begins and ends with a letter or digit.",
                      field="name")  # fmt: skip
    return name


def requested_key(csr: str) -> ec.EllipticCurvePublicKey:
    """The key that a request for a certificate proves to have. Raises: Invalid."""
    try:
        asked = x509.load_pem_x509_csr(csr.encode())
        key = asked.public_key()
        good = asked.is_signature_valid and isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1)
    except Exception:  # whatever a crafted request may cause in its parser
        good = False
    if not good:
        raise Invalid("The request for a certificate is not one of a P-256 key, signed by it.", field="csr")
    assert isinstance(key, ec.EllipticCurvePublicKey)
    return key


def key_digest(key: ec.EllipticCurvePublicKey) -> str:
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def check_nats_key(asked: Enrolment) -> None:
    """Raises: Invalid, unless whoever asks has the key."""
    try:
        proof = base64.b64decode(asked.nats_proof, validate=True)
    except (binascii.Error, ValueError):
        proof = b""
    if not is_name(USER, asked.nats_key) or not verified(asked.nats_key, asked.csr.encode(), proof):
        raise Invalid("The key for NATS is none, or did not sign the request for a certificate.", field="nats_key")
