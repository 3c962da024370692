"""A simulated cloud of many machines, all of it real but drivers and the network engine: controllers as processes on a PostgreSQL of their
own, nats-server, and nodes that joined, over TLS and with fences."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import os
import select
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

import moln.app  # noqa: F401  (declares every table, as the database is asked for)
from moln.bench.engines import EtcdServer, Nats, PostgresServer, ending_with_us, spawn
from moln.bench.process import Measured, lasting_port
from moln.demo.client import Client
from moln.host.places import PACKAGE_ROOT
from moln.kernel.clock import Clock
from moln.kernel.db import Transaction
from moln.kernel.http.certificates import Authority
from moln.kernel.link.nats_authority import NatsAuthority
from moln.kernel.nodes import tables
from moln.kernel.nodes.gate import PORT_AFTER
from moln.kernel.nodes.joining import FOLDER, Joined, Member
from moln.kernel.nodes.requests import Admission, key_digest

READY_S = 180.0
NOT_OURS = ("network: the engine holds what the rows ask for",)  # the simulated engine is in the memory of its one writer


class Process:
    """One of ours, ready when start() returns; it never outlives this one. log: where its errors go."""

    def __init__(self, log: Path, module: str, *arguments: object, says: str = "") -> None:
        self.log = log
        self._command = [*ending_with_us(), sys.executable, "-m", module, *map(str, arguments)]
        self._says = says
        self._process: subprocess.Popen[bytes] | None = None
        self.measured: Measured | None = None

    def start(self) -> None:
        """Raises: RuntimeError, with the end of its log."""
        self.begin()
        self.wait()

    def begin(self) -> None:
        read, write = os.pipe()
        env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(PACKAGE_ROOT), *filter(None, sys.path)]), "MOLN_READY_FD": str(write)}
        with self.log.open("ab") as log:
            self._process = spawn(
                self._command, env=env, pass_fds=[write], stderr=log, stdin=subprocess.DEVNULL, stdout=write if self._says else subprocess.DEVNULL
            )
        os.close(write)
        self._ready = read
        self.measured = Measured(self._process, 0)  # type: ignore[arg-type]

    def wait(self) -> None:
        ready, _, _ = select.select([self._ready], [], [], READY_S)
        said = os.read(self._ready, 64) if ready else b""
        os.close(self._ready)
        if b"ready" not in said:
            self.kill()
            raise RuntimeError(f"{self._command[4:8]} does not begin: {self.log.read_text()[-2000:]}")

    def kill(self) -> None:
        """kill -9."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(15)
        self.kill()

    def cpu_s(self) -> float:
        assert self.measured is not None
        return self.measured.cpu_s()

    def pss_mib(self) -> float:
        assert self.measured is not None
        return self.measured.pss_mib()


