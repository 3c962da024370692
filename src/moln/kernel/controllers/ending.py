"""When the certificates end that controllers' engines show, seen at their ports: a renewal that does not come (showing.py) is noticed long before.

What is shown counts, not what lies in a file, and of all controllers: one whose own process is down renews nothing, while its engines go on.
"""

from __future__ import annotations

import asyncio
import logging
import ssl

from msgspec import Struct

from moln.kernel.clock import iso
from moln.kernel.cloud import Cloud
from moln.kernel.controllers import showing
from moln.kernel.controllers.membership import Controllers, address_of
from moln.kernel.controllers.proof import FOLDER
from moln.kernel.controllers.showing import ENGINES, Engine
from moln.kernel.errors import Failure
from moln.kernel.http.certificates import LATE_DAYS, member_host
from moln.kernel.module import Invariant, Violation

OVN = (Engine("ovn", f"{FOLDER}/controller.pem", (6641, 6643, 6644, 6645)), Engine("ovn", "tls/controller.pem", (6642,), authority="tls"))
HAS_EXPIRED = 10  # X509_V_ERR_CERT_HAS_EXPIRED (openssl-verification-options(1))
AT_ONCE, LATE_US = 64, LATE_DAYS * 24 * 3600 * 1_000_000
_log = logging.getLogger("moln.controllers")


class Shown(Struct, frozen=True):
    """What one engine of a controller shows; of several, that which ends first. serial: in hex."""

    controller: str
    engine: str
    serial: str = ""
    expires_at: int = 0  # µs UTC; 0: it has ended


def ends(shown: Shown) -> str:
    return f"ends at {iso(shown.expires_at)}" if shown.expires_at else "has ended"


class Ending:
    """Of one controller."""

    def __init__(self, cloud: Cloud, controllers: Controllers):
        self._cloud, self._controllers = cloud, controllers
        self._places = asyncio.Semaphore(AT_ONCE)

    async def look(self) -> list[Shown]:
        """At all controllers; at this one alone, where the database does not say who they are. What is not the cloud's own is left out."""
        try:
            at = [(found.name, address_of(found)) for found in await self._controllers.all()]
        except Failure:
            at = [(self._controllers.name, self._controllers.address)]
        asked = [(name, address, engine, port) for name, address in at for engine in (*ENGINES, *OVN) for port in engine.ports]
        first: dict[tuple[str, str], Shown] = {}
        for one in filter(None, await asyncio.gather(*(self._one(*each) for each in asked))):
            first[one.controller, one.engine] = min(one, first.get((one.controller, one.engine), one), key=lambda shown: shown.expires_at)
        return list(first.values())

    async def _one(self, name: str, address: str, engine: Engine, port: int) -> Shown | None:
        """None: nothing there shows one of ours."""
        folder = self._cloud.home / engine.authority
        whom = member_host("controller", name) if engine in OVN else address
        try:
            context = ssl.create_default_context(cafile=folder / "ca.crt")
            context.load_cert_chain(folder / "controller.pem")
            async with self._places:
                found = await showing.shown(context, address, port, whom=whom)
            return Shown(name, engine.name, f"{found.serial_number:x}", int(found.not_valid_after_utc.timestamp() * 1e6))
        except showing.TROUBLE as error:
            if isinstance(error, ssl.SSLCertVerificationError) and error.verify_code == HAS_EXPIRED:
                return Shown(name, engine.name)
            _log.debug("%s, port %d of %s, shows no certificate: %r", engine.name, port, address, error)
            return None

    @property
    def invariant(self) -> Invariant:
        async def certificates_of_engines_last(cloud: Cloud) -> list[Violation]:
            late = cloud.clock.now_us() + LATE_US
            return [
                Violation(f"The certificate of {shown.engine} at {shown.controller} {ends(shown)} and was not renewed.",
                          "The controller there renews it, and is to run: its log says why it cannot (moln logs controller, on that machine).")
                for shown in await self.look() if shown.expires_at < late
            ]  # fmt: skip

        return Invariant("engines-certificates-last", certificates_of_engines_last)
