"""What a controller has of etcd, made by app.py where settings name one: leases of nodes, elections, and what `moln doctor` says of it."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from pathlib import Path

from moln.kernel.cloud import Cloud
from moln.kernel.controllers import proof
from moln.kernel.errors import Invalid, Unavailable
from moln.kernel.etcd.gateway import Etcd
from moln.kernel.etcd.leaders import EtcdLeaders
from moln.kernel.etcd.leases import EtcdLeases
from moln.kernel.etcd.settings import SharedSettings
from moln.kernel.metrics import Family
from moln.kernel.module import Invariant, Violation

MEND = "Start etcd (its log says why it does not run), and see that [link] etcd names where it is."


class SharedEtcd:
    """name: of this controller."""

    def __init__(self, cloud: Cloud, name: str):
        """Raises: Invalid; Failure, when certificates cannot be used."""
        settings = cloud.settings.link
        if bad := [url for url in settings.etcd if not url.startswith(("http://", "https://"))]:
            raise Invalid(f"{bad[0]} is no URL of etcd: https://ADDRESS:2379", field="link.etcd")
        self._certificate, self._ca = proof.ensure(cloud.home, name, datetime.fromtimestamp(cloud.clock.now_us() / 1e6, UTC))
        if settings.etcd_certificate:
            self._certificate = Path(settings.etcd_certificate)
        if settings.etcd_ca:
            self._ca = Path(settings.etcd_ca)
        self.etcd = Etcd(settings.etcd, self._tls)
        self.leases = EtcdLeases(self.etcd, cloud.clock.now_us)
        self.settings = SharedSettings(self.etcd, cloud)
        self.leaders = EtcdLeaders(self.etcd, cloud.clock.now_us, name)

    def _tls(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self._ca)
        context.load_cert_chain(self._certificate)
        return context

    @property
    def invariants(self) -> list[Invariant]:
        async def etcd_is_there(_: Cloud) -> list[Violation]:
            try:
                await self.etcd.all("leaders/")
            except Unavailable as lost:
                return [Violation(f"{lost.message} Nobody new can lead, and nodes that die are not noticed.", MEND)]
            return []

        return [Invariant("etcd-is-there", etcd_is_there)]

    async def measure(self, _: Cloud) -> list[Family]:
        return [Family("moln_etcd_connected", "gauge", "Whether this controller last reached etcd.", [({}, int(not self.etcd.trouble))])]