class Controller(Process):
    """home: the same keys as all the others'."""

    def __init__(self, home: Path, port: int) -> None:
        super().__init__(home / "controller.log", "moln.controller", "--home", home, "--port", port, "--simulate", "--nodes", 0, "--tls")
        self.home, self.port = home, port
        self.url = f"https://127.0.0.1:{port}"

    def ask(self, path: str, timeout_s: float = 600) -> bytes:
        """What it answers on its own socket. Raises: OSError, http.client.HTTPException."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as there:
            there.settimeout(timeout_s)
            there.connect(str(self.home / "run/admin.sock"))
            there.sendall(b"GET %b HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n" % path.encode())
            answer = http.client.HTTPResponse(there)
            answer.begin()
            return answer.read()

    def nodes_here(self) -> int:
        """How many it has heard of; none while it does not answer."""
        try:
            return len(msgspec.json.decode(self.ask("/status", 10))["nodes"])
        except (OSError, http.client.HTTPException):
            return 0

    def violations(self) -> list[str]:
        """What `moln doctor` says, but of what this controller cannot see."""
        found = msgspec.json.decode(self.ask("/doctor"))["violations"]
        return [f"{v['invariant']}: {v['message']}" for v in found if v["invariant"] not in NOT_OURS]


class Cloud:
    """begin() before all else, end() at the end. folder: its own, removed by whoever made it."""

    def __init__(self, folder: Path, *, controllers: int = 2, settings: str = "", etcd: bool = False) -> None:
        self.folder = folder
        self._settings = settings
        (folder / "c1").mkdir()
        ports = [lasting_port(PORT_AFTER) for _ in range(controllers)]
        self.controllers = [Controller(folder / f"c{n}", port) for n, port in enumerate(ports, 1)]
        self.nodes = Process(folder / "nodes.log", "moln.bench.many_nodes", folder / "nodes", says="ready")
        self.postgres = PostgresServer()
        self.nats = Nats(folder / "c1")
        self.etcd = EtcdServer(folder / "c1") if etcd else None

    def begin(self) -> None:
        """Engines and controllers run."""
        first, *others = self.controllers
        self.database_url = self.postgres.create("moln")
        Authority(first.home / "tls", datetime.now(UTC))
        self.nats.start()
        if self.etcd is not None:
            self.etcd.start()
        self._set(first, "c1")
        first.start()
        shared = shutil.ignore_patterns("run", "log", "pool", "controller.*", "moln.toml", "simulated", "nats-server", "nats.log", "etcd*")
        for n, other in enumerate(others, 2):
            shutil.copytree(first.home, other.home, ignore=shared)
            (other.home / "tls/controller.pem").unlink(missing_ok=True)
            (first.home / "pool").mkdir(exist_ok=True)
            (other.home / "pool").symlink_to(first.home / "pool")
            self._set(other, f"c{n}")
            other.start()
        self.password = (first.home / "admin.password").read_text().strip()
        self.cacert = str(first.home / "tls/ca.crt")

    def _set(self, controller: Controller, name: str) -> None:
        text = f'database_url = "{self.database_url}"\n{self._settings}\n[link]\nnats = ["{self.nats.urls[0]}"]\ncontroller = "{name}"\n'
        if self.etcd is not None:
            text += f'etcd = ["{self.etcd.url}"]\n'
        (controller.home / "moln.toml").write_text(text)

    def admin(self, controller: int = 0) -> Client:
        return self.client("admin", self.password, "admin", controller)

    def client(self, user: str, password: str, project: str, controller: int = 0) -> Client:
        return Client(self.controllers[controller].url, user=user, password=password, project=project, cacert=self.cacert)

    def join(self, names: list[str], folder: str = "nodes", nats: tuple[str, ...] = ()) -> None:
        """Have nodes join, all in one write. nats: where they find it, unless where it is."""
        homes = {name: self.folder / folder / name for name in names}
        asyncio.run(_join(self, homes, nats or self.nats.urls))

    def end(self) -> None:
        """Everything is gone, whatever was left running."""
        for process in (self.nodes, *self.controllers):
            process.stop()
        for engine in (self.nats, self.etcd):
            if engine is not None:
                engine.stop()
        self.postgres.remove()

    def errors(self) -> list[str]:
        """What controllers logged of internal errors, the first few."""
        logs = [line[-1500:] for c in self.controllers for line in c.log.read_text().splitlines() if '"level":"error"' in line]
        return logs[:8]


@contextlib.contextmanager
def cloud(folder: Path, *, controllers: int = 2, settings: str = "", etcd: bool = False) -> Iterator[Cloud]:
    """One that runs, without a node. etcd: it has one."""
    made = Cloud(folder, controllers=controllers, settings=settings, etcd=etcd)
    try:
        made.begin()
        yield made
    finally:
        made.end()


async def _join(cloud: Cloud, homes: dict[str, Path], nats: tuple[str, ...]) -> None:
    """What `moln node join` leaves in each home, and what the database knows of it."""
    from moln.kernel.db.postgres import PostgresDatabase

    home, now = cloud.controllers[0].home, datetime.now(UTC)
    authority, claims, ca = Authority(home / "tls", now), NatsAuthority(home / "nats"), (home / "tls/ca.crt").read_text()
    given: list[tables.Certificate] = []
    for name, place in homes.items():
        folder = place / "host/node" / FOLDER
        folder.mkdir(parents=True)
        member, key = Member(folder), ec.generate_private_key(ec.SECP256R1())
        signed = authority.sign(key.public_key(), "node", name, now)
        ends_s = int(signed.not_valid_after_utc.timestamp())
        allowed = claims.node(name, member.nats_key.name, now_s=int(now.timestamp()), expires_s=ends_s)
        admission = Admission(name, signed.public_bytes(Encoding.PEM).decode(), ca, allowed, list(nats))
        member.keep(key, admission, Joined(name, cloud.controllers[0].url, list(nats), "127.0.0.1:0"))
        digest = key_digest(key.public_key())
        given.append(tables.Certificate(f"{signed.serial_number:x}", name, digest, member.nats_key.name, Clock().now_us(), ends_s * 1_000_000))

    async def add_in(tx: Transaction) -> None:
        for certificate in given:
            await tx.insert(tables.certificates, certificate)
            tx.changed("nodes.members", certificate.node)

    db = PostgresDatabase(cloud.database_url)
    await db.open()
    try:
        await db.write(add_in)
    finally:
        await db.close()


def eventually(ask: Any, what: str, limit_s: float = 120.0, every_s: float = 0.1) -> Any:
    """The first true answer. Raises: RuntimeError, when there is none in time."""
    ends = time.monotonic() + limit_s
    while not (found := ask()):
        if time.monotonic() > ends:
            raise RuntimeError(f"not in {limit_s:g} s: {what}")
        time.sleep(every_s)
    return found
