"""A collector for tests: OTLP over HTTP on loopback, decoded by OpenTelemetry's own protocol definitions."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from msgspec import Struct
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


class Span(Struct):
    """One span as it arrived. process: the resource's service.name. links: trace ids."""

    name: str
    trace: str
    id: str
    parent: str
    kind: int
    error: bool
    process: str
    attributes: dict[str, Any]
    links: list[str]


class Collector:
    """spans: all that arrived. gate: while clear, requests are held and nothing is answered. status: what is answered."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.asked = threading.Event()
        self.gate = threading.Event()
        self.gate.set()
        self.status = 200
        self.raw = b""
        self.url = ""

    def take(self, body: bytes) -> None:
        self.raw += body
        for group in ExportTraceServiceRequest.FromString(body).resource_spans:
            process = {a.key: a.value.string_value for a in group.resource.attributes}["service.name"]
            for scope in group.scope_spans:
                self.spans += [_span(found, process) for found in scope.spans]

    def named(self, name: str) -> list[Span]:
        return [s for s in self.spans if s.name == name]

    def below(self, span: Span) -> list[Span]:
        """Its children."""
        return [s for s in self.spans if s.trace == span.trace and s.parent == span.id]


def _span(found: Any, process: str) -> Span:
    attributes = {a.key: a.value.int_value if a.value.HasField("int_value") else a.value.string_value for a in found.attributes}
    return Span(found.name, found.trace_id.hex(), found.span_id.hex(), found.parent_span_id.hex(), found.kind, found.status.code == 2, process,
                attributes, [link.trace_id.hex() for link in found.links])  # fmt: skip


@contextlib.contextmanager
def collector() -> Iterator[Collector]:
    made = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            made.asked.set()
            made.gate.wait(30)
            if made.status == 200:
                made.take(body)
            self.send_response(made.status)
            self.send_header("Content-Length", "0")
            with contextlib.suppress(OSError):
                self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    made.url = f"http://127.0.0.1:{server.server_port}/v1/traces"
    serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    serving.start()
    try:
        yield made
    finally:
        made.gate.set()
        server.shutdown()
        serving.join()
        server.server_close()
