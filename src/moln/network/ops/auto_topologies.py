"""A network, subnets from the default pools and a router to the default external network, for who asks for no more than that
(network v2.0 api-ref, "Auto Allocated Topologies")."""

from __future__ import annotations

from moln.kernel.context import RequestContext
from moln.kernel.db import Reader, Transaction
from moln.kernel.errors import Conflict, Forbidden
from moln.network.model.networks import Network
from moln.network.model.subnet_pools import SubnetPool
from moln.network.ops import authority, networks, routers, subnet_pools, subnets
from moln.network.ops.common import conflict
from moln.network.store import auto_topologies as store
from moln.network.store import rows


def _failure(reason: str) -> Conflict:
    return conflict("AutoAllocationFailure", f"Deployment error: {reason}.")


def _check(ctx: RequestContext, project_id: str) -> None:
    if project_id != ctx.project_id and not ctx.is_admin:
        raise Forbidden("Not authorized.", type="NotAuthorized")


async def check(db: Reader, ctx: RequestContext, project_id: str) -> tuple[Network, list[SubnetPool]]:
    """What a topology would be made of. Raises: Forbidden; Conflict, naming what the cloud lacks."""
    _check(ctx, project_id)
    outside = await rows.networks.by(db, "default_outside", 1)
    if not outside:
        raise _failure("No default router:external network")
    pools = [pool for version in (4, 6) if (pool := await subnet_pools.default_for(db, version)) is not None]
    if not pools:
        raise _failure("No default subnetpools defined")
    return outside[0], pools


async def get_in(tx: Transaction, ctx: RequestContext, project_id: str) -> str:
    """The id of the project's network; made, in one transaction, when there is none. Raises: Forbidden, Conflict, OverQuota."""
    _check(ctx, project_id)
    authority.require(ctx, "get_auto_allocated_topology", authority.of_project(project_id))
    there = await store.find(tx, project_id)
    if there is not None:
        if await rows.networks.find(tx, there.network_id) is not None:
            return there.network_id
        await store.forget(tx, project_id)
    outside, pools = await check(tx, ctx, project_id)
    network = await networks.create_in(tx, ctx, project_id=project_id, name="auto_allocated_network")
    router = await routers.create_in(
        tx, ctx, project_id=project_id, name="auto_allocated_router", gateway={"network_id": outside.id}, set_=frozenset()
    )
    for pool in pools:
        subnet = await subnets.create_in(
            tx, ctx, project_id=project_id, name=f"auto_allocated_subnet_v{pool.ip_version}", network_id=network.id,
            ip_version=pool.ip_version, subnetpool_id=pool.id, enable_dhcp=True, ipv6_ra_mode=None, ipv6_address_mode=None,
        )  # fmt: skip
        await routers.add_interface_in(tx, ctx, router.id, subnet_id=subnet.id, port_id=None)
    await store.keep(tx, store.AutoTopology(project_id, network.id, router.id))
    return network.id


async def delete_in(tx: Transaction, ctx: RequestContext, project_id: str) -> None:
    """Take it all down; nothing, when there is none. Raises: Forbidden, Conflict while something uses it."""
    _check(ctx, project_id)
    authority.require(ctx, "delete_auto_allocated_topology", authority.of_project(project_id))
    there = await store.find(tx, project_id)
    if there is None:
        return
    if await rows.routers.find(tx, there.router_id) is not None:
        for meeting in await rows.meetings_of(tx, there.router_id):
            await routers.remove_interface_in(tx, ctx, there.router_id, subnet_id=meeting.subnet_id, port_id=None)
        await routers.delete_in(tx, ctx, there.router_id)
    if await rows.networks.find(tx, there.network_id) is not None:
        await networks.delete_in(tx, ctx, there.network_id)
    await store.forget(tx, project_id)
