"""A real etcd with certificates of the cloud's own authority, for tests: on loopback, begun and ended by whoever asks."""

from __future__ import annotations

import shutil
import ssl
from datetime import UTC, datetime
from pathlib import Path

from moln.bench import engines
from moln.kernel.etcd import server
from moln.kernel.etcd.gateway import Etcd
from moln.kernel.http.certificates import Authority


class EtcdServer(engines.EtcdServer):
    """url: where controllers find it."""

    def __init__(self, home: Path):
        super().__init__(home)
        self.now = datetime.now(UTC)
        self.ca = Authority(home / server.CONTROLLERS, self.now)

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
