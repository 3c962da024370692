"""How libvirt hosts reach one another to move servers. Here: hosts of one machine, by sockets in a folder that they share.

Between machines: moln/node/between.py.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import msgspec
from msgspec import Struct

from moln.kernel.errors import BackendRefused

log = logging.getLogger("moln.compute")


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


class Folder(Struct, frozen=True):
    """An address: uri of the host's libvirtd, for others; sockets: the folder."""

    uri: str
    sockets: str


class SharedFolder:
    """Reach. uri: of this host's libvirtd, for others. sockets: the folder that all share; QEMU's user may write there."""

    def __init__(self, uri: str, sockets: Path) -> None:
        self.uri, self.sockets = uri, sockets

    async def offer(self, disk_id: str, path: Path) -> str:
        socket = self._socket(disk_id)
        if await asyncio.to_thread(_server_of, socket) is None:
            await _run(
                "qemu-nbd", "--fork", "--read-only", "--format=raw", "--persistent", "--shared=4", f"--pid-file={socket}.pid",
                f"--socket={socket}", str(path),
            )  # fmt: skip
        return str(socket)

    async def withdraw(self, disk_id: str) -> None:
        await asyncio.to_thread(_end_server, self._socket(disk_id))

    async def fetch(self, disk_id: str, address: str, size_bytes: int, target: Path) -> None:
        if Path(address) != self._socket(disk_id):
            raise BackendRefused("The other host's disks cannot be reached from here.")
        await _run("qemu-img", "convert", "-f", "raw", "-O", "raw", f"nbd+unix:///?socket={address}", str(target))

    async def expect(self, server_id: str, folder: Path, paths: Collection[str]) -> str:
        return msgspec.json.encode(Folder(self.uri, str(self.sockets))).decode()

    def expect_no_more(self, server_id: str) -> None:
        pass

    async def way(self, server_id: str, address: str) -> Way:
        there = msgspec.json.decode(address, type=Folder)
        return Way(there.uri, there.sockets, lambda: None)

    def _socket(self, disk_id: str) -> Path:
        return self.sockets / f"{disk_id}-o"


def _server_of(socket: Path) -> int | None:
    """The qemu-nbd that serves a socket."""
    try:
        pid = int(Path(f"{socket}.pid").read_text())
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (OSError, ValueError):
        return None
    return pid if str(socket).encode() in command and socket.exists() else None


def _end_server(socket: Path) -> None:
    pid = _server_of(socket)
    if pid is not None:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    for path in (socket, Path(f"{socket}.pid")):
        path.unlink(missing_ok=True)


async def _run(*command: str) -> None:
    """Raises: BackendRefused, with nothing of what it said; that is in the log."""
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    try:
        _, said = await process.communicate()
    except BaseException:
        with suppress(ProcessLookupError):
            process.kill()
        raise
    if process.returncode:
        log.warning("%s: %s", command[0], said[-500:].decode(errors="replace"))
        raise BackendRefused("The disk could not be sent between the hosts.")
