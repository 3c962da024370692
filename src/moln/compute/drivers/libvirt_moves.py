"""Servers moved between libvirt hosts: disks of stopped ones, running ones from libvirtd to libvirtd (peer to peer), disks included.

How the hosts reach one another is the affair of a Reach (reach.py). What the node forgets when it dies, libvirt knows: whether a server is
being sent, and whether it is still here.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import libvirt
import msgspec
from msgspec import Struct

from moln.compute.drivers import libvirt_domains as domains
from moln.compute.drivers.base import ServerSpec
from moln.compute.drivers.disks import DiskFolder, said
from moln.compute.drivers.domain_moves import moved_domain, targets_of
from moln.compute.drivers.moves import DiskOffer, Sending, Target
from moln.compute.drivers.reach import Reach, Way
from moln.compute.model.migrations import Progress
from moln.kernel import files
from moln.kernel.errors import BackendRefused, BackendUnreachable
from moln.kernel.files import known

if TYPE_CHECKING:
    from moln.compute.drivers.libvirt import LibvirtDriver

log = logging.getLogger("moln.compute")
END_S = 60.0  # seconds that libvirt may take to end a move that was cancelled
SHARED = "shared:"  # how the address begins of a disk that needs no fetching
FOLLOW_S = 1.0  # seconds that a look at a move under way waits for its end
ANY_DOWNTIME_MS = 1_000_000
FLAGS = (
    libvirt.VIR_MIGRATE_LIVE | libvirt.VIR_MIGRATE_PEER2PEER | libvirt.VIR_MIGRATE_PERSIST_DEST | libvirt.VIR_MIGRATE_UNDEFINE_SOURCE
    | libvirt.VIR_MIGRATE_ABORT_ON_ERROR | libvirt.VIR_MIGRATE_AUTO_CONVERGE
)  # fmt: skip


class Arrival(Struct, frozen=True):
    """What a source must know of its destination. reach: the way there, in words of its Reach. folder: of the server there; drive: its config
    drive's path there."""

    reach: str
    folder: str
    drive: str | None


class Sent(Struct):
    """A move from here. done: set when libvirt's call ended; error: what it said, "" for success."""

    id: str
    done: asyncio.Event
    error: str = ""


