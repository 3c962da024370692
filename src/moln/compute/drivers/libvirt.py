"""Servers as libvirt domains: KVM where the CPU has it, else QEMU's emulation."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import socket
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import libvirt
from msgspec import Struct

from moln.compute.drivers import console, host, strays
from moln.compute.drivers import libvirt_domains as domains
from moln.compute.drivers.base import Card, ConsoleKind, Disk, Inventory, Plugger, ServerSpec, ServerState, WantedPower
from moln.compute.drivers.disks import DiskFolder, said
from moln.compute.drivers.domain_xml import CONSOLE_LOG, NAME_PREFIX, Look, card_element, disk_element, domain_xml
from moln.compute.drivers.libvirt_disks import LibvirtDisks
from moln.compute.drivers.libvirt_link import LibvirtLink
from moln.compute.drivers.libvirt_memory import MEMORY_S, LibvirtMemory
from moln.compute.drivers.libvirt_moves import LibvirtMoves, Sent
from moln.compute.drivers.reach import Reach
from moln.compute.model.facts import HostFacts
from moln.compute.model.iso9660 import iso_image
from moln.kernel.errors import BackendRefused, BackendUnreachable
from moln.kernel.files import known
from moln.kernel.link.streams import Stream, of_path, of_socket

if TYPE_CHECKING:
    from moln.compute.drivers.rbd_disks import RbdDisks
    from moln.kernel.rbd import RbdPool

R = TypeVar("R")
log = logging.getLogger("moln.compute")
CONFIG_DRIVE = "config"  # the id of a config drive among a server's disks
HELD = "held"  # a file that says: this guest stands still for a snapshot. Should we die meanwhile, tell_all lets it go on
COPY_S = 3600.0
UNPLUG_TRIES = 6  # a guest that is still booting does not hear the first
UNPLUG_WAIT_S = 5.0


class LibvirtSettings(Struct, frozen=True):
    """uri: of libvirtd. home: this driver's folder. pool: where `disks` lie. images: the image cache.

    virt_type: `auto` takes kvm where it works. reach: how other hosts reach this one; None, where no server moves. rbd: where disks lie in Ceph.
    cache: QEMU's disk cache mode (`unsafe` only for tests). offloads: False on OVS's userspace datapath.
    """

    uri: str
    home: Path
    pool: Path
    images: Path
    hostname: str = ""
    virt_type: str = "auto"
    cache: str = "none"
    offloads: bool = True
    emulator: str = "/usr/bin/qemu-system-x86_64"
    reach: Reach | None = None
    rbd: RbdPool | None = None


class LibvirtDriver(LibvirtMemory, LibvirtDisks, LibvirtMoves):
    """ComputeDriver, Snapshots, Consoles and what its bases add. Verbs on one server take turns; its power is not told while one is at work."""

    def __init__(self, settings: LibvirtSettings, plugger: Plugger) -> None:
        self.settings = settings
        self.plugger = plugger
        self.kvm = host.kvm_works() if settings.virt_type == "auto" else settings.virt_type == "kvm"
        self.look = Look(self.kvm, settings.emulator, cache=settings.cache, offloads=settings.offloads)
        self.files: DiskFolder | RbdDisks = DiskFolder(settings.pool, settings.images)
        if settings.rbd is not None:
            self.keep_in_ceph(settings.rbd)
        self.servers = settings.home / "servers"
        self.link = LibvirtLink(settings.uri, self.heard, self.connected)
        self.turns: dict[str, asyncio.Lock] = {}
        self.users: dict[str, int] = {}
        self.news: dict[str, asyncio.Event] = {}
        self.listeners: list[Callable[[ServerState], None]] = []
        self.tasks: set[asyncio.Task[None]] = set()
        self.serials: dict[str, Stream] = {}
        self.sent: dict[str, Sent] = {}

    async def start(self) -> None:
        def prepare() -> None:
            self.files.prepare()
            self.servers.mkdir(parents=True, exist_ok=True)
            os.chmod(self.servers, 0o711)

        await self.blocking(prepare)
        await self.link.start()

    async def stop(self) -> None:
        self.files.stop()
        for task in self.tasks:
            task.cancel()
        await self.link.stop()

    # ---- disks and drives

    async def ensure_config_drive(self, server_id: str, files: dict[str, bytes]) -> None:
        path = self.config_path(server_id)

        def write() -> None:
            image = iso_image(files, "config-2")
            self.ensure_folder(server_id)
            hidden = path.with_suffix(".new")
            hidden.write_bytes(image)
            hidden.chmod(0o644)  # QEMU runs as a user of its own
            hidden.replace(path)

        async with self.turn(server_id):
            await self.blocking(write)

    async def ensure_image_data(self, image_id: str, server_id: str, disk_id: str) -> int:
        def still(connection: libvirt.virConnect, copy: Callable[[], None]) -> None:
            """No reflinks here: the guest stands still while its disk is copied."""
            if not domains.is_running(connection, server_id):
                copy()
                return
            marker = self.folder(server_id) / HELD
            marker.touch()
            domains.set_paused(connection, server_id, True)
            try:
                copy()
            finally:
                domains.set_paused(connection, server_id, False)
                marker.unlink(missing_ok=True)

        def export(connection: libvirt.virConnect) -> int:
            try:
                return self.files.export(image_id, disk_id, lambda copy: still(connection, copy))
            except OSError as error:
                raise said(error) from error

        async with self.turn(server_id):
            return await self.link.call(export, timeout_s=COPY_S)

    # ---- servers

    async def ensure_server(self, spec: ServerSpec, power: WantedPower, grace_s: float = 0) -> None:
        async with self.turn(spec.id):
            state = await self.link.call(domains.find_state, spec.id)
            if state is not None and state.generation > spec.generation:
                raise BackendRefused("The host knows a newer generation of this server.", detail=str(state.generation))
            if power == "stopped":
                await self.define(spec)
                await self.power_off(spec.id, grace_s)
            elif state is None or state.power in ("stopped", "crashed"):
                await self.boot(spec, paused=power == "paused")
            else:
                await self.define(spec)
                await self.match_devices(spec)
                await self.link.call(domains.set_paused, spec.id, power == "paused")

    async def reboot_server(self, spec: ServerSpec, grace_s: float = 0) -> None:
        async with self.turn(spec.id):
            await self.power_off(spec.id, grace_s)
            await self.boot(spec, paused=False)

    async def remove_server(self, server_id: str) -> None:
        async with self.turn(server_id):
            cards = await self.blocking(self.remembered_cards, server_id)
            held = await self.link.call(domains.remove, server_id)
            for port_id in {*cards, *(held.cards if held else ())}:
                await self.plugger.ensure_unplugged(port_id)
            await self.blocking(shutil.rmtree, self.folder(server_id), True)
            self.serials.pop(server_id, None)
            self.sent.pop(server_id, None)
            self.expect_no_more(server_id)

    async def define(self, spec: ServerSpec) -> None:
        folder = await self.blocking(self.ensure_folder, spec.id)
        drive = str(self.config_path(spec.id)) if spec.config_drive else None
        await self.unlock(spec.disks)
        await self.link.call(domains.define, domain_xml(spec, self.look, folder, drive))

    async def boot(self, spec: ServerSpec, paused: bool, memory: bool = False) -> None:
        """Taps first, then the domain anew (no stale XML survives a stop), then its start. memory: it runs on from what was kept of it."""
        times = [time.monotonic()]
        for card in spec.cards:
            await self.blocking(self.remember_card, spec.id, card.port_id)
            await self.plugger.ensure_plugged(card.port_id, card.mtu)
        times.append(time.monotonic())
        await self.define(spec)
        times.append(time.monotonic())
        await self.link.call(domains.start, spec.id, paused, memory, timeout_s=MEMORY_S if memory else None)
        times.append(time.monotonic())
        plugged, defined, started = (round((end - begin) * 1000) for begin, end in pairwise(times))
        log.info("server %s runs: plug %d ms, define %d ms, QEMU %d ms", spec.id, plugged, defined, started)

    async def power_off(self, server_id: str, grace_s: float) -> None:
        """Ask, wait, cut."""
        if grace_s > 0:
            await self.link.call(domains.ask_to_shut_down, server_id)
            if await self.wait(server_id, grace_s, domains.is_off, server_id):
                return
        await self.link.call(domains.cut_power, server_id)

    async def match_devices(self, spec: ServerSpec) -> None:
        """Plug in and pull out, until a running server has what its spec names."""
        live = await self.link.call(domains.held, spec.id)
        for disk in spec.disks:
            if disk.id not in live.disks:
                await self.plug_disk(spec.id, disk)
        for card in spec.cards:
            if card.port_id not in live.cards:
                await self.plug_card(spec.id, card)
        for disk_id in set(live.disks) - {disk.id for disk in spec.disks} - {CONFIG_DRIVE}:
            await self.unplug(spec.id, "disks", disk_id)
        for port_id in set(live.cards) - {card.port_id for card in spec.cards}:
            await self.unplug(spec.id, "cards", port_id)
            await self.plugger.ensure_unplugged(port_id)

    # ---- devices

    async def attach_disk(self, server_id: str, disk: Disk) -> None:
        async with self.turn(server_id):
            await self.plug_disk(server_id, disk)

    async def detach_disk(self, server_id: str, disk_id: str) -> None:
        async with self.turn(server_id):
            await self.unplug(server_id, "disks", disk_id)

    async def attach_card(self, server_id: str, card: Card) -> None:
        async with self.turn(server_id):
            await self.plug_card(server_id, card)

    async def detach_card(self, server_id: str, port_id: str) -> None:
        async with self.turn(server_id):
            await self.unplug(server_id, "cards", port_id)
            await self.plugger.ensure_unplugged(port_id)

    async def plug_disk(self, server_id: str, disk: Disk) -> None:
        await self.unlock([disk])
        await self.link.call(domains.plug, server_id, "disks", disk.id, disk_element(disk, self.look))

    async def plug_card(self, server_id: str, card: Card) -> None:
        await self.link.call(domains.get, server_id)
        await self.blocking(self.remember_card, server_id, card.port_id)
        await self.plugger.ensure_plugged(card.port_id, card.mtu)
        await self.link.call(domains.plug, server_id, "cards", card.port_id, card_element(card, self.look))

    async def unplug(self, server_id: str, kind: domains.Kind, id: str) -> None:
        """Out of the definition at once; out of the running guest when it lets go. Raises: BackendUnreachable, if it never does."""
        await self.link.call(domains.forget_device, server_id, kind, id)
        for _ in range(UNPLUG_TRIES):
            await self.link.call(domains.ask_to_unplug, server_id, kind, id)
            if await self.wait(server_id, UNPLUG_WAIT_S, domains.is_unplugged, server_id, kind, id):
                return
        raise BackendUnreachable("The guest did not let go of the device.", detail=f"{server_id} {kind} {id}")

    async def resize_attached_disk(self, server_id: str, disk_id: str, size_bytes: int) -> None:
        async with self.turn(server_id):
            await self.link.call(domains.resize_disk, server_id, disk_id, size_bytes)

    # ---- looking

    async def console_output(self, server_id: str, lines: int | None = None) -> str:
        return await self.blocking(console.tail, self.folder(server_id) / CONSOLE_LOG, lines)

    async def open_console(self, server_id: str, kind: ConsoleKind) -> Stream:
        if kind == "vnc":
            return await of_socket(socket.socket(fileno=await self.link.call(domains.open_screen, known(server_id))))
        path = await self.link.call(domains.serial_socket, known(server_id))
        if had := self.serials.pop(server_id, None):
            had.close()  # QEMU serves one at a time
        try:
            stream = self.serials[server_id] = await of_path(path)
        except OSError as error:
            raise BackendUnreachable("The server's serial port does not answer.", detail=str(error)) from error
        return stream

    async def list_servers(self) -> list[ServerState]:
        return await self.link.call(domains.list_states)

    async def find_server(self, server_id: str) -> ServerState | None:
        return await self.link.call(domains.find_state, known(server_id))

    async def host_facts(self) -> HostFacts:
        room = await self.blocking(self.files.room)
        return await self.link.call(host.facts, self.settings.hostname, self.kvm, room)

    async def inventory(self) -> Inventory:
        servers = tuple(sorted(state.id for state in await self.list_servers()))
        ports = await self.plugger.plugged()
        found = await self.link.call(strays.domains) + await self.blocking(self.files.strays) + strays.taps(ports)
        disks, folders = await self.blocking(self.files.ids), await self.blocking(os.listdir, self.servers)
        return Inventory(servers, disks, ports, tuple(sorted(folders)), tuple(sorted(found)))

    def on_power_change(self, listener: Callable[[ServerState], None]) -> None:
        self.listeners.append(listener)

    # ---- news

    def heard(self, name: str) -> None:
        """An event of a domain: wake who waits for it, and tell its power unless one of our own verbs is at work on it."""
        server_id = name.removeprefix(NAME_PREFIX)
        if server_id in self.news:
            self.news[server_id].set()
        if name.startswith(NAME_PREFIX) and server_id not in self.users:
            self.spawn(self.tell(server_id))

    def connected(self) -> None:
        self.spawn(self.tell_all())

    async def tell(self, server_id: str) -> None:
        with contextlib.suppress(BackendUnreachable, BackendRefused):
            state = await self.find_server(server_id)
            if state is not None and server_id not in self.users:
                if state.power != "stopped":
                    self.expect_no_more(server_id)  # it has arrived
                for listener in self.listeners:
                    listener(state)

    async def tell_all(self) -> None:
        """After an outage: let go of guests that a snapshot of ours still held, and tell every power state."""
        with contextlib.suppress(BackendUnreachable, BackendRefused):
            for state in await self.list_servers():
                marker = self.folder(state.id) / HELD
                if marker.exists() and state.id not in self.users:
                    await self.link.call(domains.set_paused, state.id, False)
                    marker.unlink(missing_ok=True)
                await self.tell(state.id)

    def spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    @asynccontextmanager
    async def turn(self, id: str) -> AsyncIterator[None]:
        """One verb at a time for each server; afterwards its power is told."""
        known(id)
        self.users[id] = self.users.get(id, 0) + 1
        try:
            async with self.turns.setdefault(id, asyncio.Lock()):
                yield
        finally:
            self.users[id] -= 1
            if not self.users[id]:
                del self.users[id], self.turns[id]
                if self.link.connection is not None:
                    self.spawn(self.tell(id))

    async def wait(self, server_id: str, timeout_s: float, done: Callable[..., bool], *args: object) -> bool:
        """Whether `done` came true in time; asked again at each event of the server (and each second, should one be lost)."""
        news = self.news[server_id] = asyncio.Event()
        end = time.monotonic() + timeout_s
        try:
            while not await self.link.call(done, *args):
                left = end - time.monotonic()
                if left <= 0:
                    return False
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(news.wait(), min(left, 1.0))
                news.clear()
            return True
        finally:
            self.news.pop(server_id, None)

    # ---- files

    def folder(self, server_id: str) -> Path:
        return self.servers / known(server_id)

    def ensure_folder(self, server_id: str) -> Path:
        folder = self.folder(server_id)
        folder.mkdir(mode=0o711, exist_ok=True)  # QEMU's user passes through, and lists nothing
        return folder

    def config_path(self, server_id: str) -> Path:
        return self.folder(server_id) / "config.iso"

    def remember_card(self, server_id: str, port_id: str) -> None:
        """Written before the tap is made, so that removing the server finds it whatever happened in between."""
        ports = self.ensure_folder(server_id) / "ports"
        ports.mkdir(mode=0o700, exist_ok=True)
        (ports / known(port_id)).touch()

    def remembered_cards(self, server_id: str) -> list[str]:
        ports = self.folder(server_id) / "ports"
        return os.listdir(ports) if ports.exists() else []

    async def blocking(self, work: Callable[..., R], *args: object) -> R:
        try:
            return await asyncio.to_thread(work, *args)
        except OSError as error:
            raise said(error) from error
