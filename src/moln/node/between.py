"""How hosts of several machines reach one another to move servers: by their streams' port, as members of the cloud, each time with a secret
that this one gave for one disk or one server.

libvirtd and QEMU speak to unix sockets alone. Of a destination's, the source has likenesses in the same place; what is said there is carried
over mutual TLS. So no libvirtd and no QEMU listens on any network, and whose certificate was renewed need not tell them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import shutil
from collections.abc import Callable, Collection
from hmac import compare_digest
from pathlib import Path
from typing import Any, Literal, get_args

import msgspec
from msgspec import Struct

from moln.compute.drivers.disks import READ_ONLY
from moln.compute.drivers.reach import Way
from moln.host.places import GUEST_USER, Places
from moln.kernel.errors import BackendRefused, BackendUnreachable, Failure, NotFound
from moln.kernel.files import known
from moln.kernel.link.streams import Opener, Stream, copy, of_path, splice, until_one_ends
from moln.kernel.nodes import sparse
from moln.kernel.nodes.gate import GateClient, spoken, written
from moln.kernel.nodes.passport import Passport
from moln.node.guard import Expected, pass_on

DISK, ARRIVAL = "compute.offered_disk", "compute.arrival"
Part = Literal["libvirtd", "memory", "disks"]
SUFFIXES: dict[Part, str] = {"libvirtd": "", "memory": "-m", "disks": "-d"}
SECRET_BYTES = 24
SEEN = Path("/run/libvirt")  # as libvirtd and QEMU see their folder (host/libvirt.py)
SOCKETS, DAEMONS = "moln", "moln-out"
log = logging.getLogger("moln.node")


class Place(Struct, frozen=True):
    """Where a disk or a destination is. address: of the node's streams. host: whom its certificate must name. secret: opens this alone."""

    address: str
    host: str
    secret: str


class Between:
    """Reach. address, host: as others find this node, and know it. now_us: the clock. qemu: its user; None: ours."""

    def __init__(
        self, places: Places, passport: Passport, address: str, host: str, now_us: Callable[[], int], qemu: str | None = GUEST_USER
    ) -> None:
        run = places.libvirt / "run"
        self.sockets, self.daemons = run / SOCKETS, run / DAEMONS
        self.libvirtd = places.libvirt_socket
        self.passport, self.address, self.host, self.now_us = passport, address, host, now_us
        self.qemu = qemu
        self.at: dict[Path, int] = {}
        self.offered: dict[str, tuple[str, Path]] = {}
        self.expected: dict[str, tuple[str, Expected]] = {}

    def prepare(self) -> None:
        """Folders for the sockets: QEMU's user makes some in the one, and root alone may enter the other. Blocks."""
        for folder in (self.sockets, self.daemons):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(mode=0o700, parents=True)
        if self.qemu is not None:
            with contextlib.suppress(LookupError):  # a machine that was set up otherwise (`--join-only`) has no such user
                shutil.chown(self.sockets, self.qemu)
        # Sockets are named through these: a unix socket's path has 107 bytes, and most may be the home's.
        self.at = {folder: os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC) for folder in (self.sockets, self.daemons)}

    # ---- for others

    @property
    def openers(self) -> dict[str, tuple[Opener, Any]]:
        """What members may open here, each with its secret."""
        return {DISK: (self.open_disk, tuple[str, str]), ARRIVAL: (self.open_arrival, tuple[str, str, Part])}

    async def offer(self, disk_id: str, path: Path) -> str:
        secret = self.offered[disk_id][0] if disk_id in self.offered else secrets.token_hex(SECRET_BYTES)
        self.offered[disk_id] = secret, path
        return self._place(secret)

    async def withdraw(self, disk_id: str) -> None:
        self.offered.pop(disk_id, None)

    async def open_disk(self, disk_id: str, secret: str) -> Stream:
        wanted, path = self.offered.get(disk_id, ("", Path()))
        if not wanted or not compare_digest(wanted, secret):
            raise NotFound("No such disk is offered here.")
        try:
            file = await asyncio.to_thread(os.open, path, READ_ONLY)
        except OSError:
            raise NotFound("The disk is not here any more.") from None

        async def write(writer: asyncio.StreamWriter) -> None:
            try:
                await sparse.send(file, writer)
            finally:
                os.close(file)

        return await written(write)

    async def expect(self, server_id: str, folder: Path, paths: Collection[str]) -> str:
        secret = self.expected[server_id][0] if server_id in self.expected else secrets.token_hex(SECRET_BYTES)
        uris = frozenset(f"unix://{SEEN / SOCKETS / server_id}{suffix}" for suffix in SUFFIXES.values() if suffix)
        self.expected[server_id] = secret, Expected(server_id, frozenset(paths), str(folder), uris)
        return self._place(secret)

    def expect_no_more(self, server_id: str) -> None:
        if self.expected.pop(server_id, None) is not None:
            for part in ("memory", "disks"):  # who was to connect there has, or never will
                self._socket(server_id, part).unlink(missing_ok=True)

    async def open_arrival(self, server_id: str, secret: str, part: Part) -> Stream:
        wanted = self.expected.get(server_id)
        if wanted is None or not compare_digest(wanted[0], secret):
            raise NotFound("No such server is expected here.")
        try:
            there = await of_path(str(self.libvirtd if part == "libvirtd" else self._socket(server_id, part)))
        except OSError as error:
            raise BackendUnreachable("Nobody listens there.", detail=repr(error)) from None
        return await guarded(there, wanted[1]) if part == "libvirtd" else there

    def _place(self, secret: str) -> str:
        return msgspec.json.encode(Place(self.address, self.host, secret)).decode()

    # ---- to others

    async def fetch(self, disk_id: str, address: str, size_bytes: int, target: Path) -> None:
        place = place_of(address)
        stream = await self._client(place).open(DISK, disk_id, place.secret)
        try:
            with open(target, "wb", opener=private) as file:  # noqa: ASYNC230
                await sparse.take(stream.reader, file.fileno(), size_bytes)
        except ConnectionError as error:
            raise BackendUnreachable("The other host's disk did not come whole.", detail=repr(error)) from None
        finally:
            stream.close()

    async def way(self, server_id: str, address: str) -> Way:
        likeness = Likeness(self._client(place_of(address)), known(server_id), place_of(address).secret)
        await likeness.try_out()
        try:
            for part in get_args(Part):
                await likeness.at(self._socket(server_id, part), part)
        except BaseException as error:
            likeness.close()
            if isinstance(error, OSError):
                raise BackendRefused("This host cannot reach others.", detail=repr(error)) from None
            raise
        return Way(f"qemu+unix:///system?socket={SEEN / DAEMONS / server_id}", str(SEEN / SOCKETS), likeness.close)

    def _socket(self, server_id: str, part: Part) -> Path:
        """A destination's own, or its likeness on a source."""
        folder = self.daemons if part == "libvirtd" else self.sockets
        return Path(f"/proc/self/fd/{self.at[folder]}/{known(server_id)}{SUFFIXES[part]}")

    def _client(self, place: Place) -> GateClient:
        host, _, port = place.address.rpartition(":")
        return GateClient(host.strip("[]"), int(port), self.passport, self.now_us, place.host)


