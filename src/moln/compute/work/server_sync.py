"""Power follows the hypervisor: a guest that shut itself down is SHUTOFF, one that is to be off is turned off."""

from __future__ import annotations

import asyncio
import logging

from moln.compute.drivers.base import ComputeDriver, ServerState
from moln.compute.model.servers import PowerState, Server, TaskState, VmState
from moln.compute.ops.power import PATIENCE_S
from moln.compute.store import servers as store
from moln.compute.store.servers import Powered
from moln.compute.work.server_leftovers import disown
from moln.kernel.cloud import Cloud
from moln.kernel.db import Transaction
from moln.kernel.errors import BackendRefused, BackendUnreachable, Conflict
from moln.kernel.link.frames import unpack
from moln.kernel.work import Work

_log = logging.getLogger("moln.compute")
POWER = {
    "running": PowerState.RUNNING, "paused": PowerState.PAUSED, "stopped": PowerState.SHUTDOWN, "crashed": PowerState.CRASHED,
}  # fmt: skip
LIST_S = 20.0
TOGETHER_S = 0.2  # in which what nodes say is collected, where there are several controllers


async def sync_all(work: Work) -> None:
    """Every hypervisor's servers against their rows: for news that was lost."""
    for node in sorted(work.cloud.links.nodes):
        await sync_node(work, node)


async def sync_node(work: Work, node: str) -> None:
    """Rows follow what the hypervisor runs; a server that it does not know is off."""
    rows = await store.on_host(work.db, node)
    try:
        states = {s.id: s for s in await work.driver(node, "compute", ComputeDriver, deadline_s=LIST_S).list_servers()}
    except (BackendUnreachable, BackendRefused) as error:
        _log.info("servers of %s cannot be listed: %s", node, error)
        return
    for server in rows:
        await _follow(work, server, states.get(server.id))
    for stray in states.keys() - {s.id for s in rows}:
        if (known := await store.find(work.db, stray)) is None:
            _log.warning("host %s has the unknown server %s; `moln doctor` says how to mend it", node, stray)
        elif node not in (known.host, known.other_host):
            await disown(work, node, stray)


async def heard(work: Work, told: dict[str, list[ServerState]], *, all_of_them: bool) -> None:
    """What nodes say of their servers. It is a hint: rows are read, then the hypervisor is asked, then the row follows if it did not move.

    all_of_them: what a node does not name, it does not run: what it repeats, should its news have been lost.
    """
    states = {(node, state.id): state for node, known in told.items() for state in known}
    rows = await (store.powered_on(work.db, sorted(told)) if all_of_them else store.powered(work.db, sorted({id for _, id in states})))
    for row in rows:
        if row.host in told and _differs(row, state := states.get((row.host, row.id))) and (all_of_them or state is not None):
            await _look(work, row.id, row.host)


class Heard:
    """What nodes say, looked at together where many nodes speak: within TOGETHER_S of several controllers, at once in a cloud of one."""

    def __init__(self, cloud: Cloud, *, all_of_them: bool) -> None:
        self._work = Work(cloud)
        self._all = all_of_them
        self._told: dict[str, dict[str, ServerState]] = {}
        self._next: asyncio.Task[None] | None = None

    async def __call__(self, node: str, raw: bytes) -> None:
        """A report. It is over when it was looked at: a node's reports wait for one another."""
        states = unpack(raw, list[ServerState])
        if self._work.cloud.claims is None:
            await heard(self._work, {node: states}, all_of_them=self._all)
            return
        self._told.setdefault(node, {}).update({state.id: state for state in states})
        if self._next is None:
            self._next = asyncio.create_task(self._together(), name="reports of servers")
        await asyncio.shield(self._next)  # several wait for it: none of them ends it

    async def _together(self) -> None:
        await asyncio.sleep(TOGETHER_S)
        told, self._told, self._next = self._told, {}, None
        await heard(self._work, {node: list(states.values()) for node, states in told.items()}, all_of_them=self._all)


async def _look(work: Work, server_id: str, node: str) -> None:
    server = await store.find(work.db, server_id)
    if server is None or server.host != node:
        return
    try:
        now = await work.driver(node, "compute", ComputeDriver, deadline_s=LIST_S).find_server(server.id)
    except (BackendUnreachable, BackendRefused):
        return
    await _follow(work, server, now)


def _differs(server: Server | Powered, told: ServerState | None) -> bool:
    if server.task_state is not None or server.vm_state in (VmState.BUILDING, VmState.DELETED):
        return False
    return _power(told) != server.power_state or _wanted(server, _power(told)) is not None


def _power(told: ServerState | None) -> PowerState:
    return PowerState.SHUTDOWN if told is None else POWER[told.power]


def _wanted(server: Server | Powered, power: PowerState) -> tuple[VmState, TaskState | None] | None:
    """(vm_state, task_state) that a server in this power belongs in; None when it is right as it is."""
    down = power in (PowerState.SHUTDOWN, PowerState.CRASHED)
    match server.vm_state:
        case VmState.ACTIVE | VmState.PAUSED if down:
            return VmState.STOPPED, None
        case VmState.STOPPED if not down:
            return VmState.STOPPED, TaskState.POWERING_OFF
        case VmState.PAUSED | VmState.SUSPENDED if power is PowerState.RUNNING:
            return VmState.ACTIVE, None
    return None


async def _follow(work: Work, server: Server, told: ServerState | None) -> None:
    if not _differs(server, told):
        return
    try:
        await work.write(follow_in, work.now_us, server, _power(told))
    except Conflict:
        return  # another writer came first; the next report decides


async def follow_in(tx: Transaction, now_us: int, server: Server, power: PowerState) -> None:
    """The row says what the hypervisor does; one that is to be off is turned off again. Raises: Conflict."""
    wanted = _wanted(server, power)
    if wanted is None:
        await store.save(tx, server, power_state=power)
        return
    vm_state, task = wanted
    deadline = now_us + PATIENCE_S * 1_000_000 if task else server.deadline
    _log.info("server %s is %s on its host: %s -> %s", server.id, power.name, server.vm_state, vm_state)
    await store.save(tx, server, now_us, vm_state=vm_state, task_state=task, power_state=power, deadline=deadline)
    if task:
        tx.wake("servers", server.id)