class LibvirtMoves:
    """Moves, for LibvirtDriver to have."""

    sent: dict[str, Sent]

    # ---- disks of servers that are off

    async def offer_disk(self: LibvirtDriver, disk_id: str) -> DiskOffer:  # type: ignore[misc]
        reach = self._reach()
        async with self.turn(disk_id):
            size = await self.blocking(self.files.size, disk_id)
            if isinstance(self.files, DiskFolder):
                return DiskOffer(disk_id, size, await reach.offer(disk_id, self.files.path(disk_id)))
            return DiskOffer(disk_id, size, SHARED + self.files.shared)

    async def withdraw_disk(self: LibvirtDriver, disk_id: str) -> None:  # type: ignore[misc]
        async with self.turn(disk_id):
            if self.settings.reach is not None and isinstance(self.files, DiskFolder):
                await self.settings.reach.withdraw(disk_id)

    async def fetch_disk(self: LibvirtDriver, offer: DiskOffer) -> None:  # type: ignore[misc]
        reach = self._reach()
        if not isinstance(self.files, DiskFolder) or offer.address.startswith(SHARED):
            await self._check_shared(offer)
            return
        path = self.files.path(offer.id)
        async with self.turn(offer.id):
            hidden = path.with_name(f"{files.TEMP_PREFIX}{path.name}-fetched")
            try:
                await reach.fetch(offer.id, offer.address, offer.size_bytes, hidden)
                await self.blocking(_settle, hidden, path, offer.size_bytes)
            except OSError as error:
                raise said(error) from error
            finally:
                hidden.unlink(missing_ok=True)

    async def _check_shared(self: LibvirtDriver, offer: DiskOffer) -> None:  # type: ignore[misc]
        """The disk is where both hosts reach it: there is nothing to fetch. Raises: BackendRefused, when it is not."""
        if isinstance(self.files, DiskFolder) or offer.address != SHARED + self.files.shared:
            raise BackendRefused("The two hosts do not keep their disks in the same place: the server cannot move between them.")
        await self.blocking(self.files.size, offer.id)

    # ---- running servers

    async def await_server(self: LibvirtDriver, spec: ServerSpec) -> str:  # type: ignore[misc]
        reach = self._reach()
        async with self.turn(spec.id):
            folder = await self.blocking(self.ensure_folder, spec.id)
            for card in spec.cards:
                await self.blocking(self.remember_card, spec.id, card.port_id)
                await self.plugger.ensure_plugged(card.port_id, card.mtu)
            await self.unlock(spec.disks)
            drive = str(self.config_path(spec.id)) if spec.config_drive else None
            shared = {self.look.rbd.conf} if self.look.rbd and any(disk.protocol == "rbd" for disk in spec.disks) else ()
            paths = [*shared, *(disk.path for disk in spec.disks), *([drive] if drive else [])]
            return msgspec.json.encode(Arrival(await reach.expect(spec.id, folder, paths), str(folder), drive)).decode()

    async def send_server(self: LibvirtDriver, spec: ServerSpec, target: Target) -> None:  # type: ignore[misc]
        reach, arrival = self._reach(), msgspec.json.decode(target.address, type=Arrival)
        async with self.turn(spec.id):
            had = self.sent.get(spec.id)
            if had is not None and had.id == target.id:
                return
            way = await reach.way(spec.id, arrival.reach)
            try:
                plan = await self.link.call(_plan, spec, target, arrival, way)
            except BaseException:
                way.close()
                raise
            if plan is None:  # it was begun before this node was
                way.close()
                return
            sent = self.sent[spec.id] = Sent(target.id, asyncio.Event())
            _send(asyncio.get_running_loop(), sent, plan, way)

    async def follow_server(self: LibvirtDriver, server_id: str, target_id: str) -> Sending:  # type: ignore[misc]
        sent = self.sent.get(known(server_id))
        if sent is not None and sent.id == target_id:
            with suppress(TimeoutError):
                await asyncio.wait_for(sent.done.wait(), FOLLOW_S)
            if sent.done.is_set():
                return Sending("failed", sent.error) if sent.error else Sending("done")
        there, sending, progress = await self.link.call(_how_far, server_id)
        if sending and sent is None:  # begun by a node before this one: nobody will tell us of its end
            await asyncio.sleep(FOLLOW_S)
        if sending or sent is not None and sent.id == target_id:
            return Sending("running", progress=progress)
        return Sending("idle" if there else "absent")

    async def hurry_server(self: LibvirtDriver, server_id: str) -> None:  # type: ignore[misc]
        await self.link.call(_hurry, known(server_id))

    async def keep_server(self: LibvirtDriver, server_id: str) -> bool:  # type: ignore[misc]
        await self.link.call(_cancel, known(server_id))
        sent = self.sent.get(server_id)
        if sent is not None:
            try:
                await asyncio.wait_for(sent.done.wait(), END_S)
            except TimeoutError:
                raise BackendUnreachable("The hypervisor does not end the move.") from None
            self.sent.pop(server_id, None)
        there, sending, _ = await self.link.call(_how_far, server_id)
        if sending:
            raise BackendUnreachable("The hypervisor does not end the move.")
        return bool(there)

    def expect_no_more(self: LibvirtDriver, server_id: str) -> None:  # type: ignore[misc]
        """Nobody may send this server here."""
        if self.settings.reach is not None:
            self.settings.reach.expect_no_more(server_id)

    def _reach(self: LibvirtDriver) -> Reach:  # type: ignore[misc]
        if self.settings.reach is None:
            raise BackendRefused("This host is its cloud's only machine: servers cannot move from or to it.")
        return self.settings.reach


class Plan(Struct, frozen=True):
    """What libvirt's call takes."""

    domain: Any
    parameters: dict[str, Any]
    flags: int


