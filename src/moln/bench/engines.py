"""Engines begun for a measurement or a test, on sockets of their own, and ended with whoever began them: PostgreSQL, NATS, etcd."""

from __future__ import annotations

import atexit
import contextlib
import os
import pwd
import shutil
import signal
import ssl
import subprocess
import tempfile
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from moln.bench.process import cpu_of, lasting_port, pss_of
from moln.kernel.etcd import server as etcd_server
from moln.kernel.http.certificates import Authority
from moln.kernel.nodes import nats_server

WAIT_S = 60.0
LASTING = {"listen_addresses": "", "log_min_messages": "error", "shared_buffers": "256MB", "max_connections": "200", "max_wal_size": "2GB"}
"""What a PostgreSQL of its own is told; else it is as it comes: every commit is on the disk before it is answered."""


def postgres_programs() -> Path | None:
    """Where PostgreSQL's programs are; Debian has them not on the PATH."""
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    return max(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: int(p.parent.name), default=None)


def nats_program() -> str | None:
    return shutil.which("nats-server", path="/usr/sbin:/usr/bin:/usr/local/bin")


def ending_with_us(number: str = "KILL") -> list[str]:
    """Before a command: the signal that it gets when this process ends, however it does."""
    return ["setpriv", "--pdeathsig", number]


_spawner = ThreadPoolExecutor(1)


def spawn(command: list[str], **options: Any) -> subprocess.Popen[bytes]:
    """Popen, from a thread that lasts as long as this process: its end is what the kernel takes for the parent's (prctl(2))."""
    return _spawner.submit(partial(subprocess.Popen, command, **options)).result()


def _as_nobody() -> list[str]:
    """PostgreSQL refuses to run as root."""
    user = [] if os.geteuid() else ["--reuid", "nobody", "--regid", "nogroup", "--clear-groups"]
    return [*ending_with_us("QUIT")[:1], *user, *ending_with_us("QUIT")[1:]]


