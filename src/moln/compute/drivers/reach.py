"""How libvirt hosts reach one another to move servers: what the driver needs of it. moln/node/between.py does it."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Protocol

from msgspec import Struct


class Way(Struct, frozen=True):
    """To the destination of a running server, as the source's libvirtd and QEMU go it. uri: of its libvirtd. sockets: the folder where the
    destination's QEMU listens, or seems to. close: nobody goes there any more."""

    uri: str
    sockets: str
    close: Callable[[], None]


class Reach(Protocol):
    """Addresses are words of the one host's for the other's, of the same kind. Raises: BackendRefused, BackendUnreachable."""

    async def offer(self, disk_id: str, path: Path) -> str:
        """Who has this address may read the disk until it is withdrawn."""

    async def withdraw(self, disk_id: str) -> None: ...

    async def fetch(self, disk_id: str, address: str, size_bytes: int, target: Path) -> None:
        """The offered disk's bytes are in this file."""

    async def expect(self, server_id: str, folder: Path, paths: Collection[str]) -> str:
        """Who has this address may send the server here, until it is here or not expected any more. folder: of the server here; paths: of its
        disks and its drive."""

    def expect_no_more(self, server_id: str) -> None: ...

    async def way(self, server_id: str, address: str) -> Way: ...