def _plan(connection: libvirt.virConnect, spec: ServerSpec, target: Target, arrival: Arrival, way: Way) -> Plan | None:
    """None where it is being sent already. Raises: BackendRefused, when it does not run."""
    domain = domains.get(connection, spec.id)
    if not domain.isActive():
        raise BackendRefused("The server does not run.")
    if _job(domain) is not None:
        return None
    now = domain.XMLDesc(libvirt.VIR_DOMAIN_XML_MIGRATABLE | libvirt.VIR_DOMAIN_XML_SECURE)
    later = domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE)
    folder, sockets = Path(arrival.folder), way.sockets
    parameters: dict[str, Any] = {
        libvirt.VIR_MIGRATE_PARAM_URI: f"unix://{sockets}/{spec.id}-m",
        libvirt.VIR_MIGRATE_PARAM_DEST_XML: moved_domain(now, spec, folder, arrival.drive),
        libvirt.VIR_MIGRATE_PARAM_PERSIST_XML: moved_domain(later, spec, folder, arrival.drive),
    }
    flags = FLAGS
    if copied := targets_of(now, target.disks):
        parameters[libvirt.VIR_MIGRATE_PARAM_MIGRATE_DISKS] = copied
        parameters[libvirt.VIR_MIGRATE_PARAM_DISKS_URI] = f"unix://{sockets}/{spec.id}-d"
        flags |= libvirt.VIR_MIGRATE_NON_SHARED_DISK
    if len(target.disks) < len(spec.disks):
        # Volumes stay where they are. libvirt does not see that both ends reach one file: the host that it lies on writes it, for either.
        flags |= libvirt.VIR_MIGRATE_UNSAFE
    return Plan(domain, parameters, flags)


def _send(loop: asyncio.AbstractEventLoop, sent: Sent, plan: Plan, way: Way) -> None:
    """libvirt's call takes as long as the move: in a thread of its own, which a node that ends does not wait for."""

    def ended(error: str) -> None:
        sent.error = error
        sent.done.set()
        way.close()

    def turn() -> None:
        error = ""
        try:
            plan.domain.migrateToURI3(way.uri, plan.parameters, plan.flags)
        except libvirt.libvirtError as failed:
            log.warning("a server was not sent: %s", failed)  # its text may name the host's paths
            error = f"The hypervisor did not send the server (libvirt's error {failed.get_error_code()})."
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(ended, error)

    threading.Thread(target=turn, name="libvirt-move", daemon=True).start()


def _job(domain: Any) -> dict[str, Any] | None:
    """What libvirt is doing to a domain for as long as a move; None, when nothing."""
    try:
        stats: dict[str, Any] = domain.jobStats()
    except libvirt.libvirtError:
        return None
    return None if stats.get("type", libvirt.VIR_DOMAIN_JOB_NONE) == libvirt.VIR_DOMAIN_JOB_NONE else stats


def _how_far(connection: libvirt.virConnect, server_id: str) -> tuple[bool, bool, Progress]:
    """(whether it is here and on, whether it is being sent, how far that is)."""
    domain = domains.find(connection, server_id)
    if domain is None:
        return False, False, Progress()
    stats = _job(domain)
    if stats is None:
        return True, False, Progress()
    names = ("memory_total", "memory_processed", "memory_remaining", "disk_total", "disk_processed", "disk_remaining")
    return True, True, Progress(*(int(stats.get(name, 0)) for name in names))


def _hurry(connection: libvirt.virConnect, server_id: str) -> None:
    """The guest may stand still for as long as the rest takes: the next round is the last."""
    domain = domains.find(connection, server_id)
    if domain is not None and _job(domain) is not None:
        with suppress(libvirt.libvirtError):  # it ended meanwhile
            domain.migrateSetMaxDowntime(ANY_DOWNTIME_MS)


def _cancel(connection: libvirt.virConnect, server_id: str) -> None:
    domain = domains.find(connection, server_id)
    if domain is not None and _job(domain) is not None:
        with suppress(libvirt.libvirtError):  # it ended meanwhile, or cannot be ended any more
            domain.abortJob()


def _settle(hidden: Path, path: Path, size_bytes: int) -> None:
    """The fetched bytes become the disk, durably and at once. Raises: BackendRefused, when they are not as many as was said."""
    fd = os.open(hidden, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        if os.fstat(fd).st_size != size_bytes:
            raise BackendRefused("The other host sent another size than it had told.")
        os.fchmod(fd, 0o600)
        os.fsync(fd)
    finally:
        os.close(fd)
    os.rename(hidden, path)
    files.sync_folder(path.parent)
