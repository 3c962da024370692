"""GET /allocation_candidates."""

from __future__ import annotations

import re
from typing import Any

from moln.kernel.context import RequestContext
from moln.kernel.errors import Invalid
from moln.kernel.http import Params, Reply
from moln.placement.api.routes import answer, check_query, member_of, query_uuid, resources, routes, traits
from moln.placement.model.candidates import Group, Request
from moln.placement.ops import candidates as ops
from moln.placement.store.providers import Landscape

_GROUP = re.compile(r"(resources|required|member_of|in_tree)(.*)")


def known(ctx: RequestContext) -> dict[str, tuple[int, int]]:
    suffix = "" if ctx.version < (1, 25) else "([1-9][0-9]*)?" if ctx.version < (1, 33) else "([a-zA-Z0-9_-]{1,64})?"
    return {
        "limit": (1, 16), "group_policy": (1, 25), "root_required": (1, 35), "same_subtree": (1, 36),
        f"resources{suffix}": (1, 10), f"required{suffix}": (1, 17), f"member_of{suffix}": (1, 21), f"in_tree{suffix}": (1, 31),
    }  # fmt: skip


def _groups(ctx: RequestContext, query: Params, subtrees: tuple[frozenset[str], ...]) -> tuple[Group, ...]:
    """Raises: Invalid, when a group asks for no resources (allowed in a subtree only)."""
    parts: dict[str, dict[str, list[str]]] = {}
    for name, values in query.items():
        found = _GROUP.fullmatch(name)
        if found and name not in ("root_required",):
            parts.setdefault(found[2], {})[found[1]] = values
    groups = []
    for suffix, part in sorted(parts.items()):
        if "resources" not in part and not any(suffix in s for s in subtrees):
            orphans = ", ".join(f"{key}{suffix}" for key in part)
            raise Invalid(f"All request groups must specify resources. Found: {orphans}", type="placement.query.missing_value")
        needed, forbidden = traits(ctx, part.get("required", []))
        aggregates, not_aggregates = member_of(ctx, part.get("member_of", []))
        groups.append(Group(
            suffix, resources(part["resources"][-1]) if "resources" in part else {}, needed, forbidden, aggregates, not_aggregates,
            query_uuid(part, "in_tree"),
        ))  # fmt: skip
    if not any(g.resources for g in groups):
        raise Invalid("At least one request group (`resources` or `resources{$S}`) is required.", type="placement.query.missing_value")
    return tuple(groups)


def to_request(ctx: RequestContext, query: Params) -> Request:
    limit, policy = query.get("limit", [None])[-1], query.get("group_policy", [None])[-1]
    if limit is not None and not re.fullmatch("[1-9][0-9]{0,8}", limit):
        raise Invalid(f"Invalid query string parameters: {limit[:64]!r} does not match '^[1-9][0-9]*$'", field="limit")
    if policy not in (None, "none", "isolate"):
        raise Invalid(f"Invalid query string parameters: {policy[:64]!r} is not one of ['none', 'isolate']", field="group_policy")
    subtrees = tuple(frozenset(text.split(",")) for text in query.get("same_subtree", []))
    groups = _groups(ctx, query, subtrees)
    unknown = {s for names in subtrees for s in names} - {g.suffix for g in groups}
    if unknown:
        raise Invalid(f"Real suffixes should be specified in 'same_subtree': {', '.join(sorted(unknown))} not found in the request.",
                      type="placement.query.bad_value")  # fmt: skip
    if policy is None and sum(bool(g.suffix) for g in groups) > 1:
        raise Invalid('The "group_policy" parameter is required when specifying more than one "resources{N}" parameter.',
                      type="placement.query.missing_value")  # fmt: skip
    if len(query.get("root_required", [])) > 1:
        raise Invalid("Query parameter 'root_required' may be specified only once.", type="placement.query.duplicate_key")
    root, not_root = traits(ctx, query.get("root_required", []), any_of=False)
    return Request(
        groups, policy == "isolate", ctx.version >= (1, 29), frozenset(t for want in root for t in want), not_root, subtrees,
        int(limit) if limit else None,
    )  # fmt: skip


@routes.get("/allocation_candidates", since="1.10")
async def list_candidates(ctx: RequestContext, query: Params) -> Reply:
    check_query(ctx, query, known(ctx))
    request = to_request(ctx, query)
    found, land = await ops.find(ctx, request)
    shown = []
    for candidate in found:
        if ctx.version < (1, 12):
            listed = [{"resource_provider": {"uuid": p}, "resources": r} for p, r in candidate.resources.items()]
            shown.append({"allocations": listed})
            continue
        entry: dict[str, Any] = {"allocations": {p: {"resources": r} for p, r in candidate.resources.items()}}
        if ctx.version >= (1, 34):
            entry["mappings"] = candidate.mappings
        shown.append(entry)
    used = {p for c in found for p in c.resources}
    roots = {land.providers[p].root_id for p in used}
    asked = {name for g in request.groups for name in g.resources}
    nested = ctx.version >= (1, 29)
    around = [p for p in land.providers.values() if p.id in used or (nested and p.root_id in roots)]
    summaries = {p.id: _summary(ctx, land, p.id, asked) for p in around}
    return answer(ctx, {"allocation_requests": shown, "provider_summaries": summaries})


def _summary(ctx: RequestContext, land: Landscape, id: str, asked: set[str]) -> dict[str, Any]:
    held = land.inventories[id].values()
    shown: dict[str, Any] = {"resources": {
        i.resource_class: {"capacity": i.capacity, "used": i.used} for i in held if ctx.version >= (1, 27) or i.resource_class in asked
    }}  # fmt: skip
    if ctx.version >= (1, 17):
        shown["traits"] = sorted(land.traits[id])
    if ctx.version >= (1, 29):
        shown |= {"parent_provider_uuid": land.providers[id].parent_id, "root_provider_uuid": land.providers[id].root_id}
    return shown
