"""The servers' reconciler: whatever a row asks for, made true; what cannot be, told to its owner."""

from __future__ import annotations

from typing import Any

from moln.compute.model.moves import MoveKind
from moln.compute.model.servers import BUILD_TASKS, IMAGE_TASKS, Fault, Server, TaskState, VmState
from moln.compute.ops import power
from moln.compute.store import consoles, instance_actions, migrations
from moln.compute.store import servers as store
from moln.compute.work import (
    server_build,
    server_devices,
    server_evacuation,
    server_images,
    server_live,
    server_power,
    server_rebuild,
    server_removal,
    server_rescue,
    server_resize,
    server_shelving,
    server_suspension,
    server_sync,
)
from moln.compute.work.host_losses import Losses
from moln.compute.work.server_invariants import INVARIANTS
from moln.compute.work.server_leftovers import LEFTOVERS
from moln.compute.work.server_loans import LOANS
from moln.compute.work.server_ports import Cards
from moln.compute.work.server_specs import waiting_for
from moln.compute.work.server_volumes import Sizes
from moln.kernel.cloud import Cloud
from moln.kernel.db import Transaction
from moln.kernel.module import Invariant
from moln.kernel.work import Periodic, Reconciler, Work

STEPS = server_suspension.STEPS | server_rescue.STEPS | server_shelving.STEPS | server_resize.STEPS | server_rebuild.STEPS
GIVE_UPS = server_suspension.GIVE_UPS | server_rescue.GIVE_UPS | server_shelving.GIVE_UPS | server_resize.GIVE_UPS | server_rebuild.GIVE_UPS
MOVES = {MoveKind.LIVE: server_live, MoveKind.EVACUATION: server_evacuation}
ACTIONS_KEPT_US = 30 * 86400 * 1_000_000


async def settle(work: Work, server: Server) -> None:
    """Bring one server to what its row asks. Safe to repeat, and to die at any line."""
    task = server.task_state
    if task is TaskState.DELETING:
        await server_removal.remove(work, server)
    elif server.vm_state is VmState.BUILDING:
        await server_build.build(work, server)
    elif task in IMAGE_TASKS:
        await server_images.snapshot(work, server)
    elif server.move is not None:
        await MOVES[server.move.kind].apply(work, server)
    elif task in STEPS:
        await STEPS[task](work, server)
    elif task is not None and task not in BUILD_TASKS:
        await server_power.apply(work, server)
    else:
        await server_devices.apply(work, server)


async def fail(work: Work, server: Server, reason: str) -> None:
    """End what was asked for: its owner reads why, and the row asks for nothing more."""
    await work.write(fail_in, work, server, reason)


async def fail_in(tx: Transaction, work: Work, server: Server, reason: str) -> None:
    now = work.now_us
    task = server.task_state
    if task in IMAGE_TASKS:
        await server_images.give_up_in(tx, work.ctx, server, reason)
        return
    if server.move is not None and task is not TaskState.DELETING:
        await MOVES[server.move.kind].give_up_in(tx, work.ctx, server, reason)
        return
    if task in GIVE_UPS:
        await GIVE_UPS[task](tx, work.ctx, server, reason)
        return
    if task is None and server.vm_state is not VmState.BUILDING:
        await server_devices.give_up_in(tx, work.ctx, server, reason)
        return
    if server.vm_state is VmState.BUILDING and task is not TaskState.DELETING:
        action, message = "create", f"Build of instance {server.id} aborted: {reason}"
    elif task is TaskState.DELETING:
        action, message = "delete", reason
    else:
        assert task is not None
        action, message = power.BY_TASK[power.asked_by(task)].name, reason
    server = await store.save(
        tx, server, now, vm_state=VmState.ERROR, task_state=None, deadline=None, fault=Fault(500, message, now, reason)
    )
    await instance_actions.finish(tx, server, action, now, error=reason)


async def forget_actions(work: Work) -> None:
    """What was done to servers is told for as long as their history is kept."""
    await work.write(instance_actions.forget_in, work.now_us - ACTIONS_KEPT_US)
    await work.write(migrations.forget_in, work.now_us - ACTIONS_KEPT_US)


async def forget_tokens(work: Work) -> None:
    """Addresses of consoles that nobody opened."""
    await work.write(consoles.forget_in, work.now_us)


class ServersWork:
    """What compute's module gives to the workers for servers, and what is listened to."""

    def __init__(self) -> None:
        self.cards = Cards()
        self.sizes = Sizes()
        self.losses = Losses()
        servers = Reconciler(
            "servers", find=store.unsettled, settle=settle, fail=fail, every_s=30, at_once=16, deadline=lambda s: s.deadline,
            ids=store.unsettled_ids, load=store.still_unsettled,
        )  # fmt: skip
        self.reconcilers: tuple[Reconciler[Any], ...] = (servers, self.cards.reconciler, self.sizes.reconciler, LEFTOVERS)
        self.periodics = (
            Periodic("server-power", server_sync.sync_all, 60.0),
            Periodic("server-actions", forget_actions, 3600.0),
            Periodic("resize-confirm", server_resize.confirm_overdue, 60.0),
            Periodic("console-tokens", forget_tokens, 3600.0),
            Periodic("lost-hosts", self.losses.look, 5.0),
            LOANS,
        )
        self.invariants = (*INVARIANTS, Invariant("hosts: who is lost is fenced", self.losses.unfenced))

    async def setup(self, cloud: Cloud) -> None:
        """Follow ports, volumes, nodes, and what hypervisors tell."""
        self.cards.begin(cloud)
        self.cards.moved.update(await store.ids(cloud.db))
        wake = cloud.db.feed.publish

        def ports(servers: list[str]) -> None:
            self.cards.moved.update(servers)
            wake([(f"wake.{name}", s) for s in servers for name in ("servers", "server-cards")])

        def volumes(keys: list[str]) -> None:
            self.sizes.moved.update(keys)
            wake([("wake.servers", server) for key in keys for server in waiting_for(key)])
            wake([("wake.server-volume-sizes", key) for key in keys])

        def tell_again(keys: list[str]) -> None:
            for key in keys:
                self.sizes.told.pop(key, None)
            volumes(keys)

        async def up(node: str, raw: bytes) -> None:
            found = await store.on_host(cloud.db, node)
            self.sizes.moved.update(v.volume_id for s in found for v in s.volumes)
            wake([("wake.servers", s.id) for s in found if s.unsettled] + [("wake.server-volume-sizes", ""), ("wake.server-leftovers", "")])
            await server_sync.sync_node(Work(cloud), node)

        cloud.db.feed.subscribe("port-devices", ports)
        cloud.db.feed.subscribe("volumes", volumes)
        cloud.db.feed.subscribe("volume-extended", tell_again)
        cloud.db.feed.subscribe("volumes.grown", self.sizes.grown.update)
        cloud.links.on_report("compute.power", server_sync.Heard(cloud, all_of_them=False))
        cloud.links.on_report("compute.servers", server_sync.Heard(cloud, all_of_them=True))
        cloud.links.on_report("node.up", up)
