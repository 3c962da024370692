"""Moves between simulated hosts: they know one another, and a move goes on each time that its source is asked how far it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from moln.compute.drivers.base import ServerSpec
from moln.compute.drivers.moves import DiskOffer, Sending, Target
from moln.compute.model.migrations import Progress
from moln.kernel.errors import BackendRefused, BackendUnreachable
from moln.kernel.files import known

if TYPE_CHECKING:
    from moln.compute.drivers.fake import FakeCompute

SCHEME = "simulated://"
MIB = 1 << 20


class Outgoing(Struct, frozen=True):
    """A server that is being sent. looks: how often its source was asked; hurried: it stands still."""

    spec: ServerSpec
    target: Target
    looks: int = 0
    hurried: bool = False
    ended: str = ""
    reason: str = ""


class FakeMoves:
    """Moves, for FakeCompute to have. peers: the hosts that can be reached, by name. looks_per_move: how many a move takes.

    busy: servers that write faster than they are sent, so that their moves end only when they are hurried.
    """

    async def offer_disk(self: FakeCompute, disk_id: str) -> DiskOffer:  # type: ignore[misc]
        async with self._duty("offer_disk"):
            disk = self._disk(known(disk_id))
            self.offered.add(disk_id)
        return DiskOffer(disk_id, disk.size_bytes, f"{SCHEME}{self.hostname}")

    async def withdraw_disk(self: FakeCompute, disk_id: str) -> None:  # type: ignore[misc]
        async with self._duty("withdraw_disk"):
            self.offered.discard(known(disk_id))

    async def fetch_disk(self: FakeCompute, offer: DiskOffer) -> None:  # type: ignore[misc]
        async with self._duty("fetch_disk"):
            if self.shared_disks:
                self._disk(known(offer.id))
                return
            peer = self._peer(offer.address)
            if offer.id not in peer.offered:
                raise BackendRefused(f"Host {peer.hostname} does not offer the disk.")
            self._take_disk(peer, offer.id)

    async def await_server(self: FakeCompute, spec: ServerSpec) -> str:  # type: ignore[misc]
        async with self._duty("await_server"):
            self._check_generation(spec)
        return SCHEME + self.hostname

    async def send_server(self: FakeCompute, spec: ServerSpec, target: Target) -> None:  # type: ignore[misc]
        async with self._duty("send_server"):
            out = self.kept.outgoings.get(known(spec.id))
            if out is not None and out.target.id == target.id:
                return
            if self._get(spec.id).power not in ("running", "paused"):
                raise BackendRefused("The server does not run.")
            self.kept.put("outgoing", spec.id, Outgoing(spec, target))

    async def follow_server(self: FakeCompute, server_id: str, target_id: str) -> Sending:  # type: ignore[misc]
        async with self._duty("follow_server"):
            out = self.kept.outgoings.get(known(server_id))
            if out is None or out.target.id != target_id:
                return Sending("idle" if server_id in self.kept.servers else "absent")
            if not out.ended:
                out = replace(out, looks=out.looks + 1)
                if out.hurried or out.looks >= self.looks_per_move and server_id not in self.busy:
                    out = self._arrive(out)
                self.kept.put("outgoing", server_id, out)
            return Sending(out.ended or "running", out.reason, self._how_far(out))  # type: ignore[arg-type]

    def _arrive(self: FakeCompute, out: Outgoing) -> Outgoing:  # type: ignore[misc]
        """The guest goes on over there, and is no longer here."""
        try:
            peer = self._peer(out.target.address)
        except BackendUnreachable as lost:
            return replace(out, ended="failed", reason=lost.message)
        server = self._get(out.spec.id)
        for disk_id in out.target.disks:
            self._give_disk(peer, disk_id)
        peer.kept.put("server", out.spec.id, replace(server, spec=out.spec))
        peer._power(out.spec.id, server.power)
        self.consoles.cut(out.spec.id)
        self.kept.drop("server", out.spec.id)
        return replace(out, ended="done")

    def _how_far(self: FakeCompute, out: Outgoing) -> Progress:  # type: ignore[misc]
        memory = out.spec.ram_mib * MIB
        disk = sum(self.kept.disks[id].size_bytes for id in out.target.disks if id in self.kept.disks)
        part = 1.0 if out.ended == "done" else min(out.looks / (self.looks_per_move + 1), 1.0)
        sent, written = int(memory * part), int(disk * part)
        return Progress(memory, sent, memory - sent, disk, written, disk - written)

    async def hurry_server(self: FakeCompute, server_id: str) -> None:  # type: ignore[misc]
        async with self._duty("hurry_server"):
            out = self.kept.outgoings.get(known(server_id))
            if out is not None and not out.ended:
                self.kept.put("outgoing", server_id, replace(out, hurried=True))

    async def keep_server(self: FakeCompute, server_id: str) -> bool:  # type: ignore[misc]
        async with self._duty("keep_server"):
            self.kept.drop("outgoing", known(server_id))
            return server_id in self.kept.servers

    def _peer(self: FakeCompute, address: str) -> FakeCompute:  # type: ignore[misc]
        peer = self.peers.get(address.removeprefix(SCHEME))
        if peer is None:
            raise BackendUnreachable("The other host does not answer.")
        return peer

    def _take_disk(self: FakeCompute, peer: FakeCompute, disk_id: str) -> None:  # type: ignore[misc]
        self._put(disk_id, peer._disk(disk_id).size_bytes, peer.kept.origins.get(disk_id))

    def _give_disk(self: FakeCompute, peer: FakeCompute, disk_id: str) -> None:  # type: ignore[misc]
        peer._take_disk(self, disk_id)