class Likeness:
    """A destination's sockets, here: who connects to one is carried to what it is the likeness of."""

    def __init__(self, client: GateClient, server_id: str, secret: str) -> None:
        self.client, self.server_id, self.secret = client, server_id, secret
        self.servers: list[tuple[asyncio.Server, Path]] = []
        self.carrying: set[asyncio.Task[None]] = set()

    async def try_out(self) -> None:
        """Whether the destination is reached, before libvirt tries and says less. Raises: BackendRefused."""
        try:
            (await self.client.open(ARRIVAL, self.server_id, self.secret, "libvirtd")).close()
        except BackendUnreachable as error:
            raise BackendRefused(f"The destination is not reached: {error.message}", detail=error.detail) from None

    async def at(self, path: Path, part: Part) -> None:
        """Raises: OSError."""

        async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            self.carrying.add(task)
            here = Stream(reader, writer)
            try:
                await splice(here, await self.client.open(ARRIVAL, self.server_id, self.secret, part))
            except Failure as failure:
                log.warning("a server on its way: its %s is not reached: %s", part, failure.message)
            except asyncio.CancelledError:
                pass  # the move has ended
            finally:
                here.close()
                self.carrying.discard(task)

        path.unlink(missing_ok=True)  # noqa: ASYNC240
        self.servers.append((await asyncio.start_unix_server(carry, path), path))

    def close(self) -> None:
        for server, path in self.servers:
            server.close()
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
        for task in self.carrying:
            task.cancel()


async def guarded(libvirtd: Stream, expected: Expected) -> Stream:
    """The same, for one who may say no more than a migration takes."""

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await until_one_ends(pass_on(reader, libvirtd.writer, expected), copy(libvirtd.reader, writer))
        finally:
            libvirtd.close()

    return await spoken(speak)


def place_of(address: str) -> Place:
    """Raises: BackendRefused."""
    try:
        place = msgspec.json.decode(address, type=Place)
        if place.address.rpartition(":")[2].isdecimal():
            return place
    except msgspec.MsgspecError:
        pass
    raise BackendRefused("The other host cannot be reached from here.")


def private(path: str, flags: int) -> int:
    """An opener: what root writes nobody else reads, and no link is followed."""
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)
