"""Segments: what carries a network, chosen or told, and which of its subnets a node reaches (network v2.0 api-ref, "Segments")."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from moln.kernel.context import RequestContext
from moln.kernel.db import Reader, Transaction
from moln.kernel.errors import Conflict, Invalid
from moln.network.model.networks import Network
from moln.network.model.ports import FixedIp, Port
from moln.network.model.segments import HIGHEST_VNI, Segment, key
from moln.network.model.subnets import Subnet
from moln.network.ops import authority, segment_ranges
from moln.network.ops.common import check_revision, conflict, get, invalid, look_at
from moln.network.store import rows
from moln.network.store import segments as store

Carried = dict[str, Any]  # network_type, physical_network, segmentation_id


async def choose_in(
    tx: Transaction, ctx: RequestContext, project_id: str, kind: str | None, physical: str | None, number: int | None
) -> Carried:
    """What carries a network or a further segment of one: checked, and chosen where the caller left it open. Raises: Invalid, Conflict."""
    settings = ctx.settings.network
    if kind is None and (physical is not None or number is not None):
        raise invalid("provider:network_type required")
    kind = kind or "geneve"
    if kind not in ("geneve", "vlan", "flat"):
        raise invalid(f"provider:network_type {kind} is not supported")
    if kind == "geneve":
        if physical is not None:
            raise invalid("provider:physical_network specified for geneve network")
        low, high = 1, HIGHEST_VNI
    else:
        if physical is None:
            raise invalid(f"physical_network required for {kind} provider network")
        if physical not in settings.physical_networks:
            raise invalid(f"physical_network '{physical}' unknown for {kind} provider network")
        low, high = (int(part) for part in settings.vlans.split(":"))
    if kind == "flat":
        if number is not None:
            raise invalid("segmentation_id specified for flat provider network")
    elif number is None:
        number = await segment_ranges.free_number(tx, ctx, project_id, kind, physical)
    elif not low <= number <= high:
        raise invalid(f"segmentation_id out of range ({low} through {high})")
    if await store.is_taken(tx, key(kind, physical, number)):
        raise _taken(kind, physical, number)
    return {"network_type": kind, "physical_network": physical, "segmentation_id": number}


def _taken(kind: str, physical: str | None, number: int | None) -> Conflict:
    if kind == "flat":
        return conflict("FlatNetworkInUse", f"Unable to create the flat network. Physical network {physical} is in use.")
    if kind == "vlan":
        return conflict("VlanIdInUse", f"Unable to create the network. The VLAN {number} on physical network {physical} is in use.")
    return conflict("TunnelIdInUse", f"Unable to create the network. The tunnel ID {number} is in use.")


async def add_in(tx: Transaction, ctx: RequestContext, network_id: str, carried: Carried, **fields: Any) -> Segment:
    """Record a segment that was chosen."""
    now = ctx.now_us
    segment = Segment(id=ctx.new_id(), network_id=network_id, created_at=now, updated_at=now, **carried, **fields)
    await store.segments.add(tx, segment)
    return segment


def check_many(kinds: Sequence[str]) -> None:
    """A network of several segments is one of physical networks: an overlay is one piece already. Raises: Invalid."""
    if len(kinds) > 1 and "geneve" in kinds:
        raise invalid("a network of several segments has vlan and flat ones only")


async def create_in(
    tx: Transaction, ctx: RequestContext, *, project_id: str, set_: frozenset[str] = frozenset(), network_id: str, network_type: str,
    physical_network: str | None = None, segmentation_id: int | None = None, **fields: Any,
) -> Segment:  # fmt: skip
    """Give a network a further segment. Raises: NotFound, Forbidden, Invalid, Conflict."""
    authority.require(ctx, "create_segment", authority.of_project(""), set_)
    network = await get(tx, rows.networks, "network", network_id)
    check_many([s.network_type for s in await store.segments.by(tx, "network_id", network_id)] + [network_type])
    carried = await choose_in(tx, ctx, network.project_id, network_type, physical_network, segmentation_id)
    segment = await add_in(tx, ctx, network_id, carried, **fields)
    look_at(tx, "network", network_id)
    return segment


async def update_in(
    tx: Transaction, ctx: RequestContext, id: str, *, set_: frozenset[str], revision: int | None = None, **changes: Any
) -> Segment:
    """Rename or describe it. Raises: NotFound, Forbidden, PreconditionFailed."""
    segment = await get(tx, store.segments, "segment", id)
    authority.require(ctx, "update_segment", authority.of_project(""), set_)
    check_revision(segment.revision_number, revision)
    return await store.segments.save(tx, segment, ctx.now_us, **changes)


async def delete_in(tx: Transaction, ctx: RequestContext, id: str, *, revision: int | None = None) -> None:
    """Take a segment away from a network that has others. Raises: NotFound, Forbidden, Conflict while subnets or ports need it."""
    segment = await get(tx, store.segments, "segment", id)
    authority.require(ctx, "delete_segment", authority.of_project(""))
    check_revision(segment.revision_number, revision)
    if subnets := await rows.subnets.by(tx, "segment_id", id):
        raise _in_use(id, f"The segment is still associated with subnet(s) {', '.join(s.id for s in subnets)}")
    others = [s for s in await store.segments.by(tx, "network_id", segment.network_id) if s.id != id]
    if not others:
        raise _in_use(id, "It is the only one of its network")
    for port in await rows.ports.by(tx, "network_id", segment.network_id):
        if port.host_id and segment.physical_network in await store.reached_from(tx, port.host_id):
            raise _in_use(id, f"The segment is still bound with port(s) {port.id}")
    await store.segments.remove(tx, id)
    network = await get(tx, rows.networks, "network", segment.network_id)
    if segment.carries(network):
        first = {name: getattr(others[0], name) for name in ("network_type", "physical_network", "segmentation_id")}
        await rows.networks.save(tx, network, ctx.now_us, **first)
    look_at(tx, "network", segment.network_id)


def _in_use(id: str, reason: str) -> Conflict:
    return conflict("SegmentInUse", f"Segment '{id}' cannot be deleted: {reason}.")


async def check_subnet(tx: Transaction, network: Network, segment_id: str | None, there: Sequence[Subnet]) -> None:
    """A network's subnets are all of segments, or none is. Raises: NotFound, Invalid."""
    if any((subnet.segment_id is None) != (segment_id is None) for subnet in there):
        raise Invalid(
            f"All of the subnets on network '{network.id}' must either all be associated with segments or all not associated with any segment.",
            type="SubnetsNotAllAssociatedWithSegments",
            field="segment_id",
        )
    if segment_id is None:
        return
    segment = await get(tx, store.segments, "segment", segment_id)
    if segment.network_id != network.id:
        raise Invalid(
            f"The subnet's network id, '{network.id}', doesn't match the network_id of segment '{segment_id}'",
            type="NetworkIdsDontMatch",
            field="segment_id",
        )


