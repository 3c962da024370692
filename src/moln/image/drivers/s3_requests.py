"""Signed requests to an S3 server (AWS Signature Version 4), over connections that are kept. All of it blocks."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import socket
import ssl
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import quote, urlsplit
from xml.etree import ElementTree

from msgspec import Struct

from moln.kernel.errors import NotFound, Unavailable

ALGORITHM = "AWS4-HMAC-SHA256"
ANSWER = 16 << 20  # bytes of an answer that is not an image's data
TRIES = 4
PAUSE_S = 0.2  # before the second try; twice as long before each further one
AGAIN = frozenset({429, 500, 502, 503, 504})
CONNECT_S = 5.0
IDLE = 8  # connections kept


class Bucket(Struct, frozen=True):
    """Where, and who asks. endpoint: http(s)://host[:port]; secret: of the access key; ca: a file with the authority of its certificate."""

    endpoint: str
    name: str
    access_key: str
    secret: str
    region: str = "us-east-1"
    ca: str = ""
    timeout_s: float = 30.0


def canonical(text: str, safe: str = "") -> str:
    """As the signature wants it: everything but letters, digits and -_.~ in percent."""
    return quote(text, safe=f"-_.~{safe}")


def query_of(query: Mapping[str, str]) -> str:
    return "&".join(f"{canonical(k)}={canonical(v)}" for k, v in sorted(query.items()))


def sign(bucket: Bucket, method: str, path: str, query: str, headers: Mapping[str, str], now: datetime) -> dict[str, str]:
    """The headers with who asks and its proof. path, query: canonical; headers: with the host and the hash of the body."""
    stamp = now.strftime("%Y%m%dT%H%M%SZ")
    full = {**headers, "x-amz-date": stamp}
    lowered = sorted((name.lower(), " ".join(value.split())) for name, value in full.items())
    names = ";".join(name for name, _ in lowered)
    lines = "".join(f"{name}:{value}\n" for name, value in lowered)
    asked = "\n".join((method, path, query, lines, names, full["x-amz-content-sha256"]))
    scope = f"{stamp[:8]}/{bucket.region}/s3/aws4_request"
    text = "\n".join((ALGORITHM, stamp, scope, hashlib.sha256(asked.encode()).hexdigest()))
    key = f"AWS4{bucket.secret}".encode()
    for part in (*scope.split("/"), text):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return {**full, "Authorization": f"{ALGORITHM} Credential={bucket.access_key}/{scope}, SignedHeaders={names}, Signature={key.hex()}"}


class Refused(Exception):
    """The server's answer to a request that it does not do. code: S3's, such as NoSuchKey."""

    def __init__(self, status: int, code: str, message: str):
        super().__init__(f"{status} {code}: {message}")
        self.status = status
        self.code = code


