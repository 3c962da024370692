"""Neutron's policy: a rule for the action, one for each guarded attribute that was set, and what a caller may know of."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from moln.kernel.context import POLICIES, RequestContext
from moln.kernel.errors import Forbidden, NotFound
from moln.network.model.networks import Network
from moln.network.model.security_groups import SecurityGroup
from moln.network.model.sharing import reaches

Target = dict[str, Any]


def knows(ctx: RequestContext, rule: str) -> bool:
    """Whether there is such a rule; attributes without one are free."""
    return ctx.cloud.policy.knows(POLICIES["network"], rule)


def require(ctx: RequestContext, action: str, target: Target, attributes: Iterable[str] = ()) -> None:
    """Allow the action, and setting each attribute ("binding:host_id", "fixed_ips:ip_address"). Raises: Forbidden.

    For what exists already (not `create_…`) a caller who may not even see it learns nothing. Raises then: NotFound. Whoever asks about an
    action like `add_subports` has looked before whether the caller sees the thing.
    """
    rules = [action, *(rule for name in attributes if knows(ctx, rule := f"{action}:{name}"))]
    if all(ctx.allows("network", rule, target) for rule in rules):
        return
    verb, _, resource = action.partition("_")
    if verb != "create" and knows(ctx, seeing := f"get_{resource}") and not ctx.allows("network", seeing, target):
        raise NotFound("The resource could not be found.", type="HTTPNotFound")
    said = " and ".join(f"rule:{rule}" for rule in rules)
    raise Forbidden(f"{f'({said})' if len(rules) > 1 else said} is disallowed by policy", type="PolicyNotAuthorized")


def sees(ctx: RequestContext, resource: str, target: Target) -> bool:
    """Whether the caller may know of it."""
    return ctx.allows("network", f"get_{resource}", target)


def of_project(project_id: str, **more: Any) -> Target:
    """A target that belongs to a project."""
    return {"project_id": project_id, "tenant_id": project_id, **more}


def shared_with(ctx: RequestContext, targets: Iterable[str]) -> bool:
    """Whether something shared with these projects is shared with the caller's."""
    return reaches(targets, ctx.project_id)


def of_shareable(ctx: RequestContext, thing: Any, **more: Any) -> Target:
    """What may be shared, as policy sees it: `shared` is whether it is shared with the caller."""
    return of_project(thing.project_id, **{"id": thing.id, "shared": shared_with(ctx, thing.shared_with), **more})


def of_network(ctx: RequestContext, network: Network, **more: Any) -> Target:
    """A network as policy sees it."""
    return of_shareable(ctx, network, **{"router:external": network.outside_of(ctx.project_id), **more})


def on_network(ctx: RequestContext, project_id: str, network: Network, **more: Any) -> Target:
    """A subnet or port as policy sees it: with its network's owner."""
    parent = {"network_id": network.id, "network:project_id": network.project_id, "network:tenant_id": network.project_id}
    shared, external = shared_with(ctx, network.shared_with), network.outside_of(ctx.project_id)
    return of_project(project_id, **parent, **{"network:shared": shared, "router:external": external, **more})


def in_group(project_id: str, group: SecurityGroup) -> Target:
    """A rule as policy sees it: with its group's owner."""
    return of_project(project_id, **{"security_group:project_id": group.project_id, "security_group:tenant_id": group.project_id})