async def _reached(db: Reader, network_id: str, host_id: str) -> set[str]:
    """Ids of the network's segments that a node reaches."""
    physical = await store.reached_from(db, host_id)
    return {s.id for s in await store.segments.by(db, "network_id", network_id) if s.reached_from(physical)}


async def subnets_at(db: Reader, network: Network, subnets: Sequence[Subnet], host_id: str) -> list[Subnet] | None:
    """Subnets that a port at a node may have addresses of; None where that is not known before the port has a node.

    Raises: Conflict for a node that reaches no segment.
    """
    if all(subnet.segment_id is None for subnet in subnets):
        return list(subnets)
    if not host_id:
        return None
    reached = await _reached(db, network.id, host_id)
    if not reached:
        raise conflict(
            "HostNotConnectedToAnySegment",
            f"Host {host_id} is not connected to any segments on routed provider network '{network.id}'.  It should be connected to one.",
        )
    return [s for s in subnets if s.segment_id in reached]


async def check_host(db: Reader, port: Port, ips: Sequence[FixedIp], host_id: str) -> None:
    """A port's addresses work at a node. Raises: Conflict."""
    bound = {s.segment_id for s in await rows.subnets.some(db, [ip.subnet_id for ip in ips])} - {None}
    if bound and not bound <= await _reached(db, port.network_id, host_id):
        raise conflict(
            "HostNotCompatibleWithFixedIps",
            f"Host {host_id} is not connected to a segment where the existing fixed_ips on port {port.id} will function given the "
            "routed network topology.",
        )
