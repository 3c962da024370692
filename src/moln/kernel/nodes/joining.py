"""The node's side of joining: keys that never leave it, and the files that it goes by afterwards."""

from __future__ import annotations

import base64
import http.client
import json
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from msgspec import Struct

from moln.kernel.errors import Conflict, Failure, Invalid, Unavailable
from moln.kernel.http import certificates, succession
from moln.kernel.link.nats_keys import USER, NatsKey, ensure_key
from moln.kernel.nodes.passport import Passport
from moln.kernel.nodes.requests import Admission, Enrolment, checked_name, parts

TIMEOUT_S = 20.0
FOLDER = "member"
STREAMS_PORT = 5010
ANSWER_BOUND = 8 << 20  # bytes


SOUTHBOUND = "southbound"  # the file beside, where controllers told of OVN's southbound database since


class Joined(Struct, frozen=True):
    """What `moln node join` left behind. streams: address:port where the node serves streams. nats: URLs of the servers. southbound: see
    Admission.
    """

    name: str
    controller: str
    nats: list[str]
    streams: str
    southbound: str = ""


class Member:
    """The files of a node that has joined, in a folder that only its owner may enter."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.certificate = folder / "member.pem"
        self.ca = folder / "ca.crt"
        self.passport = Passport(self.certificate, self.ca)

    def joined(self) -> Joined | None:
        """None: it has not. Raises: Invalid."""
        try:
            return msgspec.json.decode((self.folder / "joined.json").read_bytes(), type=Joined)
        except FileNotFoundError:
            return None
        except msgspec.MsgspecError as error:
            raise Invalid(f"{self.folder / 'joined.json'}: {error}") from None

    @property
    def nats_key(self) -> NatsKey:
        return ensure_key(self.folder / "nats.pem", USER)

    def claims(self) -> str:
        return (self.folder / "nats.jwt").read_text().strip()

    def keep(self, key: ec.EllipticCurvePrivateKey, admission: Admission, joined: Joined | None = None) -> None:
        """What a controller gave. Raises: Invalid, when it is of another authority or key; OSError."""
        check(key, admission.certificate, self.ca.read_bytes() if joined is None else admission.ca.encode(), admission.name)
        if joined is not None:
            certificates.put(self.ca, admission.ca.encode())
        self.keep_claims(admission.claims)
        certificates.put(self.certificate, certificates.private_pem(key) + admission.certificate.encode())
        if joined is not None:  # at last: whoever finds it finds the rest
            certificates.put(self.folder / "joined.json", msgspec.json.encode(joined) + b"\n")

    def keep_claims(self, claims: str) -> None:
        """Raises: OSError."""
        certificates.put(self.folder / "nats.jwt", claims.encode() + b"\n")

    def authority(self) -> str:
        """The fingerprint of the one that signed its certificate, among those that it trusts; empty: none of them."""
        _, found = certificates.read(self.certificate)
        return succession.issuer(found, self.ca.read_bytes()) if found else ""

    def trust(self, ca: str) -> bool:
        """Other authorities (PEM). Whether one that was trusted is not any more. Raises: Invalid, unless its own certificate is of one of them; OSError."""
        _, own = certificates.read(self.certificate)
        before = self.ca.read_bytes()
        try:
            theirs = {succession.fingerprint(of) for of in succession.trusted(ca.encode())}
        except ValueError:
            theirs = set()
        if own is None or succession.issuer(own, before) not in theirs:
            raise Invalid("This node's own certificate is of none of these authorities.")
        certificates.put(self.ca, ca.encode())
        return not {succession.fingerprint(of) for of in succession.trusted(before)} <= theirs

    def lasts(self) -> timedelta:
        """Until its certificate ends."""
        _, found = certificates.read(self.certificate)
        return found.not_valid_after_utc - datetime.now(UTC) if found else timedelta(0)


def check(key: ec.EllipticCurvePrivateKey, certificate: str, ca: bytes, name: str) -> None:
    """Raises: Invalid, unless the certificate is this node's own, of one of these authorities, for its key."""
    try:
        given = x509.load_pem_x509_certificate(certificate.encode())
        signed = bool(succession.issuer(given, ca))
        good = signed and certificates.member_of(given) == ("node", name) and given.public_key() == key.public_key()
    except Exception:  # whatever is wrong with it
        good = False
    if not good:
        raise Invalid("The controller gave a certificate that is not this node's.")


