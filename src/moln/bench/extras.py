"""What TLS, the audit log and the like cost: the same requests with and without, turn by turn in one run. They have no budget: the budgets
are for what is on by default, without TLS.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

from msgspec import Struct

from moln.bench.load import Side, Wire, request, turn_by_turn, typical
from moln.bench.process import Measured, measured
from moln.bench.rows import Row
from moln.bench.tenant import VERSION, Tenant, quiet

READS, CREATES, NEWCOMERS = 400, 40, 40  # requests in a round


class Extra(Struct, frozen=True):
    """Something that a cloud does beside answering. on, off: the lines of moln.toml that say so."""

    name: str
    on: str
    off: str
    reads: bool = False  # whether it costs anything where nothing changes


EXTRAS = [Extra("the audit log", on="", off="audit_mib = 0\n")]


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
    for number, extra in enumerate(EXTRAS):
        with _cloud(folder / f"with-{number}", extra.on, log) as (there, its), _cloud(folder / f"without-{number}", extra.off, log) as (here, mine):
            rows.append(_compared(f"POST /servers, with {extra.name}", here, there, _creating(mine), _creating(its), CREATES, 202))
            if extra.reads:
                rows.append(_compared(f"GET one server, with {extra.name}", here, there, _reading(mine), _reading(its), READS, 200))
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
