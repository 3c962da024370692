"""Trunks: what a caller may do to them (network v2.0 api-ref, "Trunk networking")."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from moln.kernel.context import RequestContext
from moln.kernel.db import Transaction
from moln.kernel.errors import Conflict, NotFound
from moln.network.model.networks import Network
from moln.network.model.ports import OWN_OWNERS, Port, PortStatus
from moln.network.model.trunks import SUBPORT_OWNER, VLANS, SubPort, Trunk
from moln.network.ops import authority, ports
from moln.network.ops.common import QUOTA, check_revision, conflict, get, invalid, look_at, missing
from moln.network.store import rows
from moln.network.store import trunks as store

Asked = Sequence[dict[str, Any]]  # sub_ports: port_id, segmentation_type, segmentation_id


async def create_in(
    tx: Transaction, ctx: RequestContext, *, project_id: str, port_id: str, sub_ports: Asked = (), set_: frozenset[str] = frozenset(),
    **fields: Any,
) -> Trunk:  # fmt: skip
    """Make a port the parent of others. Raises: NotFound, Forbidden, Invalid, Conflict, OverQuota."""
    authority.require(ctx, "create_trunk", authority.of_project(project_id, port_id=port_id), set_)
    parent, _ = await _port(tx, ctx, project_id, port_id)
    if parent.device_owner in OWN_OWNERS:
        raise conflict("ParentPortInUse", f"Port {port_id} is currently in use and is not eligible for use as a parent port.")
    await QUOTA.charge(tx, project_id, trunk=1)
    now = ctx.now_us
    trunk = Trunk(id=ctx.new_id(), project_id=project_id, port_id=port_id, created_at=now, updated_at=now, **fields)
    if await store.carriers_of(tx, [port_id]):
        raise _taken(port_id)
    if not await store.trunks.add(tx, trunk, if_absent=True):
        raise conflict("ParentPortInUse", f"Port {port_id} is currently in use and is not eligible for use as a parent port.")
    await _add(tx, ctx, trunk, sub_ports)
    return trunk


def _taken(port_id: str) -> Conflict:
    return conflict("TrunkPortInUse", f"Port {port_id} is in use by another trunk.")


async def _port(tx: Transaction, ctx: RequestContext, project_id: str, port_id: str) -> tuple[Port, Network]:
    """A port that trunks of the project may have, and its network."""
    port = await rows.ports.find(tx, port_id)
    network = None if port is None else await rows.networks.find(tx, port.network_id)
    if port is None or network is None or port.project_id != project_id and not ctx.is_admin:
        raise missing("port", port_id)
    if not authority.sees(ctx, "port", ports.target(ctx, port, network)):
        raise missing("port", port_id)
    return port, network


async def _add(tx: Transaction, ctx: RequestContext, trunk: Trunk, asked: Asked) -> None:
    parent = await get(tx, rows.ports, "port", trunk.port_id)
    widest = (await get(tx, rows.networks, "network", parent.network_id)).mtu
    for one in asked:
        kind, tag = one.get("segmentation_type"), one.get("segmentation_id")
        if kind is None or tag is None and kind != "inherit":
            raise invalid(
                f"Invalid subport details '{one}': missing segmentation information. Must specify both segmentation_id and segmentation_type"
            )
        port, network = await _port(tx, ctx, trunk.project_id, one["port_id"])
        if kind == "inherit":
            kind, tag = network.network_type, network.segmentation_id
        if kind != "vlan":
            raise invalid(f"Unknown segmentation_type '{kind}'")
        if tag is None or tag not in VLANS:
            raise invalid(f"Segmentation ID '{tag}' is not in range")
        if network.mtu > widest:
            raise conflict(
                "SubPortMtuGreaterThanTrunkPortMtu",
                f"MTU {network.mtu} of subport {port.id} cannot be greater than MTU {widest} of trunk {trunk.id}.",
            )
        if port.id == trunk.port_id or await store.trunks.by(tx, "port_id", port.id):
            raise conflict("ParentPortInUse", f"Port {port.id} is currently in use and is not eligible for use as a parent port.")
        if await store.carriers_of(tx, [port.id]):
            raise _taken(port.id)
        if port.device_id or port.device_owner in OWN_OWNERS:
            raise conflict(
                "PortInUse",
                f"Unable to complete operation on port {port.id} for network {port.network_id}. "
                f"Port already has an attached device {port.device_id}.",
            )
        if not await store.carry(tx, trunk.id, SubPort(port.id, kind, tag)):
            raise conflict("DuplicateSubPort", f"segmentation_type {kind} and segmentation_id {tag} already in use on trunk {trunk.id}.")
        profile = {**port.profile, "parent_name": trunk.port_id, "tag": tag}
        await ports.change_in(tx, ctx, network, port, device_owner=SUBPORT_OWNER, profile=profile)


async def update_in(
    tx: Transaction, ctx: RequestContext, id: str, *, set_: frozenset[str], revision: int | None = None, **changes: Any
) -> Trunk:
    """Rename, describe, or lock it. Raises: NotFound, Forbidden, PreconditionFailed."""
    trunk = await get(tx, store.trunks, "trunk", id)
    authority.require(ctx, "update_trunk", authority.of_project(trunk.project_id), set_)
    check_revision(trunk.revision_number, revision)
    return await store.trunks.save(tx, trunk, ctx.now_us, **changes)


async def delete_in(tx: Transaction, ctx: RequestContext, id: str, *, revision: int | None = None) -> None:
    """Remove a trunk; its ports stay. Raises: NotFound, Forbidden, Conflict."""
    trunk = await get(tx, store.trunks, "trunk", id)
    authority.require(ctx, "delete_trunk", authority.of_project(trunk.project_id))
    check_revision(trunk.revision_number, revision)
    _check_enabled(trunk)
    await drop_in(tx, ctx, trunk)


async def drop_in(tx: Transaction, ctx: RequestContext, trunk: Trunk) -> None:
    """Remove a trunk that its caller was allowed to, or whose parent goes."""
    for carried in await store.carried_by(tx, [trunk.id]):
        await _let_down(tx, ctx, trunk, carried.port_id)
    await rows.set_tags(tx, trunk.id, ())
    await store.trunks.remove(tx, trunk.id)
    await QUOTA.refund(tx, trunk.project_id, trunk=1)


def _check_enabled(trunk: Trunk) -> None:
    if not trunk.admin_state_up:
        raise conflict("TrunkDisabled", f"Trunk {trunk.id} is currently disabled.")


async def _let_down(tx: Transaction, ctx: RequestContext, trunk: Trunk, port_id: str) -> None:
    if not await store.let_down(tx, trunk.id, port_id):
        raise NotFound(f"SubPort {port_id} on trunk {trunk.id} could not be found.", type="SubPortNotFound")
    port = await get(tx, rows.ports, "port", port_id)
    network = await get(tx, rows.networks, "network", port.network_id)
    profile = {key: value for key, value in port.profile.items() if key not in ("parent_name", "tag")}
    await ports.change_in(tx, ctx, network, port, device_owner="", profile=profile, status=PortStatus.DOWN)
    look_at(tx, "port", port_id)


async def change_subports_in(tx: Transaction, ctx: RequestContext, id: str, action: str, asked: Asked, revision: int | None = None) -> Trunk:
    """`add_subports` or `remove_subports`. Raises: NotFound, Forbidden, Invalid, Conflict."""
    trunk = await get(tx, store.trunks, "trunk", id)
    authority.require(ctx, action, authority.of_project(trunk.project_id))
    check_revision(trunk.revision_number, revision)
    _check_enabled(trunk)
    trunk = await store.trunks.bump(tx, trunk, ctx.now_us)
    if action == "add_subports":
        await _add(tx, ctx, trunk, asked)
    else:
        for one in asked:
            await _let_down(tx, ctx, trunk, one["port_id"])
    return trunk


async def check_free_in(tx: Transaction, port_id: str) -> None:
    """A port that an API caller removes belongs to no trunk. Raises: Conflict."""
    if parents := await store.trunks.by(tx, "port_id", port_id):
        raise conflict("PortInUseAsTrunkParent", f"Port {port_id} is currently a parent port for trunk {parents[0].id}.")
    if carried := await store.carriers_of(tx, [port_id]):
        raise conflict("PortInUseAsSubPort", f"Port {port_id} is currently a subport for trunk {carried[0].trunk_id}.")


async def forget_port_in(tx: Transaction, ctx: RequestContext, port_id: str) -> None:
    """A port goes: its trunk with it, or its place in one."""
    for trunk in await store.trunks.by(tx, "port_id", port_id):
        await drop_in(tx, ctx, trunk)
    for carried in await store.carriers_of(tx, [port_id]):
        await store.let_down(tx, carried.trunk_id, port_id)
