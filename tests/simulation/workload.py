"""What users do meanwhile: requests at the operations, drawn from the seed, several at once; and a ledger of what they were answered."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from typing import TYPE_CHECKING, Any

from tests.faults.scenes import PROJECT, WHO
from tests.simulation import judge

from moln.compute.model.server_requests import BlockDevice, NetworkRequest, ServerRequest
from moln.compute.model.servers import VmState
from moln.compute.ops import (
    create,
    create_image,
    evacuate,
    interfaces,
    live_migration,
    migrations,
    power,
    rebuild,
    rescue,
    resize,
    servers,
    services,
    shelving,
    suspension,
    volume_attachments,
)
from moln.compute.store import hosts as host_store
from moln.compute.store import servers as server_store
from moln.kernel.context import RequestContext
from moln.kernel.errors import Failure
from moln.network.ops import networks, ports, subnets
from moln.network.store import rows
from moln.volume.model.volumes import VolumeStatus
from moln.volume.ops import actions, backups, snapshots, volumes
from moln.volume.ops.backups import BackupSpec
from moln.volume.ops.volumes import VolumeSpec
from moln.volume.store import backups as backup_store
from moln.volume.store import volumes as volume_store

if TYPE_CHECKING:
    from tests.simulation.world import Controller, World

Op = Callable[["Workload", RequestContext], Awaitable[None]]
A, STOPPED, PAUSED, RESIZED = VmState.ACTIVE, VmState.STOPPED, VmState.PAUSED, VmState.RESIZED
POWER = (
    (power.START, (STOPPED,)), (power.STOP, (A, VmState.ERROR)), (power.REBOOT, (A,)), (power.HARD_REBOOT, (A, STOPPED, VmState.ERROR)),
    (power.PAUSE, (A,)), (power.UNPAUSE, (PAUSED,)), (suspension.SUSPEND, (A,)), (suspension.RESUME, (VmState.SUSPENDED,)),
    (rescue.UNRESCUE, (VmState.RESCUED,)),
)  # fmt: skip


class Ledger:
    """made: what was answered to have been made. going: what was asked to go, whatever was answered to that."""

    def __init__(self) -> None:
        self.made: dict[str, list[str]] = {kind: [] for kind in ("server", "volume", "snapshot", "backup", "port", "network")}
        self.going: set[str] = set()
        self.gone: set[str] = set()  # to go, and told so
        self.within: dict[str, str] = {}  # snapshots, and the volumes with which they go

    def may_be_gone(self, id: str) -> bool:
        return id in self.going or self.within.get(id) in self.going


class Workload:
    """image, network: what there was before. asked: requests by their outcome."""

    def __init__(self, world: World, rng: Random):
        self.world = world
        self.rng = rng
        self.ledger = Ledger()
        self.image = self.network = ""
        self.numbers = 0
        self.asked = {"done": 0, "refused": 0, "unknown": 0}

    def ctx(self, controller: Controller) -> RequestContext:
        cloud = controller.cloud
        return RequestContext(cloud, "req-" + cloud.ids.uuid(), WHO, (2, 100), cloud.clock.monotonic() + 60)

    def one(self, kind: str) -> str:
        """Any that were made; the latest more often."""
        made = self.ledger.made[kind]
        return made[max(self.rng.randrange(len(made)), self.rng.randrange(len(made)))] if made else "none"

    async def server(self, ctx: RequestContext, *states: VmState) -> str:
        """Mostly one to which it can be done now: in one of these states, with nothing under way."""
        if self.rng.random() < 0.85:
            fit = [s.id for s in await ctx.db.all(server_store.ALL) if s.vm_state in states and s.task_state is None]
            if fit:
                return self.rng.choice(fit)
        return self.one("server")

    async def volume(self, ctx: RequestContext, *statuses: VolumeStatus) -> str:
        """The same of volumes."""
        if self.rng.random() < 0.85:
            fit = [v.id for v in await volume_store.LISTING.page(ctx.db) if v.status in statuses]
            if fit:
                return self.rng.choice(fit)
        return self.one("volume")

    def name(self) -> str:
        self.numbers += 1
        return f"thing-{self.numbers}"

    async def ask(self, op: Op) -> bool:
        """One request, to its answer or to the controller's death. Whether it was done."""
        controller = self.world.controller
        if not self.world.alive or controller is None:
            return False
        task = controller.do(op(self, self.ctx(controller)))  # type: ignore[arg-type]
        await asyncio.wait({task, controller.died}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            outcome, why = "unknown", ""
        elif (error := task.exception()) is None:
            outcome, why = "done", ""
        elif isinstance(error, Failure):
            outcome, why = "refused", error.message
        else:
            outcome, why = "refused", repr(error)
            self.world.failures.append(f"{op.__name__} would answer 500: {error!r}")
        self.asked[outcome] += 1
        self.world.trace("asked", op.__name__, outcome, why)
        return outcome == "done"

    async def run(self, seconds: float, requests: int) -> None:
        """So many requests in so many seconds, each beside the others."""
        loop = asyncio.get_running_loop()
        names, weights = list(OPS), list(OPS.values())
        running = []
        for number in range(requests):
            await asyncio.sleep(self.rng.expovariate(requests / seconds))
            op = self.rng.choices(names, weights)[0] if number > 5 else self.rng.choice([boot, make_volume, make_port])
            running.append(loop.create_task(self.ask(op)))
        await asyncio.gather(*running)

    async def clear(self) -> None:
        """Remove all there is, each kind when what holds it is gone. A backup goes after those that build on it."""
        controller = self.world.controller
        assert controller is not None
        ctx, db = self.ctx(controller), controller.cloud.db
        for server in await db.all(server_store.ALL):
            await self.remove("server", server.id, lambda id: servers.delete(ctx, id))
        await judge.settle(self.world, 0)
        for backup in reversed(await backup_store.LISTING.page(db)):
            await self.remove("backup", backup.id, lambda id: backups.delete(ctx, id))
            await judge.settle(self.world, 0)
        for volume in await volume_store.LISTING.page(db):
            await self.remove("volume", volume.id, lambda id: volumes.delete(ctx, id, cascade=True))
        for port in await rows.ports.listing.page(db):
            if port.id in self.ledger.made["port"]:
                await self.remove("port", port.id, lambda id: ctx.db.write(ports.remove_in, ctx, id))

    async def remove(self, kind: str, id: str, how: Callable[[str], Awaitable[Any]]) -> None:
        controller = self.world.controller
        assert controller is not None
        self.ledger.going.add(id)
        try:
            await controller.do(how(id))  # type: ignore[arg-type]
        except Failure as failure:
            self.world.failures.append(f"{kind} {id} cannot be removed: {failure.message}")


# ---- servers


async def boot(w: Workload, ctx: RequestContext) -> None:
    rng = w.rng
    blank = BlockDevice(source="blank", destination="volume", size_gib=1, delete_on_termination=rng.random() < 0.5)
    if rng.random() < 0.3:
        root = BlockDevice(
            source="image", destination="volume", source_id=w.image, size_gib=1, boot_index=0, delete_on_termination=rng.random() < 0.5
        )
        devices, image = (root,), None
    else:
        devices, image = (blank,) * rng.choice([0, 0, 1, 2]), w.image
    nets: Any = "none" if rng.random() < 0.1 else (NetworkRequest(w.network),) * rng.choice([1, 1, 2])
    if rng.random() < 0.15 and w.ledger.made["port"]:
        nets = (NetworkRequest(port_id=w.one("port")),)
    count = rng.choice([1, 1, 1, 3])
    asked = ServerRequest(
        name=w.name(), flavor_ref="small", image_ref=image, networks=nets if count == 1 else "none", block_devices=devices,
        config_drive=rng.random() < 0.3, min_count=1, max_count=count,
    )  # fmt: skip
    await create.create(ctx, asked)
    w.ledger.made["server"] += [s.id for s in await ctx.db.all(server_store.ALL) if s.name.startswith(asked.name)]


async def delete(w: Workload, ctx: RequestContext) -> None:
    await goes(w, w.one("server"), lambda id: servers.delete(ctx, id))


async def goes(w: Workload, id: str, remove: Callable[[str], Awaitable[Any]]) -> None:
    w.ledger.going.add(id)
    await remove(id)
    w.ledger.gone.add(id)


async def power_action(w: Workload, ctx: RequestContext) -> None:
    action, states = w.rng.choice(POWER)
    await power.ask(ctx, await w.server(ctx, *states), action)


async def grow(w: Workload, ctx: RequestContext) -> None:
    await resize.resize(ctx, await w.server(ctx, A, STOPPED), w.rng.choice(["small", "big"]))


async def decide(w: Workload, ctx: RequestContext) -> None:
    await w.rng.choice([resize.confirm, resize.revert])(ctx, await w.server(ctx, RESIZED))


async def remake(w: Workload, ctx: RequestContext) -> None:
    await rebuild.rebuild(ctx, await w.server(ctx, A, STOPPED, VmState.ERROR), rebuild.RebuildRequest(image_id=w.image, reimage_volume=True))


async def do_rescue(w: Workload, ctx: RequestContext) -> None:
    await rescue.rescue(ctx, await w.server(ctx, A, STOPPED), image_ref=None, password="a-Secret-1", volume_backed=True)


async def shelve(w: Workload, ctx: RequestContext) -> None:
    await shelving.shelve(ctx, await w.server(ctx, A, STOPPED, PAUSED))


async def unshelve(w: Workload, ctx: RequestContext) -> None:
    await shelving.unshelve(ctx, await w.server(ctx, VmState.SHELVED, VmState.SHELVED_OFFLOADED), shelving.Place())


async def keep(w: Workload, ctx: RequestContext) -> None:
    await create_image.create(ctx, await w.server(ctx, A, STOPPED), w.name(), {})


async def attach(w: Workload, ctx: RequestContext) -> None:
    volume_id, goes_too = await w.volume(ctx, VolumeStatus.AVAILABLE), w.rng.random() < 0.3
    if goes_too:
        w.ledger.going.add(volume_id)
    await volume_attachments.attach(ctx, await w.server(ctx, A, STOPPED, PAUSED, RESIZED), volume_id, delete_on_termination=goes_too)


async def detach(w: Workload, ctx: RequestContext) -> None:
    server = await server_store.find(ctx.db, await w.server(ctx, A, STOPPED, PAUSED))
    if server is not None and server.volumes:
        await volume_attachments.detach(ctx, server.id, w.rng.choice(server.volumes).volume_id)


async def plug(w: Workload, ctx: RequestContext) -> None:
    asked = NetworkRequest(w.network) if w.rng.random() < 0.6 else NetworkRequest(port_id=w.one("port"))
    await interfaces.attach(ctx, await w.server(ctx, A, STOPPED, PAUSED), asked)


async def unplug(w: Workload, ctx: RequestContext) -> None:
    server = await server_store.find(ctx.db, await w.server(ctx, A, STOPPED, PAUSED))
    if server is not None and server.nics:
        await interfaces.detach(ctx, server.id, w.rng.choice(server.nics).port_id)


async def switch_host(w: Workload, ctx: RequestContext) -> None:
    found = await ctx.db.all(host_store.ALL)
    if found:
        await services.switch(ctx, w.rng.choice(found), disabled=w.rng.random() < 0.3)


async def migrate(w: Workload, ctx: RequestContext) -> None:
    await resize.migrate(ctx, await w.server(ctx, A, STOPPED), None)


async def migrate_live(w: Workload, ctx: RequestContext) -> None:
    await live_migration.migrate(ctx, await w.server(ctx, A, PAUSED), live_migration.LiveRequest(late=w.rng.random() < 0.5))


async def end_live(w: Workload, ctx: RequestContext) -> None:
    moving = [s.id for s in await ctx.db.all(server_store.ALL) if s.move is not None] or ["none"]
    server_id = w.rng.choice(moving)
    for migration in await migrations.live_of(ctx, server_id):
        if w.rng.random() < 0.5:
            await live_migration.abort(ctx, server_id, migration.rowid, early=True)
        else:
            await live_migration.force_complete(ctx, server_id, migration.rowid)


def evacuation(server_id: str) -> Op:
    async def evacuate_one(w: Workload, ctx: RequestContext) -> None:
        await evacuate.evacuate(ctx, server_id, host=None, forced=False, off=w.rng.random() < 0.2)

    return evacuate_one


def fenced(host: str, *, down: bool) -> Op:
    """An administrator says that the host is surely down, or may be used again."""

    async def say(w: Workload, ctx: RequestContext) -> None:
        await services.update(ctx, await services.named(ctx, host), disabled=None, reason=None, forced_down=down)

    return say


# ---- volumes


async def make_volume(w: Workload, ctx: RequestContext) -> None:
    image = w.image if w.rng.random() < 0.3 else None
    snapshot = w.one("snapshot") if image is None and w.rng.random() < 0.2 else None
    spec = VolumeSpec(None if snapshot else 1, name=w.name(), image_id=image, snapshot_id=snapshot)
    w.ledger.made["volume"].append((await volumes.create(ctx, spec)).id)


async def drop_volume(w: Workload, ctx: RequestContext) -> None:
    await goes(w, await w.volume(ctx, VolumeStatus.AVAILABLE), lambda id: volumes.delete(ctx, id, cascade=w.rng.random() < 0.5))


async def extend(w: Workload, ctx: RequestContext) -> None:
    await actions.extend(ctx, await w.volume(ctx, VolumeStatus.AVAILABLE, VolumeStatus.IN_USE), w.rng.randint(2, 4), attached=True)


async def snapshot(w: Workload, ctx: RequestContext) -> None:
    made = await snapshots.create(ctx, await w.volume(ctx, VolumeStatus.AVAILABLE), name=w.name(), metadata={})
    w.ledger.made["snapshot"].append(made.id)
    w.ledger.within[made.id] = made.volume_id


async def revert(w: Workload, ctx: RequestContext) -> None:
    snapshot_id = w.one("snapshot")
    await actions.revert(ctx, w.ledger.within.get(snapshot_id, "none"), snapshot_id)


async def drop_snapshot(w: Workload, ctx: RequestContext) -> None:
    await goes(w, w.one("snapshot"), lambda id: snapshots.delete(ctx, id))


async def back_up(w: Workload, ctx: RequestContext) -> None:
    w.ledger.made["backup"].append((await backups.create(ctx, BackupSpec(await w.volume(ctx, VolumeStatus.AVAILABLE), name=w.name()))).id)


async def drop_backup(w: Workload, ctx: RequestContext) -> None:
    await goes(w, w.one("backup"), lambda id: backups.delete(ctx, id))


# ---- networks


async def make_port(w: Workload, ctx: RequestContext) -> None:
    made = await ctx.db.write(ports.create_in, ctx, network_id=w.network, project_id=PROJECT, name=w.name())
    w.ledger.made["port"].append(made.id)


async def change_port(w: Workload, ctx: RequestContext) -> None:
    await ctx.db.write(ports.update_in, ctx, w.one("port"), set_=frozenset({"admin_state_up"}), admin_state_up=w.rng.random() < 0.8)


async def drop_port(w: Workload, ctx: RequestContext) -> None:
    await goes(w, w.one("port"), lambda id: ctx.db.write(ports.remove_in, ctx, id))


async def make_network(w: Workload, ctx: RequestContext) -> None:
    made = await ctx.db.write(networks.create_in, ctx, project_id=PROJECT, name=w.name())
    w.ledger.made["network"].append(made.id)
    await ctx.db.write(
        subnets.create_in, ctx, project_id=PROJECT, network_id=made.id, cidr=f"10.{2 + w.numbers % 200}.0.0/24", ip_version=4, enable_dhcp=True,
        ipv6_ra_mode=None, ipv6_address_mode=None,
    )  # fmt: skip


async def drop_network(w: Workload, ctx: RequestContext) -> None:
    await goes(w, w.one("network"), lambda id: ctx.db.write(networks.delete_in, ctx, id))


OPS: dict[Op, int] = {
    boot: 14, delete: 8, power_action: 14, grow: 4, decide: 6, remake: 4, do_rescue: 3, shelve: 3, unshelve: 4, keep: 2, attach: 9, detach: 7,
    plug: 5, unplug: 4, switch_host: 2, migrate: 4, migrate_live: 6, end_live: 2, make_volume: 8, drop_volume: 5, extend: 4, snapshot: 4, revert: 2, drop_snapshot: 3, back_up: 2,
    drop_backup: 2, make_port: 3, change_port: 3, drop_port: 2, make_network: 2, drop_network: 1,
}  # fmt: skip
"""How often each is asked for, to one another."""