class Requests:
    """Asks one bucket. A lost connection, or a server that says so, is asked again: every request of ours may be repeated."""

    def __init__(self, bucket: Bucket):
        self.bucket = bucket
        parts = urlsplit(bucket.endpoint)
        self.tls = parts.scheme == "https"
        self.host, self.port = parts.hostname or "", parts.port or (443 if self.tls else 80)
        self.netloc = parts.netloc
        self.base = canonical(f"{parts.path.rstrip('/')}/{bucket.name}", "/")
        self.context = ssl.create_default_context(cafile=bucket.ca or None) if self.tls else None
        self.idle: list[http.client.HTTPConnection] = []
        self.lock = threading.Lock()
        self.stopped = threading.Event()

    def ask(
        self, method: str, key: str = "", query: Mapping[str, str] | None = None, body: bytes | bytearray = b""
    ) -> tuple[Mapping[str, str], bytes]:
        """Headers and body of the answer. Raises: NotFound, Unavailable."""
        connection, response = self.open(method, key, query, body)
        try:
            answer = response.read(ANSWER)
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise Unavailable("The image store failed.", detail=f"{method} {key}: {error}") from error
        self.keep(connection, response)
        return {name.lower(): value for name, value in response.getheaders()}, answer

    def open(
        self,
        method: str,
        key: str = "",
        query: Mapping[str, str] | None = None,
        body: bytes | bytearray = b"",
        headers: Mapping[str, str] | None = None,
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        """An answer whose body is still to be read; then `keep`, or close the connection. Raises: NotFound, Unavailable."""
        pause, why = PAUSE_S, "stopped"
        digest = hashlib.sha256(body).hexdigest()
        for left in range(TRIES - 1, -1, -1):
            fresh = left < TRIES - 1  # a kept connection may have ended long ago
            try:
                return self._try(method, key, query or {}, body, digest, headers or {}, fresh)
            except Refused as refused:
                if refused.code == "NoSuchKey" or (refused.status == 404 and not refused.code):
                    raise NotFound("The image has no data.", detail=f"{method} {key}: {refused}") from None
                if refused.status not in AGAIN:
                    raise Unavailable("The image store refused.", detail=f"{method} {key}: {refused}") from None
                why = str(refused)
            except (OSError, http.client.HTTPException) as error:
                why = f"{type(error).__name__}: {error}"
            if not left or self.stopped.wait(pause):
                break
            pause *= 2
        raise Unavailable("The image store does not answer.", detail=f"{method} {key}: {why}")

    def _try(
        self, method: str, key: str, query: Mapping[str, str], body: bytes | bytearray, digest: str, headers: Mapping[str, str], fresh: bool
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        path = f"{self.base}/{canonical(key, '/')}" if key else self.base
        asked = query_of(query)
        signed = sign(self.bucket, method, path, asked, {"host": self.netloc, "x-amz-content-sha256": digest}, datetime.now(UTC))
        connection = self.connect() if fresh else self.take()
        try:
            length = {"Content-Length": str(len(body))} if method in ("PUT", "POST") else {}
            connection.request(method, f"{path}?{asked}" if asked else path, body or None, {**signed, **headers, **length})
            response = connection.getresponse()
            if response.status >= 300:
                raise refusal(response.status, response.read(ANSWER))
        except BaseException:
            connection.close()
            raise
        return connection, response

    def connect(self) -> http.client.HTTPConnection:
        made = http.client.HTTPConnection(self.host, self.port, timeout=self.bucket.timeout_s)
        sock = socket.create_connection((self.host, self.port), min(CONNECT_S, self.bucket.timeout_s))
        try:
            sock.settimeout(self.bucket.timeout_s)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            made.sock = self.context.wrap_socket(sock, server_hostname=self.host) if self.context else sock
        except BaseException:
            sock.close()
            raise
        return made

    def take(self) -> http.client.HTTPConnection:
        with self.lock:
            if self.idle:
                return self.idle.pop()
        return self.connect()

    def keep(self, connection: http.client.HTTPConnection, response: http.client.HTTPResponse) -> None:
        """The connection may be used again, when the answer was read to its end."""
        with self.lock:
            if response.isclosed() and not response.will_close and len(self.idle) < IDLE and not self.stopped.is_set():
                self.idle.append(connection)
                return
        connection.close()

    def stop(self) -> None:
        self.stopped.set()
        with self.lock:
            while self.idle:
                self.idle.pop().close()


def refusal(status: int, body: bytes) -> Refused:
    try:
        root = parse(body) if body else ElementTree.Element("Error")
    except Unavailable:
        root = ElementTree.Element("Error")
    return Refused(status, root.findtext("Code") or "", (root.findtext("Message") or "")[:500])


def parse(body: bytes) -> ElementTree.Element:
    """An answer's XML, its tags without their namespace. Raises: Unavailable."""
    try:
        root = ElementTree.fromstring(body)
    except ElementTree.ParseError as error:
        raise Unavailable("The image store failed.", detail=f"no XML: {body[:200]!r}") from error
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    return root


__all__ = ["Bucket", "Refused", "Requests", "parse", "query_of", "sign"]
