"""An S3 server that keeps everything in this process, and one that does what a test says."""

from __future__ import annotations

import contextlib
import threading
import uuid
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from moln.image.drivers.s3 import S3Backend
from moln.image.drivers.s3_requests import Bucket

KEYS = ("an-access-key", "its/secret+key")


@contextlib.contextmanager
def s3_server() -> Iterator[str]:
    """Its endpoint."""
    moto = pytest.importorskip("moto.server")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
    finally:
        server.stop()


def bucket_at(endpoint: str, name: str | None = None, **more: Any) -> Bucket:
    """A bucket that is there from now on."""
    bucket = Bucket(endpoint, name or f"images-{uuid.uuid4().hex[:8]}", *KEYS, **more)
    backend = S3Backend(bucket)
    try:
        backend.requests.ask("PUT")
    finally:
        backend.requests.stop()
    return bucket


@contextlib.contextmanager
def between(endpoint: str) -> Iterator[Between]:
    """A server that passes requests on until a test says otherwise."""
    server = Between(endpoint)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


class Between(ThreadingHTTPServer):
    """spoil: called with each request before it is passed on; True when it has answered (or closed) by itself."""

    daemon_threads = True

    def __init__(self, endpoint: str):
        self.behind = endpoint.partition("//")[2]
        self.asked: list[str] = []
        self.spoil: Any = lambda handler: False
        super().__init__(("127.0.0.1", 0), Passing)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Passing(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Between

    def pass_on(self) -> None:
        import http.client

        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.asked.append(f"{self.command} {self.path}")
        if self.server.spoil(self):
            return
        connection = http.client.HTTPConnection(self.server.behind)
        connection.request(self.command, self.path, body, dict(self.headers))
        answer = connection.getresponse()
        content = answer.read()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                self.send_header(name, value)
        length = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(content))
        self.send_header("Content-Length", length or "0")
        self.end_headers()
        self.wfile.write(content)
        connection.close()

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = pass_on

    def refuse(self, status: int, code: str = "") -> bool:
        body = f"<Error><Code>{code}</Code><Message>by the test</Message></Error>".encode() if code else b""
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        return True

    def log_message(self, *_: object) -> None:
        """Nothing."""
