"""Power follows the hypervisor: a guest that shut itself down is SHUTOFF, one that is to be off is turned off."""

from __future__ import annotations

import logging

from moln.compute.drivers.base import ComputeDriver, ServerState
from moln.compute.model.servers import PowerState, Server, TaskState, VmState
from moln.compute.ops.power import PATIENCE_S
from moln.compute.store import servers as store
from moln.compute.work.server_leftovers import disown
from moln.kernel.db import Transaction
from moln.kernel.errors import BackendRefused, BackendUnreachable, Conflict
from moln.kernel.work import Work

_log = logging.getLogger("moln.compute")
POWER = {
    "running": PowerState.RUNNING, "paused": PowerState.PAUSED, "stopped": PowerState.SHUTDOWN, "crashed": PowerState.CRASHED,
}  # fmt: skip
LIST_S = 20.0


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


async def heard(work: Work, node: str, told: ServerState) -> None:
    """A node's news is a hint: the row is read, then the hypervisor is asked, then the row follows if it did not move."""
    server = await store.find(work.db, told.id)
    if server is not None and server.host == node:
        await _look(work, server, told)


async def heard_all(work: Work, node: str, told: list[ServerState]) -> None:
    """The same of every server of a node: what it repeats, should its news have been lost."""
    states = {s.id: s for s in told}
    for server in await store.on_host(work.db, node):
        await _look(work, server, states.get(server.id))


async def _look(work: Work, server: Server, told: ServerState | None) -> None:
    if not _differs(server, told):
        return
    node = server.host or ""
    try:
        now = await work.driver(node, "compute", ComputeDriver, deadline_s=LIST_S).find_server(server.id)
    except (BackendUnreachable, BackendRefused):
        return
    await _follow(work, server, now)


def _differs(server: Server, told: ServerState | None) -> bool:
    if server.task_state is not None or server.vm_state in (VmState.BUILDING, VmState.DELETED):
        return False
    return _power(told) != server.power_state or _wanted(server, _power(told)) is not None


def _power(told: ServerState | None) -> PowerState:
    return PowerState.SHUTDOWN if told is None else POWER[told.power]


def _wanted(server: Server, power: PowerState) -> tuple[VmState, TaskState | None] | None:
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
