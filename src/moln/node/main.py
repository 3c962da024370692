"""Puts a node together: drivers, fences, the link to the controller, reports, and a watchdog."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import pwd
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from moln.compute.drivers.base import ComputeDriver, CrashDumps, DiskCopies, ServerState, Snapshots, Suspension
from moln.compute.drivers.consoles import streams_of
from moln.compute.drivers.guests import Guests
from moln.compute.drivers.libvirt import LibvirtDriver, LibvirtSettings
from moln.compute.drivers.libvirt_guests import LibvirtGuests
from moln.compute.drivers.moves import Moves
from moln.compute.drivers.reach import Reach
from moln.compute.model.facts import HostFacts
from moln.host import roles
from moln.host.clock import off_ms
from moln.host.places import INTEGRATION_BRIDGE, USER, Places
from moln.host.settings import NodeSettings
from moln.kernel.clock import Clock
from moln.kernel.errors import Failure
from moln.kernel.link import SocketEnd, Verbs
from moln.kernel.tracing import Tracer, tracer_of
from moln.network.drivers.node import NodeNetworkDriver
from moln.node import settings as node_settings
from moln.node.fences import DiskFences
from moln.node.metadata import MetadataService
from moln.node.ovsdb import Ovsdb, from_pairs
from moln.node.plug import Switch
from moln.node.streams import Serving, StreamServer
from moln.volume.drivers.base import Exports, VolumeDriver
from moln.volume.drivers.pool import PoolDriver

if TYPE_CHECKING:
    from moln.kernel.rbd import RbdPool

log = logging.getLogger("moln.node")
STATES_EVERY_S = 10.0
FACTS_EVERY_S = 60.0
STUCK_S = 150.0  # longer than libvirt's keepalive and any call's deadline take to end a call
RETRY_S = 0.5


class Switchboard(msgspec.Struct, frozen=True):
    """What Open vSwitch says of this host. node: the chassis name, by which the cloud knows us. userspace: its datapath."""

    node: str
    userspace: bool


async def read_switchboard(ovsdb: Ovsdb) -> Switchboard | None:
    """None while ovn-controller's configuration is not there."""
    with contextlib.suppress(Failure):
        (found,) = await ovsdb.transact({"op": "select", "table": "Open_vSwitch", "where": [], "columns": ["external_ids"]})
        ids = from_pairs(found["rows"][0]["external_ids"]) if found["rows"] else {}
        if "system-id" in ids:
            return Switchboard(ids["system-id"], ids.get("ovn-bridge-datapath-type") == "netdev")
    return None


async def find_switchboard(ovsdb: Ovsdb) -> Switchboard:
    """Ask until it is there: the database tells nobody who is not connected."""
    while True:
        if board := await read_switchboard(ovsdb):
            return board
        await asyncio.sleep(RETRY_S)


