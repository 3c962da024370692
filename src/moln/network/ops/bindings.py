"""Bindings of a port to nodes: what compute asks for before it moves a guest (network v2.0 api-ref, "Port Bindings Extended")."""

from __future__ import annotations

from typing import Any

from moln.kernel.context import RequestContext
from moln.kernel.db import Reader, Transaction
from moln.kernel.errors import NotFound
from moln.network.model.bindings import Binding
from moln.network.model.ports import Port
from moln.network.ops import authority, ports
from moln.network.ops.common import bad, changed, conflict, get, look_at
from moln.network.store import bindings as store
from moln.network.store import rows

Bound = tuple[Port, Binding, bool]  # a port, one of its bindings, and whether the port is plugged in there


async def all_of(db: Reader, ctx: RequestContext, port_id: str) -> list[Bound]:
    """A port's bindings, the active one first. Raises: NotFound, Forbidden."""
    port = await ports.get_visible(db, ctx, port_id)
    authority.require(ctx, "get_port_binding", authority.of_project(port.project_id))
    active = [(port, _active(port), True)] if port.host_id else []
    return active + [(port, waiting, False) for waiting in await store.waiting_for(db, [port_id])]


def _active(port: Port) -> Binding:
    return Binding(port_id=port.id, host=port.host_id, vnic_type=port.vnic_type, profile=port.profile)


async def get_one(db: Reader, ctx: RequestContext, port_id: str, host: str) -> Bound:
    """Raises: NotFound, Forbidden."""
    for found in await all_of(db, ctx, port_id):
        if found[1].host == host:
            return found
    raise NotFound(f"Binding for port {port_id} for host {host} could not be found.", type="PortBindingNotFound")


async def create_in(tx: Transaction, ctx: RequestContext, port_id: str, host: str, fields: dict[str, Any]) -> Bound:
    """Have a node make ready for a port; one that is plugged in nowhere is bound at once. Raises: NotFound, Forbidden, Invalid, Conflict."""
    port = await ports.get_visible(tx, ctx, port_id)
    authority.require(ctx, "create_port_binding", authority.of_project(port.project_id))
    if not port.device_owner.startswith("compute:"):
        raise bad("port", f"Invalid port {port_id}. Operation only valid on compute ports")
    binding = Binding(port_id=port_id, host=host, **fields)
    if not port.host_id:
        return await _bind(tx, ctx, port, binding), binding, True
    if port.host_id == host or not await store.add(tx, binding):
        raise conflict("PortBindingAlreadyExists", f"Binding for port {port_id} on host {host} already exists.")
    _told(tx, port)
    return port, binding, False


async def _bind(tx: Transaction, ctx: RequestContext, port: Port, binding: Binding) -> Port:
    network = await get(tx, rows.networks, "network", port.network_id)
    return await ports.change_in(
        tx, ctx, network, port, host_id=binding.host, vnic_type=binding.vnic_type, profile=binding.profile
    )  # fmt: skip


def _told(tx: Transaction, port: Port) -> None:
    look_at(tx, "port", port.id)
    changed(tx, port)


async def expect_in(tx: Transaction, port_id: str, host: str) -> None:
    """Compute's own: a node makes ready for a port whose server moves there. Nothing, where it does already, or the port is nowhere."""
    port = await rows.ports.find(tx, port_id)
    if port is not None and port.host_id not in ("", host) and await store.add(tx, Binding(port_id=port_id, host=host)):
        _told(tx, port)


async def expect_no_more_in(tx: Transaction, port_id: str, host: str) -> None:
    """The server does not come after all."""
    port = await rows.ports.find(tx, port_id)
    if port is not None and await store.forget(tx, port_id, host):
        _told(tx, port)


async def update_in(tx: Transaction, ctx: RequestContext, port_id: str, host: str, fields: dict[str, Any]) -> Bound:
    """Change a binding's VNIC type or profile. Raises: NotFound, Forbidden."""
    port, binding, active = await get_one(tx, ctx, port_id, host)
    authority.require(ctx, "create_port_binding", authority.of_project(port.project_id))
    if active:
        network = await get(tx, rows.networks, "network", port.network_id)
        await ports.change_in(tx, ctx, network, port, **fields)
    elif fields:
        await store.change(tx, binding, **fields)
    return await get_one(tx, ctx, port_id, host)


async def activate_in(tx: Transaction, ctx: RequestContext, port_id: str, host: str) -> Bound:
    """The port is at this node from now on; where it was waits, should it come back. Raises: NotFound, Forbidden, Conflict."""
    port, binding, active = await get_one(tx, ctx, port_id, host)
    authority.require(ctx, "activate", authority.of_project(port.project_id))
    if active:
        raise conflict("PortBindingAlreadyActive", f"Binding for port {port_id} on host {host} is already active.")
    was = _active(port)
    port = await _bind(tx, ctx, port, binding)
    await store.add(tx, was)
    return port, binding, True


async def delete_in(tx: Transaction, ctx: RequestContext, port_id: str, host: str) -> None:
    """A node lets go of a port, or waits for it no longer. Raises: NotFound, Forbidden."""
    port, binding, active = await get_one(tx, ctx, port_id, host)
    authority.require(ctx, "delete_port_binding", authority.of_project(port.project_id))
    if active:
        await _bind(tx, ctx, port, Binding(port_id=port_id, host=""))
    else:
        await store.forget(tx, port_id, binding.host)
        _told(tx, port)
