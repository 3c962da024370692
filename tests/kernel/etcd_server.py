"""A real etcd with certificates of the cloud's own authority, for tests: on loopback, begun and ended by whoever asks."""

from __future__ import annotations

import shutil
import signal
import ssl
import subprocess
import time
import urllib.request
from datetime import UTC, datetime
from pathlib import Path

from tests.kernel.nats_server import free_port

from moln.kernel.etcd import server
from moln.kernel.etcd.gateway import Etcd
from moln.kernel.http.certificates import Authority

BINARY = shutil.which("etcd", path="/usr/sbin:/usr/bin:/usr/local/bin")
WAIT_S = 30


class EtcdServer:
    """url: where controllers find it."""

    def __init__(self, home: Path):
        self.home = home
        self.now = datetime.now(UTC)
        self.ca = Authority(home / server.CONTROLLERS, self.now)
        self.port, self.peer_port = free_port(), free_port()
        self.url = f"https://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        server.ensure(self.home, frozenset({"127.0.0.1"}), self.now)
        arguments = server.arguments(self.home, "e1", "127.0.0.1", self.port, self.peer_port)
        with open(self.home / "etcd.log", "ab") as log:
            self.process = subprocess.Popen([str(BINARY), *arguments, "--unsafe-no-fsync"] if self._newer() else [str(BINARY), *arguments],
                                            stdout=log, stderr=log, env={})  # fmt: skip
        ends = time.monotonic() + WAIT_S
        while not self._healthy():
            assert time.monotonic() < ends and self.process.poll() is None, (self.home / "etcd.log").read_text()
            time.sleep(0.05)

    def _newer(self) -> bool:
        return b"unsafe-no-fsync" in subprocess.run([str(BINARY), "--help"], capture_output=True, check=False).stdout

    def _healthy(self) -> bool:
        try:
            asked = urllib.request.urlopen(f"{self.url}/health", timeout=2, context=self.context("controller", "test"))
            return b'"true"' in asked.read()
        except OSError:
            return False

    def stop(self) -> None:
        """As a crash would end it."""
        if self.process:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            self.process = None

    def forget(self) -> None:
        """All that it held is gone, as after a disk that broke."""
        shutil.rmtree(self.home / server.FOLDER / "data")

    def context(self, role: str, name: str) -> ssl.SSLContext:
        """What a controller has, or a node: that is of the authority of nodes."""
        authority = self.ca if role == "controller" else Authority(self.home / "tls", self.now)
        file = authority.ensure_member(self.home / f"{role}-{name}.pem", role, name, self.now)
        context = ssl.create_default_context(cafile=self.ca.public)
        context.load_cert_chain(file)
        return context

    def client(self, role: str = "controller", name: str = "test") -> Etcd:
        return Etcd([self.url], lambda: self.context(role, name))
