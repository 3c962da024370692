"""/os-security-groups and /os-security-group-rules (until 2.35): network's, in Nova's old words, of which only ingress rules are told."""

from __future__ import annotations

import ipaddress
from typing import Any

from msgspec import UNSET, Struct, UnsetType

from moln.compute.api.routes import routes
from moln.compute.api.server_bodies import is_uuid
from moln.compute.api.shapes import offset_of
from moln.kernel.context import RequestContext
from moln.kernel.db import Transaction
from moln.kernel.errors import Conflict, Forbidden, Invalid, NotFound
from moln.kernel.http import Body, Params, bounded_limit
from moln.network.model.security_groups import SecurityGroup, SecurityGroupRule
from moln.network.ops import for_compute, security_group_rules, security_groups

PATH, RULES, UNTIL = "/v2.1/os-security-groups", "/v2.1/os-security-group-rules", "2.35"
P = "os_compute_api:os-security-groups"
EVERYWHERE = "0.0.0.0/0"


def _rule(rule: SecurityGroupRule, groups: dict[str, SecurityGroup]) -> dict[str, Any]:
    low, high = rule.port_range_min, rule.port_range_max
    if rule.protocol is not None and low is None and high is None:
        low, high = (1, 65535) if rule.protocol in ("tcp", "udp") else (-1, -1)
    shown: dict[str, Any] = {
        "id": rule.id, "parent_group_id": rule.security_group_id, "ip_protocol": rule.protocol, "from_port": low, "to_port": high,
        "group": {}, "ip_range": {},
    }  # fmt: skip
    if rule.remote_group_id is None:
        shown["ip_range"] = {"cidr": rule.remote_ip_prefix or EVERYWHERE}
    elif (remote := groups.get(rule.remote_group_id)) is not None:
        shown["group"] = {"name": remote.name, "tenant_id": remote.project_id}
    return shown


async def _views(ctx: RequestContext, found: list[SecurityGroup]) -> list[dict[str, Any]]:
    rules = await for_compute.rules_of(ctx.db, [g.id for g in found])
    remotes = await for_compute.group_owners(ctx.db, {r.remote_group_id for rs in rules.values() for r in rs if r.remote_group_id})
    return [
        {"id": g.id, "name": g.name, "description": g.description, "tenant_id": g.project_id,
         "rules": [_rule(r, remotes) for r in rules[g.id] if r.direction == "ingress"]} for g in found
    ]  # fmt: skip


async def _find(ctx: RequestContext, id: Any) -> SecurityGroup:
    """Raises: Invalid, NotFound."""
    if not isinstance(id, str) or not is_uuid(id):
        raise Invalid("Security group id should be uuid", field="id")
    try:
        return await for_compute.security_group(ctx.db, ctx, id)
    except NotFound:
        raise NotFound(f"Security group {id} not found.") from None


@routes.get(PATH, until=UNTIL)
async def list_security_groups(ctx: RequestContext, query: Params) -> dict[str, Any]:
    ctx.require("compute", f"{P}:get", {"project_id": ctx.project_id})
    everywhere = ctx.is_admin and query.get("all_tenants", ["0"])[-1] not in ("", "0")
    await security_groups.ensure_default(ctx, ctx.project_id or "")
    found = await for_compute.security_groups(ctx.db, None if everywhere else ctx.project_id or "")
    found.sort(key=lambda g: (g.project_id, g.name))
    limit, offset = bounded_limit(query.get("limit", [None])[-1]), offset_of(query)
    return {"security_groups": await _views(ctx, found[offset : offset + limit])}


@routes.get(PATH + "/{security_group_id}", until=UNTIL)
async def show_security_group(ctx: RequestContext, security_group_id: str) -> dict[str, Any]:
    ctx.require("compute", f"{P}:show", {"project_id": ctx.project_id})
    return {"security_group": (await _views(ctx, [await _find(ctx, security_group_id)]))[0]}


class GroupBody(Body, root="security_group"):
    name: Any = None
    description: Any = None


def _text(value: Any, field: str) -> str:
    """Raises: Invalid."""
    if not isinstance(value, str):
        raise Invalid(f"Security group {field} is not a string or unicode", field=field)
    if len(value) > 255:
        raise Invalid(f"Security group {field} should not be greater than 255 characters.", field=field)
    return value


@routes.post(PATH, until=UNTIL)
async def create_security_group(ctx: RequestContext, body: GroupBody) -> dict[str, Any]:
    ctx.require("compute", f"{P}:create", {"project_id": ctx.project_id})
    made = await ctx.db.write(_create_in, ctx, _text(body.name, "name"), _text(body.description, "description"))
    return {"security_group": (await _views(ctx, [made]))[0]}


async def _create_in(tx: Transaction, ctx: RequestContext, name: str, description: str) -> SecurityGroup:
    """Raises: Invalid, OverQuota."""
    try:
        return await security_groups.create_in(tx, ctx, project_id=ctx.project_id or "", name=name, description=description)
    except Conflict as taken:
        raise Invalid(taken.message) from None


@routes.put(PATH + "/{security_group_id}", until=UNTIL)
async def update_security_group(ctx: RequestContext, security_group_id: str, body: GroupBody) -> dict[str, Any]:
    ctx.require("compute", f"{P}:update", {"project_id": ctx.project_id})
    group = await _find(ctx, security_group_id)
    wanted = {"name": _text(body.name, "name"), "description": _text(body.description, "description")}
    made = await ctx.db.write(_update_in, ctx, group.id, wanted)
    return {"security_group": (await _views(ctx, [made]))[0]}