class PostgresServer:
    """Started at once: its data in a folder of its own, a unix socket and no port. It ends with this process."""

    def __init__(self, settings: dict[str, str] | None = None) -> None:
        found = postgres_programs()
        assert found is not None, "PostgreSQL is not installed"
        self._bin = found
        self.folder = Path(tempfile.mkdtemp(prefix="moln-pg-", dir="/tmp"))  # a short path: sockets' are limited
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            os.chown(self.folder, nobody.pw_uid, nobody.pw_gid)
        self._settings = (settings or LASTING) | {"unix_socket_directories": str(self.folder)}
        self._process: subprocess.Popen[bytes] | None = None
        atexit.register(self.remove)
        self._run("initdb", "--no-sync", "-A", "trust", "-U", "moln", "-E", "UTF8", "--locale=C", "-D", str(self.folder / "data"))
        self.start()

    def _run(self, program: str, *args: str) -> None:
        done = subprocess.run([*_as_nobody(), str(self._bin / program), *args], cwd=self.folder, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()

    def start(self) -> None:
        """Ready when it returns."""
        settings = [word for name, value in self._settings.items() for word in ("-c", f"{name}={value}")]
        command = [*_as_nobody(), str(self._bin / "postgres"), "-D", str(self.folder / "data"), *settings]
        until = time.monotonic() + WAIT_S
        while True:
            with open(self.folder / "log", "ab") as log:
                self._process = spawn(command, cwd=self.folder, stdout=log, stderr=log)
            while self._process.poll() is None and time.monotonic() < until:
                if subprocess.run([self._bin / "pg_isready", "-q", "-h", self.folder], check=False).returncode == 0:
                    return
                time.sleep(0.02)
            # Children of one that was killed go a moment later than it, and until then it does not begin.
            assert self._process.poll() is not None and time.monotonic() < until, (self.folder / "log").read_text()
            time.sleep(0.1)

    def stop(self, mode: str = "immediate") -> None:
        """mode: immediate (as a crash is), fast."""
        if self._process is not None:
            self._run("pg_ctl", "stop", "-w", "-m", mode, "-D", str(self.folder / "data"))
            self._process.wait()
            self._process = None

    def kill(self) -> None:
        """kill -9 of all its processes."""
        if self._process is not None:
            for pid in [self._process.pid, *children(self._process.pid)]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def remove(self) -> None:
        if self.folder.exists():
            with contextlib.suppress(AssertionError):
                self.stop()
            shutil.rmtree(self.folder, ignore_errors=True)

    def create(self, name: str) -> str:
        """An empty database; its URL."""
        program = self._bin / "psql"
        subprocess.run([program, "-qX", "-h", self.folder, "-U", "moln", "-c", f"CREATE DATABASE {name} TEMPLATE template0", "postgres"],
                       check=True, timeout=60)  # fmt: skip
        return self.url(name)

    def url(self, name: str) -> str:
        return f"postgresql://moln@/{name}?host={self.folder}"

    def cpu_s(self) -> float:
        """Seconds of processor time of all its processes, those that ended too."""
        assert self._process is not None
        return cpu_of(self._process.pid, ended=True) + sum(cpu_of(pid) for pid in children(self._process.pid))

    def pss_mib(self) -> float:
        assert self._process is not None
        return sum(pss_of(pid) for pid in [self._process.pid, *children(self._process.pid)])


class Nats:
    """nats-server with the cloud's own authority, on loopback. home: of the cloud; it holds its keys and its folder."""

    notifications = False  # whether it keeps them, for others to read
    address = "127.0.0.1"
    routes: tuple[str, list[str]] | None = None  # its name in a cluster, and where servers meet

    def __init__(self, home: Path) -> None:
        self.home = home
        self.port = lasting_port()
        self.urls = (f"tls://{self.address}:{self.port}",)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Ready when it returns."""
        now = datetime.now(UTC)
        configuration = nats_server.ensure(self.home, listen=f"{self.address}:{self.port}", names=frozenset({self.address}),
                                           now=now, notifications=self.notifications, routes=self.routes)  # fmt: skip
        log = self.home / "nats.log"
        at = log.stat().st_size if log.exists() else 0
        self.process = spawn([*ending_with_us(), str(nats_program()), "-c", str(configuration), "-l", str(log)])
        ends = time.monotonic() + WAIT_S
        while "Server is ready" not in (log.read_text()[at:] if log.exists() else ""):
            assert time.monotonic() < ends and self.process.poll() is None, log.read_text()
            time.sleep(0.02)

    def stop(self) -> None:
        """As a crash would end it."""
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None

    def cpu_s(self) -> float:
        assert self.process is not None
        return cpu_of(self.process.pid)

    def pss_mib(self) -> float:
        assert self.process is not None
        return pss_of(self.process.pid)


class EtcdServer:
    """etcd with the authority of controllers, on loopback. home: of the cloud."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.port, self._peer_port = lasting_port(), lasting_port()
        self.url = f"https://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Ready when it returns."""
        etcd_server.ensure(self.home, frozenset({"127.0.0.1"}), datetime.now(UTC))
        program = shutil.which("etcd", path="/usr/sbin:/usr/bin:/usr/local/bin")
        command = [*ending_with_us(), str(program), *etcd_server.arguments(self.home, "e1", "127.0.0.1", self.port, self._peer_port)]
        with open(self.home / "etcd.log", "ab") as log:
            self.process = spawn(command, stdout=log, stderr=log, env={})
        ends = time.monotonic() + WAIT_S
        while not self._healthy():
            assert time.monotonic() < ends and self.process.poll() is None, (self.home / "etcd.log").read_text()
            time.sleep(0.05)

    def _healthy(self) -> bool:
        folder, now = self.home / etcd_server.CONTROLLERS, datetime.now(UTC)
        file = Authority(folder, now).ensure_member(self.home / "etcd-asked.pem", "controller", "asks", now)
        context = ssl.create_default_context(cafile=folder / "ca.crt")
        context.load_cert_chain(file)
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=2, context=context) as answer:
                return b'"true"' in answer.read()
        except OSError:
            return False

    def stop(self) -> None:
        """As a crash would end it."""
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None


def children(pid: int) -> list[int]:
    """Processes that it started and that are there."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []
