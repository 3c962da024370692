"""Server groups: what a caller may do to them, and what a boot into one must heed."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from moln.compute.model.server_groups import Companions, GroupPolicy, Member, ServerGroup
from moln.compute.ops.quotas import QUOTA
from moln.compute.store import server_groups as store
from moln.kernel.context import RequestContext
from moln.kernel.db import Transaction
from moln.kernel.errors import Forbidden, Invalid, NotFound, OverQuota

P = "os_compute_api:os-server-groups"
HINT = "group"
Listed = tuple[ServerGroup, list[Member]]


def missing(group_id: str) -> NotFound:
    return NotFound(f"Instance group {group_id[:64]} could not be found.")


async def index(ctx: RequestContext, *, all_projects: bool, limit: int, offset: int) -> list[Listed]:
    """One page, with members. all_projects: heeded for administrators alone, as Nova does. Raises: Forbidden."""
    ctx.require("compute", f"{P}:index", {"project_id": ctx.project_id})
    project_id: str | None = ctx.project_id or ""
    if all_projects and ctx.is_admin:
        ctx.require("compute", f"{P}:index:all_projects", {})
        project_id = None
    groups = await store.page(ctx.db, project_id, limit=limit, offset=offset)
    members = await store.members(ctx.db, [g.id for g in groups])
    return [(g, members[g.id]) for g in groups]


async def show(ctx: RequestContext, group_id: str) -> Listed:
    """Raises: NotFound, Forbidden."""
    group = await store.find(ctx.db, group_id)
    if group is None:
        raise missing(group_id)
    ctx.require("compute", f"{P}:show", {"project_id": group.project_id})
    return group, (await store.members(ctx.db, [group.id]))[group.id]


async def create(ctx: RequestContext, name: str, policy: GroupPolicy, most_per_host: int | None) -> ServerGroup:
    """Raises: Forbidden, OverQuota; Invalid, for a rule that the policy does not have."""
    ctx.require("compute", f"{P}:create", {"project_id": ctx.project_id})
    if ctx.project_id is None:
        raise Forbidden("A server group needs a project: the token has none.")
    if most_per_host is not None and policy is not GroupPolicy.ANTI_AFFINITY:
        raise Invalid("Only anti-affinity policy supports rules.", field="rules")
    group = ServerGroup(ctx.new_id(), ctx.project_id, ctx.user_id or "", name, policy, most_per_host)
    await ctx.db.write(create_in, group)
    return group


async def create_in(tx: Transaction, group: ServerGroup) -> None:
    try:
        await QUOTA.charge(tx, group.project_id, server_groups=1)
    except OverQuota as over:
        raise OverQuota("Quota exceeded, too many server groups.", resources=over.resources) from None
    await store.add(tx, group)


async def delete(ctx: RequestContext, group_id: str) -> None:
    """Its servers go on without it. Raises: NotFound, Forbidden."""
    await ctx.db.write(delete_in, ctx, group_id)


async def delete_in(tx: Transaction, ctx: RequestContext, group_id: str) -> None:
    group = await store.find(tx, group_id)
    if group is None:
        raise missing(group_id)
    ctx.require("compute", f"{P}:delete", {"project_id": group.project_id})
    if not await store.remove(tx, group.id):
        raise missing(group_id)
    await QUOTA.refund(tx, group.project_id, server_groups=1)


async def hinted(ctx: RequestContext, hints: dict[str, Any]) -> ServerGroup | None:
    """The group that a boot's hints name. Raises: Invalid, when there is none, or it is another project's."""
    if HINT not in hints:
        return None
    asked = hints[HINT]
    try:
        group_id = str(UUID(asked))
    except (TypeError, ValueError, AttributeError):
        raise Invalid(f"Invalid input for field/attribute group. Value: {str(asked)[:64]}. It is not a 'uuid'.", field=HINT) from None
    group = await store.find(ctx.db, group_id)
    if group is None or group.project_id != ctx.project_id:
        raise Invalid(missing(group_id).message, field=HINT)
    return group


async def join_in(tx: Transaction, ctx: RequestContext, group: ServerGroup, server_id: str) -> Companions:
    """The server is in the group, which is locked until the commit; where the others are. Raises: Invalid, OverQuota."""
    if not await store.lock(tx, group.id):
        raise Invalid(missing(group.id).message, field=HINT)
    others = (await store.members(tx, [group.id]))[group.id]
    most = (await QUOTA.limits(tx, group.project_id))["server_group_members"]
    if 0 <= most <= sum(m.user_id == ctx.user_id for m in others):  # Nova counts those of the one who asks
        raise OverQuota("Quota exceeded, too many servers in group", resources=("server_group_members",))
    await store.join(tx, group.id, server_id)
    return await store.companions(tx, group, but=server_id)


async def names_of(ctx: RequestContext, server_id: str) -> list[str]:
    """`server_groups` of a server (2.71)."""
    group = await store.of_server(ctx.db, server_id)
    return [group.id] if group is not None else []