async def _update_in(tx: Transaction, ctx: RequestContext, id: str, wanted: dict[str, str]) -> SecurityGroup:
    """Raises: NotFound, Invalid."""
    try:
        return await security_groups.update_in(tx, ctx, id, set_=frozenset(wanted), **wanted)
    except Conflict as refused:
        raise Invalid(refused.message) from None


@routes.delete(PATH + "/{security_group_id}", status=202, until=UNTIL)
async def delete_security_group(ctx: RequestContext, security_group_id: str) -> None:
    ctx.require("compute", f"{P}:delete", {"project_id": ctx.project_id})
    group = await _find(ctx, security_group_id)
    await ctx.db.write(_delete_in, ctx, group.id)


async def _delete_in(tx: Transaction, ctx: RequestContext, id: str) -> None:
    """Raises: NotFound, Invalid."""
    try:
        await security_groups.delete_in(tx, ctx, id)
    except (Conflict, Forbidden) as refused:
        raise Invalid(refused.message) from None


class RuleBody(Body, root="security_group_rule"):
    parent_group_id: Any = None
    ip_protocol: str | None = None
    from_port: int | str | None = None
    to_port: int | str | None = None
    cidr: str | None = None
    group_id: str | UnsetType | None = UNSET


class Match(Struct, frozen=True):
    """What a rule lets in. ports: or ICMP type and code; None: all."""

    protocol: str | None
    low: int | None
    high: int | None


def _match(body: RuleBody) -> Match:
    """Raises: Invalid, as Nova checked rules before there was Neutron."""
    word, low, high = (body.ip_protocol or "").upper(), body.from_port, body.to_port
    if body.group_id and low is None and high is None:
        low, high = (-1, -1) if word == "ICMP" else (1, 65535) if word in ("TCP", "UDP") else (None, None)
    if not word or low is None or high is None:
        if body.group_id:
            return Match(None, None, None)
        raise Invalid("Not enough parameters to build a valid rule.")
    try:
        low, high = int(low), int(high)
    except ValueError:
        what = "Type and Code must be integers for ICMP protocol type" if word == "ICMP" else "To and From ports must be integers"
        raise Invalid(f"Invalid input received: {what}", field="from_port") from None
    if word not in ("TCP", "UDP", "ICMP"):
        raise Invalid(f"Invalid IP protocol {body.ip_protocol!r:.64}.", field="ip_protocol")
    if word == "ICMP":
        if not (-1 <= low <= 255 and -1 <= high <= 255):
            raise Invalid(f"Invalid port range {low}:{high}. For ICMP, the type:code must be valid", field="from_port")
    elif low > high:
        raise Invalid(f"Invalid port range {low}:{high}. Former value cannot be greater than the later", field="from_port")
    elif low < 1 or high > 65535:
        raise Invalid(f"Invalid port range {low}:{high}. Valid {word} ports should be between 1-65535", field="from_port")
    return Match(word.lower(), None if low < 0 else low, None if high < 0 else high)


def _cidr(text: str | None) -> str:
    """Raises: Invalid."""
    try:
        found = ipaddress.ip_network((text or EVERYWHERE).strip(), strict=False)
    except ValueError:
        raise Invalid(f"Invalid cidr {str(text)[:64]}.", field="cidr") from None
    if found.prefixlen == 0 and (text or EVERYWHERE).partition("/")[0].strip() not in ("0.0.0.0", "::"):
        raise Invalid(f"Bad prefix for network in cidr {str(text)[:64]}", field="cidr")
    return (text or EVERYWHERE).strip()


@routes.post(RULES, until=UNTIL)
async def create_rule(ctx: RequestContext, body: RuleBody) -> dict[str, Any]:
    ctx.require("compute", f"{P}:rule:create", {"project_id": ctx.project_id})
    parent, match = await _find(ctx, body.parent_group_id), _match(body)
    remote = (await _find(ctx, body.group_id)) if body.group_id else None
    cidr = None if remote is not None else _cidr(body.cidr)
    fields: dict[str, Any] = {
        "security_group_id": parent.id, "direction": "ingress", "protocol": match.protocol, "port_range_min": match.low,
        "port_range_max": match.high, "remote_ip_prefix": cidr, "remote_group_id": remote.id if remote is not None else None,
        "ethertype": "IPv6" if ":" in (cidr or "") else "IPv4",
    }  # fmt: skip
    made = await ctx.db.write(_rule_in, ctx, fields)
    return {"security_group_rule": _rule(made, {remote.id: remote} if remote is not None else {})}


async def _rule_in(tx: Transaction, ctx: RequestContext, fields: dict[str, Any]) -> SecurityGroupRule:
    """Raises: NotFound, Invalid, OverQuota."""
    try:
        return await security_group_rules.create_in(tx, ctx, project_id=ctx.project_id or "", **fields)
    except Conflict as twice:
        raise Invalid(twice.message) from None


@routes.delete(RULES + "/{rule_id}", status=202, until=UNTIL)
async def delete_rule(ctx: RequestContext, rule_id: str) -> None:
    ctx.require("compute", f"{P}:rule:delete", {"project_id": ctx.project_id})
    if not is_uuid(rule_id):
        raise Invalid("Security group rule id should be uuid", field="id")
    try:
        await ctx.db.write(security_group_rules.delete_in, ctx, rule_id)
    except NotFound:
        raise NotFound(f"Rule ({rule_id}) not found") from None