class Node:
    """One node of the cloud. home: the cloud's folder on this host."""

    def __init__(self, home: Path, clock: Clock | None = None) -> None:
        self.places = Places(home)
        self.clock = clock or Clock()
        self.folder = self.places.host / "node"
        self.facts: HostFacts | None = None
        self.tracer: Tracer | None = None
        self.streams: Serving
        self.ready = asyncio.Event()

    async def run(self) -> None:
        """Until cancelled."""
        self.folder.mkdir(mode=0o711, parents=True, exist_ok=True)
        ovsdb = Ovsdb(self.places.ovs_socket)
        board = await find_switchboard(ovsdb)
        await self.put_together(board, Switch(ovsdb, INTEGRATION_BRIDGE))
        try:
            await self.start()
            self.ready.set()
            async with asyncio.TaskGroup() as group:
                group.create_task((self.remote or self.end).run())
                group.create_task(self.tell_states())
                group.create_task(self.tell_facts())
                group.create_task(self.watch())
                if self.lending is not None:
                    group.create_task(self.lending.run())
        finally:
            await self.stop()

    async def put_together(self, board: Switchboard, switch: Switch) -> None:
        """Drivers and fences, and what others reach them by. Raises: Failure."""
        chosen = node_settings.load(self.places.settings)
        rbd = node_settings.rbd_pool(chosen.disks)
        self.tracer = tracer_of(node_settings.load_tracing(self.places.settings), "moln-node", board.node)
        self.remote = self.find_remote(board)
        self.moves = self.find_moves()
        between = self.moves and self.moves.between
        self.lending = self.moves.exports if self.moves and rbd is None else None  # what is in Ceph needs no lending
        self.compute = LibvirtDriver(self.libvirt_settings(board, chosen, between, rbd), switch)
        self.compute.link.tracer = self.tracer
        self.volumes = self.find_volumes(rbd)
        self.metadata = MetadataService(switch, self.folder / "metadata.json", self.places.run / "metadata.sock", proxy_user())
        self.fences = DiskFences(self.folder / "fences.db", self.clock.now_us)
        streams = streams_of(self.compute, self.fences, self.clock.now_us, between and between.openers)
        if between is not None:
            await asyncio.to_thread(between.prepare)
        if self.remote is not None:
            await self.remote.start(self.places)
            compute, volumes = self.remote.with_images(self.compute), self.remote.with_images(self.volumes)
            more = {**self.remote.drivers, "compute": (ComputeDriver, compute), "compute-snapshots": (Snapshots, compute),
                    "volume": (VolumeDriver, volumes)}  # fmt: skip
            self.end = self.remote.link(self.hello, self.verbs(more))
            self.streams = self.remote.serving(streams, between and between.openers)
        else:
            self.end = SocketEnd(self.places.run / "controller.sock", board.node, self.hello, self.verbs())
            self.streams = StreamServer(self.folder / "streams.sock", streams, proxy_user())

    async def start(self) -> None:
        """What the controller may ask for works from here on."""
        await self.volumes.start()
        if self.lending is not None:
            await self.lending.start()
        await self.compute.start()
        await self.compute.link.opened.wait()
        self.compute.on_power_change(lambda state: self.report("compute.power", [state]))
        self.facts = await self.find_facts()
        await self.start_metadata()
        await self.streams.start()
        if self.moves is not None and self.moves.server is not None:
            await self.moves.server.start()

    async def stop(self) -> None:
        """Also what start did not come to."""
        await self.streams.stop()
        if self.moves is not None and self.moves.server is not None:
            await self.moves.server.stop()
        await self.metadata.stop()
        if self.remote is not None:
            await self.remote.stop()
        await self.compute.stop()
        await self.volumes.stop()
        if self.lending is not None:
            await self.lending.stop()
        self.fences.close()
        if self.tracer:
            await asyncio.to_thread(self.tracer.close)

    def find_volumes(self, rbd: RbdPool | None) -> PoolDriver:
        root, images = self.places.pool, self.places.pool / "images"
        if rbd is None:
            return PoolDriver(root, images, lent=self.lending is not None)
        from moln.volume.drivers.rbd import RbdVolumes

        return RbdVolumes(rbd, root, images)

    def libvirt_settings(self, board: Switchboard, chosen: NodeSettings, between: Reach | None, rbd: RbdPool | None) -> LibvirtSettings:
        return LibvirtSettings(
            uri=self.places.libvirt_uri,
            home=self.folder,
            pool=self.places.pool,
            images=self.places.pool / "images",
            hostname=board.node,
            virt_type=chosen.virt_type,
            cache=chosen.disks.cache,
            offloads=not board.userspace,
            reach=between,
            rbd=rbd,
        )

    def find_remote(self, board: Switchboard) -> Any:
        """How the cloud of another machine is reached; None: the controller is on this one. Raises: Failure."""
        if not (self.folder / "member").is_dir():
            return None
        from moln.node.remote import joined

        found = joined(self.folder)
        if found is not None and found.name != board.node:
            raise Failure(f"This machine joined as node {found.name}, but Open vSwitch calls it {board.node} (system-id).")
        return found

    def find_moves(self) -> Any:
        """How servers move from and to other machines (moves.py); None: this one is alone."""
        if self.remote is None and not roles.read(self.places).serves_nodes:
            return None
        from moln.node.moves import moves_of

        return moves_of(self.places, self.remote, self.clock.now_us)

    def verbs(self, more: dict[str, tuple[type, Any]] | None = None) -> Verbs:
        """What the controller may ask for, by area."""
        return Verbs(
            {
                "compute": (ComputeDriver, self.compute),
                "compute-snapshots": (Snapshots, self.compute),
                "compute-suspension": (Suspension, self.compute),
                "compute-crash-dumps": (CrashDumps, self.compute),
                "compute-guests": (Guests, LibvirtGuests(self.compute.link, "kvm" if self.compute.kvm else "qemu")),
                "compute-disks": (DiskCopies, self.compute),
                "compute-moves": (Moves, self.compute),
                "network": (NodeNetworkDriver, self.metadata),
                "volume": (VolumeDriver, self.volumes),
                **({"volume-exports": (Exports, self.lending)} if self.lending is not None else {}),
                **(more or {}),
            },
            self.fences,
            self.clock.now_us,
            self.tracer,
        )

    def hello(self) -> dict[str, Any]:
        if not self.facts:
            return {}
        more = self.remote.facts() if self.remote is not None else {}
        return {"compute": msgspec.to_builtins(self.facts), "streams": self.streams.address, **more}

    async def start_metadata(self) -> None:
        """A network whose metadata cannot be served yet is tried again when the controller next says what it wants."""
        try:
            await self.metadata.start()
        except Failure as failure:
            log.warning("%s %s", failure.message, failure.detail or "")

    def report(self, topic: str, value: Any) -> None:
        self.end.report(topic, value)

    async def tell_states(self) -> None:
        """All power states, should an event have been lost."""
        while True:
            with contextlib.suppress(Failure):
                states: list[ServerState] = await self.compute.list_servers()
                self.report("compute.servers", states)
            await asyncio.sleep(STATES_EVERY_S)

    async def find_facts(self) -> HostFacts:
        """What the hypervisor offers, and how far off this machine's clock is."""
        return msgspec.structs.replace(await self.compute.host_facts(), clock_off_ms=await asyncio.to_thread(off_ms))

    async def tell_facts(self) -> None:
        while True:
            await asyncio.sleep(FACTS_EVERY_S)
            with contextlib.suppress(Failure):
                self.facts = await self.find_facts()
                self.report("compute.facts", self.facts)

    async def watch(self) -> None:
        """Die when every libvirt thread is stuck: the supervisor starts us anew, and guests notice nothing."""
        while True:
            await asyncio.sleep(STATES_EVERY_S)
            if self.compute.link.stuck_s() > STUCK_S:
                log.error("all threads to libvirt are stuck; ending, to be started anew")
                os._exit(70)


def proxy_user() -> str | None:
    """Whom the metadata proxy runs as: the cloud's own user, where set-up made one."""
    try:
        pwd.getpwnam(USER)
    except KeyError:
        return None
    return USER if os.geteuid() == 0 else None


async def serve(home: Path) -> None:
    """Run a node until SIGTERM or SIGINT."""
    node = Node(home)
    running = asyncio.create_task(node.run())
    telling = asyncio.create_task(tell_ready(node))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, running.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await running
    telling.cancel()


async def tell_ready(node: Node) -> None:
    """Write a line to whoever started us (MOLN_READY_FD), once libvirt and Open vSwitch are there."""
    number = os.environ.pop("MOLN_READY_FD", "")
    if number.isdigit():
        await node.ready.wait()
        with contextlib.suppress(OSError), os.fdopen(int(number), "w") as ready:
            ready.write("ready\n")
