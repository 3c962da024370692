"""A hypervisor that only remembers: for simulation and tests. It behaves as libvirt's driver does, faults on order included.

With a state file it survives its process, as a real host's guests do.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from moln.compute.drivers.base import (
    Card,
    ConsoleKind,
    Disk,
    DiskFile,
    Inventory,
    Power,
    ServerSpec,
    ServerState,
    WantedPower,
)
from moln.compute.drivers.fake_consoles import FakeConsoles
from moln.compute.drivers.fake_disks import FakeDisks
from moln.compute.drivers.fake_memory import FakeMemory
from moln.compute.drivers.fake_moves import FakeMoves, Outgoing
from moln.compute.model.facts import HostFacts
from moln.kernel.errors import BackendRefused, BackendUnreachable
from moln.kernel.files import known
from moln.kernel.link.streams import Stream

GIB = 1 << 30
CONSOLE_BYTES = 64 << 10
QCOW2 = b"QFI\xfb"


class Fault(Struct):
    """What a verb does instead of its duty. times: how often. after: it does its duty first (the answer is what gets lost)."""

    kind: Literal["refused", "unreachable", "hangs"]
    message: str = "This fault was ordered."
    times: int = 1
    after: bool = False


class _Server(Struct, frozen=True):
    spec: ServerSpec
    power: Power = "stopped"
    console: str = ""
    boots: int = 0
    memory: bool = False  # whether it is kept, of one that was suspended


class _Kept:
    """Servers and disks by id; written through to SQLite where there is a file (a killed process loses nothing)."""

    def __init__(self, path: Path | None) -> None:
        self.db = sqlite3.connect(path or ":memory:", isolation_level=None, check_same_thread=False)
        self.db.executescript(
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF;"
            "CREATE TABLE IF NOT EXISTS kept (kind TEXT, id TEXT, value BLOB, PRIMARY KEY (kind, id)) WITHOUT ROWID"
        )
        self.servers: dict[str, _Server] = self._load("server", _Server)
        self.disks: dict[str, DiskFile] = self._load("disk", DiskFile)
        self.origins: dict[str, str] = self._load("origin", str)
        self.drives: dict[str, list[str]] = self._load("drive", list[str])
        self.outgoings: dict[str, Outgoing] = self._load("outgoing", Outgoing)

    def _load(self, kind: str, shape: Any) -> dict[str, Any]:
        decoder = msgspec.json.Decoder(shape)
        rows = self.db.execute("SELECT id, value FROM kept WHERE kind = ?", (kind,))
        return {id: decoder.decode(value) for id, value in rows}

    def put(self, kind: str, id: str, value: Any) -> None:
        getattr(self, kind + "s")[id] = value
        self.db.execute("INSERT OR REPLACE INTO kept VALUES (?, ?, ?)", (kind, id, msgspec.json.encode(value)))

    def drop(self, kind: str, id: str) -> None:
        if getattr(self, kind + "s").pop(id, None) is not None:
            self.db.execute("DELETE FROM kept WHERE kind = ? AND id = ?", (kind, id))


class FakeCompute(FakeMemory, FakeDisks, FakeMoves):
    """ComputeDriver, Snapshots, Consoles and what its bases add. faults: by verb, consumed in order. deaf: servers whose guests ignore a shutdown or an unplug."""

    def __init__(
        self,
        hostname: str,
        state: Path | None = None,
        images: Path | None = None,
        *,
        vcpus: int = 64,
        ram_mib: int = 262144,
        disk_gib: int = 4096,
        peers: dict[str, FakeCompute] | None = None,
    ) -> None:
        self.hostname = hostname
        self.images = images
        self.vcpus, self.ram_mib, self.disk_gib = vcpus, ram_mib, disk_gib
        self.kept = _Kept(state)
        self.consoles = FakeConsoles()
        self.faults: dict[str, list[Fault]] = {}
        self.peers: dict[str, FakeCompute] = {} if peers is None else peers
        self.peers[hostname] = self
        self.shared_disks = ""  # as in HostFacts; whoever sets it gives such hosts the same `kept.disks`
        self.deaf: set[str] = set()
        self.offered: set[str] = set()
        self.busy: set[str] = set()
        self.looks_per_move = 1
        self.passwords: dict[tuple[str, str], str] = {}  # in guests, by server and user
        self.sizes: dict[tuple[str, str], int] = {}  # what running guests were told of attached disks that grew
        self.calls: list[str] = []
        self.listeners: list[Callable[[ServerState], None]] = []

    async def start(self) -> None:
        pass

    async def stop(self) -> None:
        self.consoles.cut_all()
        self.kept.db.close()

    # ---- disks

    async def ensure_disk(self, disk_id: str, size_gib: int, image_id: str | None = None) -> DiskFile:
        async with self._duty("ensure_disk"):
            if disk_id not in self.kept.disks:
                least = self._image_bytes(image_id) if image_id is not None else 0
                if size_gib and least > size_gib * GIB:
                    raise BackendRefused(f"The image has {-(-least // GIB)} GiB and does not fit into {size_gib} GiB.")
                if image_id is not None:
                    self.kept.put("origin", disk_id, image_id)
                path = f"/simulated/{self.hostname}/disks/{known(disk_id)}"
                self.kept.put("disk", disk_id, DiskFile(disk_id, path, max(least, size_gib * GIB)))
        return self.kept.disks[disk_id]

    def _image_bytes(self, image_id: str) -> int:
        if self.images is None:
            return 0
        try:
            return os.stat(self.images / "base" / known(image_id)).st_size
        except FileNotFoundError:
            raise BackendRefused(f"Image {image_id} is not on this host.") from None

    async def remove_disk(self, disk_id: str) -> None:
        async with self._duty("remove_disk"):
            self.kept.drop("disk", disk_id)
            self.kept.drop("origin", disk_id)

    async def ensure_config_drive(self, server_id: str, files: dict[str, bytes]) -> None:
        async with self._duty("ensure_config_drive"):
            self.kept.put("drive", known(server_id), sorted(files))

    async def ensure_image_data(self, image_id: str, server_id: str, disk_id: str) -> int:
        async with self._duty("ensure_image_data"):
            if disk_id not in self.kept.disks:
                raise BackendRefused("The host has no such disk or image.")
            if self.images is None:
                return self.kept.disks[disk_id].size_bytes
            target = self.images / "incoming" / known(image_id)
            origin = self.kept.origins.get(disk_id)
            base = self.images / "base" / origin if origin else None
            data = base.read_bytes() if base and base.exists() else b""  # a disk outlives the image that it began as
            if not data or data.startswith(QCOW2):  # a simulated base is the upload as it came, a disk is raw
                data = bytes(1 << 20)
            if not target.exists():
                hidden = target.with_name(f".tmp-{target.name}")
                hidden.write_bytes(data)
                hidden.replace(target)
        return len(data)

    # ---- servers

    async def ensure_server(self, spec: ServerSpec, power: WantedPower, grace_s: float = 0) -> None:
        async with self._duty("ensure_server"):
            self._check_generation(spec)
            had = self.kept.servers.get(known(spec.id))
            was: Power = had.power if had else "stopped"
            server = replace(had, spec=spec) if had else _Server(spec)
            self.kept.put("server", spec.id, server)
            if power != "stopped" and was in ("stopped", "crashed"):
                self._boot(spec.id)
            self._power(spec.id, power)

    def _check_generation(self, spec: ServerSpec) -> None:
        had = self.kept.servers.get(spec.id)
        if had and had.spec.generation > spec.generation:
            raise BackendRefused("The host knows a newer generation of this server.")

    async def reboot_server(self, spec: ServerSpec, grace_s: float = 0) -> None:
        async with self._duty("reboot_server"):
            self._check_generation(spec)
            self.kept.put("server", spec.id, replace(self.kept.servers.get(spec.id, _Server(spec)), spec=spec))
            self._boot(spec.id)
            self._power(spec.id, "running")

    async def remove_server(self, server_id: str) -> None:
        async with self._duty("remove_server"):
            self.consoles.cut(server_id)
            for kind in ("server", "drive", "outgoing"):
                self.kept.drop(kind, known(server_id))

    def _boot(self, server_id: str) -> None:
        self.consoles.cut(server_id)
        server = self.kept.servers[server_id]
        source = "configdrive" if server.spec.config_drive and server_id in self.kept.drives else "http"
        line = f"GUEST: boot {server.boots + 1}\nGUEST: metadata source={source} uuid={server_id}\nGUEST: READY\n"
        self.kept.put("server", server_id, replace(server, boots=server.boots + 1, memory=False))
        self.write_console(server_id, line)

    def _power(self, server_id: str, power: Power) -> None:
        server = self.kept.servers[server_id]
        self.kept.put("server", server_id, replace(server, power=power))
        if power not in ("running", "paused"):
            self.consoles.cut(server_id)
        for listener in self.listeners:
            asyncio.get_running_loop().call_soon(listener, ServerState(server_id, power, server.spec.generation))

    # ---- devices

    async def attach_disk(self, server_id: str, disk: Disk) -> None:
        async with self._duty("attach_disk"):
            spec = self._get(server_id).spec
            self._change(server_id, disks=(*(had for had in spec.disks if had.id != disk.id), disk))

    async def detach_disk(self, server_id: str, disk_id: str) -> None:
        async with self._duty("detach_disk"):
            if server_id in self.kept.servers:
                self._hear(server_id)
                spec = self._get(server_id).spec
                self._change(server_id, disks=tuple(had for had in spec.disks if had.id != disk_id))

    async def attach_card(self, server_id: str, card: Card) -> None:
        async with self._duty("attach_card"):
            spec = self._get(server_id).spec
            self._change(server_id, cards=(*(had for had in spec.cards if had.port_id != card.port_id), card))

    async def detach_card(self, server_id: str, port_id: str) -> None:
        async with self._duty("detach_card"):
            if server_id in self.kept.servers:
                self._hear(server_id)
                spec = self._get(server_id).spec
                self._change(server_id, cards=tuple(had for had in spec.cards if had.port_id != port_id))

    async def resize_attached_disk(self, server_id: str, disk_id: str, size_bytes: int) -> None:
        async with self._duty("resize_attached_disk"):
            self.sizes[server_id, disk_id] = size_bytes

    def _get(self, server_id: str) -> _Server:
        if server_id not in self.kept.servers:
            raise BackendRefused("There is no such server on this host.")
        return self.kept.servers[server_id]

    def _hear(self, server_id: str) -> None:
        if server_id in self.deaf and self._get(server_id).power == "running":
            raise BackendUnreachable("The guest did not let go of the device.")

    def _change(self, server_id: str, **fields: Any) -> None:
        server = self._get(server_id)
        self.kept.put("server", server_id, replace(server, spec=replace(server.spec, **fields)))

    # ---- looking

    async def console_output(self, server_id: str, lines: int | None = None) -> str:
        async with self._duty("console_output"):
            server = self.kept.servers.get(server_id)
            text = server.console if server else ""
        if lines is None:
            return text
        return "".join(text.splitlines(keepends=True)[-lines:]) if lines > 0 else ""

    async def open_console(self, server_id: str, kind: ConsoleKind) -> Stream:
        async with self._duty("open_console"):
            if self._get(server_id).power not in ("running", "paused"):
                raise BackendRefused("The server does not run.")
            return await self.consoles.connect(server_id, kind)

    async def list_servers(self) -> list[ServerState]:
        async with self._duty("list_servers"):
            return [ServerState(id, server.power, server.spec.generation) for id, server in self.kept.servers.items()]

    async def find_server(self, server_id: str) -> ServerState | None:
        async with self._duty("find_server"):
            server = self.kept.servers.get(server_id)
        return ServerState(server_id, server.power, server.spec.generation) if server else None

    async def host_facts(self) -> HostFacts:
        async with self._duty("host_facts"):
            ram = sum(server.spec.ram_mib for server in self.kept.servers.values() if server.power == "running")
            disk = sum(disk.size_bytes for disk in self.kept.disks.values()) // GIB
        return HostFacts(
            hostname=self.hostname,
            hypervisor_type="fake",
            version=1_000_000,
            arch="x86_64",
            vcpus=self.vcpus,
            ram_mib=self.ram_mib,
            ram_used_mib=512 + ram,
            disk_gib=self.disk_gib,
            disk_free_gib=max(0, self.disk_gib - disk),
            cpu_info={"arch": "x86_64", "model": "Simulated", "vendor": "Moln", "topology": {"sockets": 1}, "features": []},
            accelerated=False,
            uptime_s=1,
            load=(0.0, 0.0, 0.0),
            reflink=True,
            shared_disks=self.shared_disks,
        )

    async def inventory(self) -> Inventory:
        async with self._duty("inventory"):
            ports = {card.port_id for server in self.kept.servers.values() for card in server.spec.cards}
        return Inventory(tuple(sorted(self.kept.servers)), tuple(sorted(self.kept.disks)), tuple(sorted(ports)))

    def on_power_change(self, listener: Callable[[ServerState], None]) -> None:
        self.listeners.append(listener)

    # ---- what a test does to the host

    def happen(self, server_id: str, power: Power) -> None:
        """The guest does it by itself: shuts down, or its QEMU is killed (`crashed`)."""
        self._power(server_id, power)

    def write_console(self, server_id: str, text: str) -> None:
        """The guest says something on its serial console."""
        server = self.kept.servers[server_id]
        self.kept.put("server", server_id, replace(server, console=(server.console + text)[-CONSOLE_BYTES:]))

    def spec_of(self, server_id: str) -> ServerSpec:
        """What the host would run."""
        return self._get(server_id).spec

    def drive_of(self, server_id: str) -> list[str]:
        """The names on its config drive."""
        return self.kept.drives.get(server_id, [])

    def _duty(self, verb: str) -> _Duty:
        self.calls.append(verb)
        del self.calls[:-10_000]
        return _Duty(self, verb)


class _Duty:
    """Around each verb: lets the loop turn once, and lets an ordered fault happen before or after it."""

    def __init__(self, driver: FakeCompute, verb: str) -> None:
        self.driver = driver
        self.verb = verb
        self.late: Fault | None = None

    async def __aenter__(self) -> None:
        await asyncio.sleep(0)
        ordered = self.driver.faults.get(self.verb, [])
        if not ordered:
            return
        fault = ordered[0]
        fault.times -= 1
        if fault.times <= 0:
            ordered.pop(0)
        if fault.after:
            self.late = fault
        else:
            await self.suffer(fault)

    async def __aexit__(self, kind: object, error: object, traceback: object) -> None:
        if self.late and error is None:
            await self.suffer(self.late)

    async def suffer(self, fault: Fault) -> None:
        if fault.kind == "refused":
            raise BackendRefused(fault.message)
        if fault.kind == "hangs":
            await asyncio.Event().wait()  # until the caller's deadline cancels us
        raise BackendUnreachable(fault.message)
