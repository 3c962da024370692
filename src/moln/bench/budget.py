"""Every row of DESIGN's table, measured."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from moln.bench import extras, scale
from moln.bench.load import Cost, cost, request
from moln.bench.process import Measured, apart, folder, lasting_port, measured
from moln.bench.rows import Row
from moln.bench.tenant import SERVERS, VERSION, Tenant, quiet

IDLE_S = 15.0


def measure(step: Callable[[str], object]) -> list[Row]:
    """All rows. step: told what is being done. Raises: RuntimeError."""
    with folder("moln-bench-") as home:
        log = home / "log"
        rows = []
        with apart(), measured("bare", log=log) as bare:
            step("a cloud of a hundred servers")
            full = home / "full"
            full.mkdir()
            tls_port = lasting_port()
            with measured("cloud", "--home", str(full), "--nodes", "4", "--tls-port", str(tls_port), log=log) as cloud:
                tenant = Tenant(cloud.port, full)
                servers = tenant.fill()
                quiet(cloud)
                step("tokens, servers, lists")
                rows += _reads(cloud, bare, tenant, servers)
                step("the same over TLS")
                more = extras.tls(cloud, tls_port, full, _one(tenant, servers))
            step("creating servers")
            resting = home / "resting"
            resting.mkdir()
            with measured("cloud", "--home", str(resting), "--nodes", "100", "--no-work", log=log) as cloud:
                rows.append(_creates(cloud, bare, Tenant(cloud.port, resting)))
        step("the audit log and traces, with and without")
        with apart():
            more += extras.measure(home, log)
        step("a rule among 10,000 ports; a host among 10,000")
        rows += scale.measure(home)
        step("an idle controller")
        rows += _idle(home / "idle")
    return rows + more


def _row(name: str, limit: float, found: Cost, more: str = "") -> Row:
    return Row(name, limit, "x", found.ratio, f"{found.cpu_us:.0f} µs to {found.bare_us:.0f} µs; {found.size:,} bytes{more}")


def _reads(cloud: Measured, bare: Measured, tenant: Tenant, servers: list[str]) -> list[Row]:
    token = tenant.token
    validate = request("GET", "/identity/v3/auth/tokens", X_Auth_Token=token, X_Subject_Token=token)
    detail = request("GET", f"/compute/v2.1/servers/detail?limit={SERVERS}", X_Auth_Token=token, OpenStack_API_Version=VERSION)
    return [
        _row("validate a token, 10-service catalogue", 2, cost(cloud, bare, lambda: validate, count=400),
             f"; {tenant.services} services"),
        _row("GET one server", 3, cost(cloud, bare, _one(tenant, servers), count=400)),
        _row("GET /servers/detail, 100 servers", 50, cost(cloud, bare, lambda: detail, count=24)),
    ]  # fmt: skip


def _one(tenant: Tenant, servers: list[str]) -> Callable[[], bytes]:
    """Requests for one server, the next one each time."""
    ids = itertools.cycle(servers)
    return lambda: request("GET", f"/compute/v2.1/servers/{next(ids)}", X_Auth_Token=tenant.token, OpenStack_API_Version=VERSION)


def _creates(cloud: Measured, bare: Measured, tenant: Tenant) -> Row:
    numbers = itertools.count()

    def create() -> bytes:
        body = json.dumps(tenant.server(f"s{next(numbers)}")).encode()
        return request("POST", "/compute/v2.1/servers", body, X_Auth_Token=tenant.token, OpenStack_API_Version=VERSION)

    return _row("POST /servers to scheduled and committed", 30, cost(cloud, bare, create, count=40, status=202))


def _idle(home: Path) -> list[Row]:
    """The controller as `moln up --simulate` starts it: once to make the database, then a few times for the best."""
    home.mkdir()
    ready = []
    for last in (False, False, False, True):
        port, began = lasting_port(), time.monotonic()
        read, write = os.pipe()
        command = [sys.executable, "-m", "moln.controller", "--home", str(home), "--port", str(port), "--simulate"]
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "MOLN_READY_FD": str(write)}
        with open(home / "log", "ab") as log:
            process = subprocess.Popen(command, env=env, pass_fds=[write], stderr=log, stdout=log)
        os.close(write)
        try:
            if not os.read(read, 16):
                raise RuntimeError(f"the controller does not begin: {(home / 'log').read_text()[-500:]}")
            ready.append(time.monotonic() - began)
            if last:
                share, pss = _at_rest(Measured(process, port))
        finally:
            os.close(read)
            process.terminate()
            process.wait(15)
    return [
        Row("controller with all services, idle: memory (PSS)", 100, "MiB", pss),
        Row("controller, idle: processor", 1, "%", share, f"of one core, over {IDLE_S:g} s"),
        Row("controller: from start to ready", 2, "s", min(ready[1:]), f"the best of {len(ready) - 1}"),
    ]


def _at_rest(controller: Measured) -> tuple[float, float]:
    """(percent of a core, MiB)."""
    quiet(controller)
    before = controller.cpu_s()
    time.sleep(IDLE_S)
    return 100 * (controller.cpu_s() - before) / IDLE_S, controller.pss_mib()
