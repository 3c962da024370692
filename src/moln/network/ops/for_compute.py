"""What compute's old proxies of this API look up, each in its caller's name: one page to read for both sides."""

from __future__ import annotations

from collections.abc import Iterable

from moln.kernel.context import RequestContext
from moln.kernel.db import Reader
from moln.network.model.networks import Network
from moln.network.model.ports import Port
from moln.network.model.routers import FloatingIp
from moln.network.model.security_groups import SecurityGroup, SecurityGroupRule
from moln.network.ops import authority
from moln.network.ops.common import get, missing
from moln.network.store import rows


async def visible_networks(db: Reader, ctx: RequestContext) -> list[Network]:
    """All that the caller's project may know of: its own, those shared with it, external ones."""
    project = ctx.project_id or ""
    found = {n.id: n for n in await rows.networks.by(db, "project_id", project)}
    for more in (await rows.networks.listing.page(db, [("shared_to", "eq", project)]), await external_networks(db, ctx)):
        found |= {n.id: n for n in more}
    return list(found.values())


async def external_networks(db: Reader, ctx: RequestContext) -> list[Network]:
    """Where floating addresses come from."""
    found = await rows.networks.by(db, "external", 1)
    return [n for n in found if authority.sees(ctx, "network", authority.of_network(ctx, n))]


async def floating_ips(db: Reader, project_id: str) -> list[FloatingIp]:
    return await rows.floating_ips.by(db, "project_id", project_id)


async def floating_ip(db: Reader, ctx: RequestContext, id: str) -> FloatingIp:
    """Raises: NotFound, also for one that the caller may not know of."""
    found = await get(db, rows.floating_ips, "floatingip", id)
    if not authority.sees(ctx, "floatingip", authority.of_project(found.project_id)):
        raise missing("floatingip", id)
    return found


async def floating_ip_at(db: Reader, ctx: RequestContext, address: str) -> FloatingIp | None:
    """The one with this address, if the caller may know of it; of several the project's own."""
    found = await rows.floating_ips.by(db, "floating_ip_address", address)
    found = [f for f in found if authority.sees(ctx, "floatingip", authority.of_project(f.project_id))]
    return min(found, key=lambda f: f.project_id != ctx.project_id, default=None)


async def ports_by_id(db: Reader, ids: Iterable[str]) -> dict[str, Port]:
    return {p.id: p for p in await rows.ports.some(db, ids)}


async def security_groups(db: Reader, project_id: str | None) -> list[SecurityGroup]:
    """A project's; of all projects with None."""
    return await (rows.groups.all(db) if project_id is None else rows.groups.by(db, "project_id", project_id))


async def security_group(db: Reader, ctx: RequestContext, id: str) -> SecurityGroup:
    """Raises: NotFound, also for one that the caller may not know of."""
    found = await get(db, rows.groups, "security_group", id)
    if not authority.sees(ctx, "security_group", authority.of_shareable(ctx, found)):
        raise missing("security_group", id)
    return found


async def rules_of(db: Reader, group_ids: Iterable[str]) -> dict[str, list[SecurityGroupRule]]:
    """The rules of each group, in the order they were made."""
    found: dict[str, list[SecurityGroupRule]] = {id: [] for id in group_ids}
    for rule in await rows.rules.by_any(db, "security_group_id", found):
        found[rule.security_group_id].append(rule)
    return found


async def group_owners(db: Reader, ids: Iterable[str]) -> dict[str, SecurityGroup]:
    """Groups by id, whoever asks: rules name them."""
    return {g.id: g for g in await rows.groups.some(db, ids)}
