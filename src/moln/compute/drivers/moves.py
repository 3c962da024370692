"""What a hypervisor can do to give servers away to another one, and to take them over.

A stopped server moves disk by disk: offered on one host, fetched on the other. A running one is awaited by its destination and sent by its
source, which alone knows how far it is. Nothing is removed from the source: whoever asked for the move does that, once it is over.
"""

from __future__ import annotations

from typing import Literal, Protocol, runtime_checkable

from msgspec import Struct

from moln.compute.drivers.base import ServerSpec
from moln.compute.model.migrations import Progress


class DiskOffer(Struct, frozen=True):
    """A disk that another host may read. address: where, in words that the driver's own kind understands."""

    id: str
    size_bytes: int
    address: str


class Target(Struct, frozen=True):
    """Where a running server goes. id: of this move; another one begins anew. address: as the destination told. disks: ids of those that go with it."""

    id: str
    address: str
    disks: tuple[str, ...] = ()


class Sending(Struct, frozen=True):
    """How a move is, as its source knows. idle: the server is here, and of this move nothing is known; absent: it is not even here."""

    state: Literal["idle", "running", "done", "failed", "absent"]
    reason: str = ""
    progress: Progress = Progress()


@runtime_checkable
class Moves(Protocol):
    """The ability to move servers between hosts."""

    async def offer_disk(self, disk_id: str) -> DiskOffer:
        """Other hosts of this cloud may read the disk until it is withdrawn. Its server must be off. Raises: BackendRefused, without such a disk."""

    async def withdraw_disk(self, disk_id: str) -> None:
        """Nobody reads the disk from outside any more."""

    async def fetch_disk(self, offer: DiskOffer) -> None:
        """There is a disk of this id with the bytes of the one that was offered, whatever was there before under an unfinished name."""

    async def await_server(self, spec: ServerSpec) -> str:
        """Be ready to take over the running server as `spec`, its disks of that size made here. Returns the address for its source."""

    async def send_server(self, spec: ServerSpec, target: Target) -> None:
        """Begin to send the running server, which goes on as `spec`. Nothing, when that was begun. Raises: BackendRefused, when it does not run."""

    async def follow_server(self, server_id: str, target_id: str) -> Sending:
        """How far it is. It may take a second while the server is being sent, and answers at once when that has ended."""

    async def hurry_server(self, server_id: str) -> None:
        """The guest may stand still, so that its move ends. Nothing, when none is under way."""

    async def keep_server(self, server_id: str) -> bool:
        """Send no more: the guest stays. False: it is not here (any more)."""
