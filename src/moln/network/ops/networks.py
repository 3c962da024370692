"""Networks: what a caller may do to them (network v2.0 api-ref, "Networks")."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from msgspec import structs

from moln.kernel.context import RequestContext
from moln.kernel.db import Reader, Transaction
from moln.kernel.errors import Conflict, Invalid
from moln.network.model.networks import LOWEST_MTU, Network, highest_mtu
from moln.network.model.ports import AUTO_DELETED, Owner
from moln.network.model.sharing import EVERYONE, EXTERNAL, SHARED
from moln.network.ops import authority, qos, segments, sharing
from moln.network.ops.common import QUOTA, check_revision, check_zones, conflict, get, invalid, look_at, missing
from moln.network.store import rows
from moln.network.store import segments as store


async def find(db: Reader, network_id: str) -> Network | None:
    """The network, whoever asks."""
    return await rows.networks.find(db, network_id)


async def some(db: Reader, ids: Iterable[str]) -> list[Network]:
    """Those of the ids that there are, whoever asks."""
    return await rows.networks.some(db, ids)


async def get_visible(db: Reader, ctx: RequestContext, network_id: str) -> Network:
    """The network, if the caller may know of it. Raises: NotFound."""
    found = await rows.networks.find(db, network_id)
    if found is None or not authority.sees(ctx, "network", authority.of_network(ctx, found)):
        raise missing("network", network_id)
    return found


async def visible(db: Reader, ctx: RequestContext) -> list[Network]:
    """Networks that a server of the caller's project may be put on: the project's own, and shared ones."""
    project = ctx.project_id or ""
    own = [n for n in await rows.networks.by(db, "project_id", project) if not n.external or n.shared_to(project)]
    shared = [n for n in await rows.networks.listing.page(db, [("shared_to", "eq", project)]) if n.project_id != project]
    return own + shared


async def create_in(tx: Transaction, ctx: RequestContext, *, project_id: str, set_: frozenset[str] = frozenset(), **fields: Any) -> Network:
    """Record a network. fields: of Network; `set_`: attributes (wire names) the caller gave. Raises: Invalid, Forbidden, OverQuota."""
    shared, external = fields.pop("shared", False), fields.get("external", False)
    target = authority.of_project(project_id, shared=shared, **{"router:external": external})
    authority.require(ctx, "create_network", target, set_)
    check_zones(ctx, fields.get("availability_zone_hints", ()))
    await qos.check_usable(tx, ctx, fields.get("qos_policy_id"))
    if fields.get("qos_policy_id") is None and not external:
        fields["qos_policy_id"] = await qos.default_for(tx, project_id)
    await QUOTA.charge(tx, project_id, network=1)
    wanted = _segments_wanted(fields)
    segment = await segments.choose_in(tx, ctx, project_id, *wanted[0])
    if fields.get("qinq") and (fields.get("vlan_transparent") or segment["network_type"] != "vlan"):
        raise invalid("qinq is for vlan networks, and not together with vlan_transparent")
    mtu = _mtu(ctx, segment["network_type"], fields.pop("mtu", None))
    now = ctx.now_us
    for on, name in ((shared, "shared_with"), (external, "external_to")):
        fields |= {name: (EVERYONE,)} if on else {}
    if external and fields.get("is_default"):
        await _check_one_default(tx, "")
    network = Network(id=ctx.new_id(), project_id=project_id, mtu=mtu, created_at=now, updated_at=now, **segment, **fields)
    await rows.networks.add(tx, network)
    await segments.add_in(tx, ctx, network.id, segment)
    for more in wanted[1:]:
        await segments.add_in(tx, ctx, network.id, await segments.choose_in(tx, ctx, project_id, *more))
    for on, action in ((shared, SHARED), (external, EXTERNAL)):
        if on:
            await sharing.add_in(tx, ctx, project_id, "network", network.id, action)
    look_at(tx, "network", network.id)
    return network


def check_mtu(network: Network, version: int) -> None:
    """A network carries the smallest packets of an IP version. Raises: Conflict."""
    if network.mtu < LOWEST_MTU[version]:
        raise conflict("NetworkMTUSubnetConflict", f"MTU of {network.id} is not valid, subnet requires a minimum of {LOWEST_MTU[version]}")


def _segments_wanted(fields: dict[str, Any]) -> list[tuple[str | None, str | None, int | None]]:
    """Type, physical network and number of each segment that a new network is to have; takes what it reads out of `fields`."""
    names = ("network_type", "physical_network", "segmentation_id")
    single, many = [fields.pop(name, None) for name in names], fields.pop("segments", ())
    if many and any(value is not None for value in single):
        raise Invalid("Segments and provider values cannot both be set.", type="SegmentsSetInConjunctionWithProviders", field="segments")
    wanted = [(one.get(names[0]), one.get(names[1]), one.get(names[2])) for one in many] or [(single[0], single[1], single[2])]
    if any(wanted.count(one) > 1 for one in wanted if one[0] != "vlan" or one[2] is not None):
        raise Invalid("Duplicate segment entry in request.", type="SegmentsContainDuplicateEntry", field="segments")
    segments.check_many([one[0] or "geneve" for one in wanted])
    return wanted


def _mtu(ctx: RequestContext, network_type: Any, asked: int | None) -> int:
    most = highest_mtu(network_type, ctx.settings.network.underlay_mtu)
    if not asked:
        return most
    if asked > most:
        raise invalid(f"Requested MTU is too big, maximum is {most}")
    return asked


async def update_in(
    tx: Transaction, ctx: RequestContext, id: str, *, set_: frozenset[str], revision: int | None = None, **changes: Any
) -> Network:
    """Change what the caller gave. Raises: NotFound, Forbidden, Invalid, Conflict, PreconditionFailed."""
    network = await get(tx, rows.networks, "network", id)
    authority.require(ctx, "update_network", authority.of_network(ctx, network), set_)
    check_zones(ctx, changes.get("availability_zone_hints", ()))
    if changes.get("qos_policy_id") != network.qos_policy_id:
        await qos.check_usable(tx, ctx, changes.get("qos_policy_id"))
    check_revision(network.revision_number, revision)
    if provider := {"network_type", "physical_network", "segmentation_id"} & changes.keys():
        same = all(changes[name] == getattr(network, name) for name in provider)
        if not same:
            raise invalid("Plugin does not support updating provider attributes")
        changes = {k: v for k, v in changes.items() if k not in provider}
    if "mtu" in changes:
        changes["mtu"] = _mtu(ctx, network.network_type, changes["mtu"])
        for subnet in await rows.subnets.by(tx, "network_id", id):
            check_mtu(structs.replace(network, mtu=changes["mtu"]), subnet.ip_version)
    if "shared" in changes:
        try:
            network = await sharing.set_shared_in(tx, ctx, "network", network, changes.pop("shared"))
        except Conflict:
            raise conflict(
                "InvalidSharedSetting", f"Unable to reconfigure sharing settings for network {id}. Multiple projects are using it."
            ) from None
    if changes.get("external") is False and network.external and await _has_gateways(tx, id):
        raise conflict(
            "ExternalNetworkInUse", f"External network {id} cannot be updated to be made non-external, since it has existing gateway ports"
        )
    if changes.get("external", network.external) != network.external:
        network = await _set_external(tx, ctx, network, changes["external"])
    changes.pop("external", None)
    if network.external and changes.get("is_default"):
        await _check_one_default(tx, id)
    network = await rows.networks.save(tx, network, ctx.now_us, **changes)
    look_at(tx, "network", id)
    return network


async def _has_gateways(db: Reader, network_id: str) -> bool:
    return any(p.device_owner == Owner.ROUTER_GATEWAY for p in await rows.ports.by(db, "network_id", network_id))


async def _check_one_default(tx: Transaction, network_id: str) -> None:
    for other in await rows.networks.by(tx, "default_outside", 1):
        if other.id != network_id:
            raise conflict("DefaultExternalNetworkExists", f"A default external network already exists: {other.id}.")


async def _set_external(tx: Transaction, ctx: RequestContext, network: Network, on: bool) -> Network:
    """External for everyone, or for nobody any more."""
    if on:
        made: Network = await sharing.set_shared_in(tx, ctx, "network", network, True, EXTERNAL)
        return made
    await sharing.forget_in(tx, network.id, EXTERNAL)
    return await rows.networks.save(tx, network, ctx.now_us, external=False, external_to=())


async def delete_in(tx: Transaction, ctx: RequestContext, id: str, *, revision: int | None = None) -> None:
    """Remove a network, its subnets and its own ports. Raises: NotFound, Forbidden, Conflict while other ports use it."""
    from moln.network.ops import floating_ips, ports, subnets

    network = await get(tx, rows.networks, "network", id)
    authority.require(ctx, "delete_network", authority.of_network(ctx, network))
    check_revision(network.revision_number, revision)
    on_it = await rows.ports.by(tx, "network_id", id)
    idle = await floating_ips.idle_on(tx, id) if network.external else []
    kept_by = {f.floating_port_id for f in idle}
    using = [p for p in on_it if p.device_owner not in AUTO_DELETED and p.id not in kept_by]
    if using:
        raise conflict(
            "NetworkInUse",
            f"Unable to complete operation on network {id}. There are one or more ports still in use on the network, "
            f"id(s) for these ports is {','.join(p.id for p in using[:10])}.",
        )
    for fip in idle:
        await floating_ips.drop_in(tx, ctx, fip)
    for port in on_it:
        if port.id not in kept_by:
            await ports.drop_in(tx, ctx, port)
    for subnet in await rows.subnets.by(tx, "network_id", id):
        await subnets.drop_in(tx, subnet)
    for segment in await store.segments.by(tx, "network_id", id):
        await store.segments.remove(tx, segment.id)
    await sharing.forget_in(tx, id)
    await rows.set_tags(tx, id, ())
    await rows.networks.remove(tx, id)
    await QUOTA.refund(tx, network.project_id, network=1)
    look_at(tx, "network", id)
    look_at(tx, "names", id)
