"""/os-server-groups."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import UNSET, UnsetType

from moln.compute.api.routes import routes
from moln.compute.api.server_bodies import name, number
from moln.compute.api.shapes import check_query, offset_of
from moln.compute.model.server_groups import GroupPolicy, Member, ServerGroup
from moln.compute.ops import server_groups as ops
from moln.kernel.context import RequestContext
from moln.kernel.errors import Invalid
from moln.kernel.http import Body, Params, bounded_limit, since, until

PATH = "/v2.1/os-server-groups"
MOST_PER_HOST = "max_server_per_host"
HARD = (GroupPolicy.ANTI_AFFINITY, GroupPolicy.AFFINITY)  # all that there were before 2.15


class Rules(Body):
    max_server_per_host: int | str | UnsetType = UNSET


class GroupCreate(Body, root="server_group"):
    name: str
    policies: Annotated[list[str] | UnsetType, until("2.63")] = UNSET
    policy: Annotated[str | UnsetType, since("2.64")] = UNSET
    rules: Annotated[Rules | UnsetType, since("2.64")] = UNSET


def _policy(ctx: RequestContext, body: GroupCreate) -> GroupPolicy:
    """Raises: Invalid."""
    field = "policy" if ctx.at_least(2, 64) else "policies"
    given = body.policy if ctx.at_least(2, 64) else body.policies
    if given is UNSET:
        raise Invalid(f"Invalid input for field/attribute server_group. '{field}' is a required property", field=field)
    if isinstance(given, list):
        if len(given) != 1:
            raise Invalid(f"Invalid input for field/attribute {field}. Value: {given[:8]}. It holds exactly one policy.", field=field)
        given = given[0]
    allowed = [str(p) for p in (GroupPolicy if ctx.at_least(2, 15) else HARD)]
    if given not in allowed:
        raise Invalid(f"Invalid input for field/attribute {field}. Value: {given[:64]}. {given[:64]!r} is not one of {allowed}", field=field)
    return GroupPolicy(given)


def _view(ctx: RequestContext, group: ServerGroup, members: list[Member]) -> dict[str, Any]:
    shown: dict[str, Any] = {"id": group.id, "name": group.name, "members": [m.server_id for m in members]}
    if ctx.at_least(2, 64):
        shown |= {"policy": group.policy, "rules": {MOST_PER_HOST: group.most_per_host} if group.most_per_host else {}}
    else:
        shown |= {"policies": [group.policy], "metadata": {}}
    if ctx.at_least(2, 13):
        shown |= {"project_id": group.project_id, "user_id": group.user_id}
    return shown


@routes.get(PATH)
async def list_groups(ctx: RequestContext, query: Params) -> dict[str, Any]:
    check_query(ctx, query, ("all_projects", "limit", "offset"))
    limit = bounded_limit(query.get("limit", [None])[-1])
    found = await ops.index(ctx, all_projects="all_projects" in query, limit=limit, offset=offset_of(query))
    return {"server_groups": [_view(ctx, *one) for one in found]}


@routes.post(PATH)
async def create_group(ctx: RequestContext, body: GroupCreate) -> dict[str, Any]:
    label, policy, most = name(body.name), _policy(ctx, body), None
    if body.rules is not UNSET and body.rules.max_server_per_host is not UNSET:
        most = number(body.rules.max_server_per_host, MOST_PER_HOST, least=1)
    return {"server_group": _view(ctx, await ops.create(ctx, label, policy, most), [])}


@routes.get(PATH + "/{group_id}")
async def show_group(ctx: RequestContext, group_id: str) -> dict[str, Any]:
    return {"server_group": _view(ctx, *await ops.show(ctx, group_id))}


@routes.delete(PATH + "/{group_id}")
async def delete_group(ctx: RequestContext, group_id: str) -> None:
    await ops.delete(ctx, group_id)
