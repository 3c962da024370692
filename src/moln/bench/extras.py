"""What TLS, the audit log and traces cost: the same requests with and without, turn by turn in one run. They have no budget: the budgets
are for what is on by default, without TLS.
"""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from msgspec import Struct

from moln.bench.load import Side, Wire, request, turn_by_turn, typical
from moln.bench.process import Measured, measured
from moln.bench.rows import Row
from moln.bench.tenant import VERSION, Tenant, quiet

READS, CREATES, NEWCOMERS = 400, 40, 40  # requests in a round


class Extra(Struct, frozen=True):
    """Something that a cloud does beside answering. on, off: the lines of moln.toml that say so; SINK in them is the address of an HTTP
    server that takes everything. reads: whether it costs anything where nothing changes. needs: modules that must be there.
    """

    name: str
    on: str
    off: str
    reads: bool = False
    needs: tuple[str, ...] = ()

    @property
    def missing(self) -> list[str]:
        return [name for name in self.needs if not _is_there(name)]


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # nor is its parent
        return False


EXTRAS = [
    Extra("the audit log", on="", off="audit_mib = 0\n"),
    Extra("traces", on='[tracing]\nendpoint = "SINK"\n', off="", reads=True,
          needs=("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http.trace_exporter")),
]  # fmt: skip


class _Sink(BaseHTTPRequestHandler):
    """A collector that forgets."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextlib.contextmanager
def sink() -> Iterator[str]:
    """Its address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Sink) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/v1/traces"
        server.shutdown()


def tls(cloud: Measured, port: int, home: Path, make: Callable[[], bytes]) -> list[Row]:
    """`make`'s requests over TLS, to the same process that answers them without. port: the one with TLS."""
    context = ssl.create_default_context(cafile=str(home / "tls/ca.crt"))
    rows = []
    for name, kept, count in (("GET one server, over TLS", True, READS), ("GET one server, over a new connection with TLS", False, NEWCOMERS)):
        plain, secret = Wire(cloud.port, kept=kept), Wire(port, tls=context, kept=kept)
        try:
            rows.append(_row(name, Side(cloud, plain, make, count), Side(cloud, secret, make, count)))
        finally:
            plain.close()
            secret.close()
    return rows


def measure(folder: Path, log: Path) -> list[Row]:
    """Each extra, in a cloud with it and one without. folder: for their homes."""
    rows = []
    with sink() as address:
        for number, extra in enumerate(EXTRAS):
            names = [f"POST /servers, with {extra.name}", *([f"GET one server, with {extra.name}"] if extra.reads else [])]
            if missing := extra.missing:
                rows += [Row(name, None, "x", None, f"not installed: {', '.join(missing)}") for name in names]
                continue
            homes, texts = (folder / f"with-{number}", folder / f"without-{number}"), (extra.on.replace("SINK", address), extra.off)
            with _cloud(homes[0], texts[0], log) as (there, its), _cloud(homes[1], texts[1], log) as (here, mine):
                rows.append(_compared(names[0], here, there, _creating(mine), _creating(its), CREATES, 202))
                if extra.reads:
                    rows.append(_compared(names[1], here, there, _reading(mine), _reading(its), READS, 200))
    return rows


@contextlib.contextmanager
def _cloud(home: Path, settings: str, log: Path) -> Iterator[tuple[Measured, Tenant]]:
    home.mkdir()
    (home / "moln.toml").write_text(settings)
    with measured("cloud", "--home", str(home), "--nodes", "20", "--no-work", log=log) as cloud:
        tenant = Tenant(cloud.port, home)
        quiet(cloud)
        yield cloud, tenant


def _compared(name: str, here: Measured, there: Measured, mine: Callable[[], bytes], its: Callable[[], bytes], count: int, status: int) -> Row:
    plain, other = Wire(here.port), Wire(there.port)
    try:
        return _row(name, Side(here, plain, mine, count, status), Side(there, other, its, count, status))
    finally:
        plain.close()
        other.close()


def _creating(tenant: Tenant) -> Callable[[], bytes]:
    numbers = itertools.count()

    def create() -> bytes:
        body = json.dumps(tenant.server(f"s{next(numbers)}")).encode()
        return request("POST", "/compute/v2.1/servers", body, X_Auth_Token=tenant.token, OpenStack_API_Version=VERSION)

    return create


def _reading(tenant: Tenant) -> Callable[[], bytes]:
    server = tenant.client.call("POST", "/compute/v2.1/servers", tenant.server("read"))["server"]["id"]
    one = request("GET", f"/compute/v2.1/servers/{server}", X_Auth_Token=tenant.token, OpenStack_API_Version=VERSION)
    return lambda: one


def _row(name: str, without: Side, with_it: Side) -> Row:
    found = typical(turn_by_turn(without, with_it), with_it.size)
    return Row(name, None, "x", found.ratio, f"of what it costs without: {found.cpu_us:.0f} µs to {found.bare_us:.0f} µs")