def request(key: ec.EllipticCurvePrivateKey, name: str) -> str:
    """A request for a certificate of this key, in PEM."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])
    made = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return made.public_bytes(Encoding.PEM).decode()


def join(url: str, token: str, folder: Path, *, name: str, streams: str = "") -> Joined:
    """Become node `name` of the cloud whose APIs are at `url`. streams: address[:port] of this machine for its controllers.

    Raises: Invalid, Conflict, Forbidden, Unavailable; nothing is kept then but keys that prove nothing.
    """
    member, where = Member(folder), urlsplit(url)
    checked_name(name)
    if where.scheme != "https" or not where.hostname:
        raise Invalid("A node joins at the https:// URL of the cloud's APIs.")
    if (there := member.joined()) is not None:
        raise Conflict(f"This machine is node {there.name} of {there.controller} already; forget that first: rm -r {folder}")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    secret, fingerprint = parts(token)
    port = where.port or 443
    ca, own_address = fetch_authority(where.hostname, port, fingerprint)
    key, nats_key = kept_key(folder / "key.pem"), member.nats_key
    csr = request(key, name)
    proof = base64.b64encode(nats_key.sign(csr.encode())).decode()
    asked = Enrolment(f"{secret}.{fingerprint}", name, csr, nats_key.name, proof)
    context = ssl.create_default_context()
    context.load_verify_locations(cadata=ca)
    status, body, _ = call(context, where.hostname, port, "POST", "/nodes/enrolment", msgspec.json.encode(asked))
    if status != 201:
        raise refusal(status, body)
    admission = msgspec.json.decode(body, type=Admission)
    if not succession.named(admission.ca.encode(), fingerprint):
        raise Invalid("The controller answers with another authority than the token names.")
    joined = Joined(name, url, admission.nats, _with_port(streams or own_address), admission.southbound)
    member.keep(key, admission, joined)
    (folder / "key.pem").unlink()
    return joined


def kept_key(file: Path) -> ec.EllipticCurvePrivateKey:
    """The key that is being asked for: the same when an answer was lost, so that the token can be shown again."""
    try:
        return certificates.private_key(file.read_bytes())
    except (FileNotFoundError, ValueError):
        key = ec.generate_private_key(ec.SECP256R1())
        certificates.put(file, certificates.private_pem(key))
        return key


def fetch_authority(host: str, port: int, fingerprint: str) -> tuple[str, str]:
    """The authority's certificate that the token names, and the address from which we reach the cloud.

    What the server shows first is trusted for this question alone, which tells it nothing. Raises: Invalid, when another answers.
    """
    try:
        shown = ssl.get_server_certificate((host, port), timeout=TIMEOUT_S)
    except (OSError, ValueError) as error:
        raise Unavailable(f"https://{host}:{port} does not answer ({error}).") from None
    context = ssl.create_default_context(cadata=shown)
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    status, body, own_address = call(context, host, port, "GET", "/nodes/ca.crt")
    found = succession.named(body, fingerprint)  # and no other that may stand beside it
    if status != 200 or not found:
        raise Invalid(f"https://{host}:{port} is not the cloud that this token is for"
                      f" ({'its authority is another' if status == 200 else f'it answered {status}'}). The token was not sent.")  # fmt: skip
    return found, own_address


def call(context: ssl.SSLContext, host: str, port: int, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes, str]:
    """Status, body, and our own address. Raises: Unavailable, Invalid."""
    connection = http.client.HTTPSConnection(host, port, timeout=TIMEOUT_S, context=context)
    try:
        connection.connect()
        own_address = str(connection.sock.getsockname()[0])
        connection.request(method, path, body, {"Content-Type": "application/json"} if body else {})
        answer = connection.getresponse()
        return answer.status, answer.read(ANSWER_BOUND), own_address
    except ssl.SSLCertVerificationError as error:
        raise Invalid(f"https://{host}:{port} does not prove to be that host ({error.verify_message}).") from None
    except (OSError, http.client.HTTPException) as error:
        raise Unavailable(f"https://{host}:{port} does not answer ({error}).") from None
    finally:
        connection.close()


def refusal(status: int, body: bytes) -> Failure:
    try:
        said: Any = json.loads(body)["error"]["message"]
    except (ValueError, KeyError, TypeError):
        said = f"The cloud answered {status}."
    return Failure(str(said))


def _with_port(address: str) -> str:
    if address.count(":") > 1 and not address.startswith("["):
        address = f"[{address}]"
    return address if address.rpartition("]")[2].count(":") else f"{address}:{STREAMS_PORT}"
