"""Where a node of another machine's cloud finds controllers: the one that it joined at, and those that it was told of since."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from moln.kernel.http import certificates
from moln.kernel.nodes.gate import GateClient, address_of
from moln.kernel.nodes.joining import SOUTHBOUND
from moln.node.ovsdb import Ovsdb, pairs

_decode = msgspec.json.Decoder(list[str]).decode


class KnownControllers:
    """`Knows` (kernel/controllers/telling.py). file: where it is kept for the next start. nats: URLs, changed in place."""

    def __init__(self, file: Path, gate: GateClient, nats: list[str], switch: Ovsdb | None = None) -> None:
        self._file = file
        self._gate = gate
        self._nats = nats
        self.switch = switch  # whose ovn-controller looks where it is told; None: there is none yet
        with contextlib.suppress(FileNotFoundError, msgspec.MsgspecError):
            self._nats[:] = _decode(self._servers.read_bytes()) or self._nats
        with contextlib.suppress(FileNotFoundError, msgspec.MsgspecError):  # a damaged one is told anew
            self._use(_decode(file.read_bytes()))

    def _use(self, urls: list[str]) -> None:
        found = [urlsplit(url) for url in urls]
        self._gate.others = [address_of(url.hostname or "", url.port or 443) for url in found if url.scheme == "https"]

    async def controllers(self, urls: list[str]) -> None:
        self._use(urls)
        await asyncio.to_thread(certificates.put, self._file, msgspec.json.encode(urls))

    @property
    def _servers(self) -> Path:
        return self._file.with_name("nats.json")

    @property
    def _southbound(self) -> Path:
        """Read by whoever sets up Open vSwitch here (host/ovn.py)."""
        return self._file.with_name(SOUTHBOUND)

    async def engines(self, nats: list[str], southbound: str) -> None:
        """Kept first: Open vSwitch may be away, and is told when it starts."""
        if nats:
            self._nats[:] = nats
            await asyncio.to_thread(certificates.put, self._servers, msgspec.json.encode(nats))
        if southbound:
            await asyncio.to_thread(certificates.put, self._southbound, southbound.encode())
            await self.look_there()

    async def look_there(self) -> None:
        """Have ovn-controller go by what was told last. Raises: BackendUnreachable, BackendRefused."""
        if self.switch is None or not self._southbound.exists():
            return
        told = self._southbound.read_text()
        mutations = [["external_ids", "delete", ["set", ["ovn-remote"]]], ["external_ids", "insert", pairs({"ovn-remote": told})]]
        await self.switch.transact({"op": "mutate", "table": "Open_vSwitch", "where": [], "mutations": mutations})
