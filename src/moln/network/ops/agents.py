"""Agents and availability zones: the engine's nodes as Neutron with OVN tells of them."""

from __future__ import annotations

import uuid
from typing import Any

from moln.kernel.clock import iso
from moln.kernel.context import RequestContext
from moln.network.model.routers import Router
from moln.network.model.topology import Chassis, gateway_candidates
from moln.network.ops import authority
from moln.network.ops.common import bad, conflict, missing
from moln.network.store import agents as store
from moln.network.store import rows, segments

LIVE_S = 75  # an agent that answered so lately is alive (work/engine.ASK_S); one that was never asked, too
SPACE = uuid.UUID("7d1f3c1e-9d4c-5b7e-8a55-6d6f6c6e0001")
KINDS = (("OVN Controller Gateway agent", "ovn-controller"), ("OVN Metadata agent", "moln-metadata"))


async def agents(ctx: RequestContext) -> list[dict[str, Any]]:
    """Two for each node: what switches and routes, and what serves metadata. Raises: Unavailable while the engine is out of reach."""
    engine = ctx.cloud.areas["network"]
    if engine.driver is None:
        return []
    said = await store.descriptions(ctx.db)
    found = []
    for node in await engine.driver.chassis():
        found += [_agent(ctx, node, kind, binary, said) for kind, binary in KINDS]
    return found


async def get(ctx: RequestContext, id: str) -> dict[str, Any]:
    """One agent that the caller may know of. Raises: NotFound."""
    found = [a for a in await agents(ctx) if a["id"] == id] if ctx.allows("network", "get_agent", {}) else []
    if not found:
        raise missing("agent", id)
    return found[0]


async def update(ctx: RequestContext, id: str, *, description: str | None, admin_state_up: bool) -> dict[str, Any]:
    """Describe an agent. It cannot be disabled: OVN has no such switch. Raises: NotFound, Forbidden, Invalid."""
    agent = await get(ctx, id)
    authority.require(ctx, "update_agent", {})
    if not admin_state_up:
        raise bad("agent", "OVN agent status cannot be updated")
    if description is not None:
        await ctx.db.write(store.describe, id, description)
        agent["description"] = description
    return agent


async def delete(ctx: RequestContext, id: str) -> None:
    """Forget the node of an agent that is dead, and with it both its agents. Raises: NotFound, Forbidden, Conflict while it is alive."""
    agent = await get(ctx, id)
    authority.require(ctx, "delete_agent", {})
    if agent["alive"]:  # it would come back at once, and its guests be cut off meanwhile
        raise conflict("AgentInUse", f"Agent {id} is alive on {agent['host']}: stop it there before it is deleted.")
    await ctx.cloud.areas["network"].driver.forget_chassis(agent["configurations"]["chassis_name"])
    for _, binary in KINDS:
        await ctx.db.write(store.describe, _id(agent["configurations"]["chassis_name"], binary), "")


async def of_router(ctx: RequestContext, router_id: str) -> list[dict[str, Any]]:
    """Agents whose nodes stand by for a router's gateway, the preferred first. Raises: NotFound, Forbidden."""
    authority.require(ctx, "get_l3-agents", {})
    router = await rows.routers.find(ctx.db, router_id)
    if router is None:
        raise missing("router", router_id)
    candidates = await _candidates(ctx, router)
    there = {a["configurations"]["chassis_name"]: a for a in await agents(ctx) if a["binary"] == KINDS[0][1]}
    return [there[name] | {"ha_chassis_priority": len(candidates) - place} for place, name in enumerate(candidates) if name in there]


async def routers_of(ctx: RequestContext, id: str) -> list[Router]:
    """Routers whose gateway an agent's node stands by for. Raises: NotFound, Forbidden."""
    agent = await get(ctx, id)
    authority.require(ctx, "get_l3-routers", {})
    if agent["binary"] != KINDS[0][1]:
        return []
    name = agent["configurations"]["chassis_name"]
    routed = [r for r in await rows.routers.all(ctx.db) if r.gateway_port_id is not None]
    return [router for router in routed if name in await _candidates(ctx, router)]


async def _candidates(ctx: RequestContext, router: Router) -> list[str]:
    """Chassis that stand by for a router's first gateway, as the engine is told."""
    port = await rows.ports.find(ctx.db, router.gateway_port_id or "")
    if port is None:
        return []
    network = await rows.networks.find(ctx.db, port.network_id)
    physical = None if network is None else network.physical_network
    for subnet in await rows.subnets.some(ctx.db, [ip.subnet_id for ip in port.fixed_ips]):
        segment = await segments.segments.find(ctx.db, subnet.segment_id or "")
        physical = physical if segment is None else segment.physical_network
    return gateway_candidates(router.id, physical, await ctx.cloud.areas["network"].driver.chassis())


def _id(node: str, binary: str) -> str:
    return str(uuid.uuid5(SPACE, f"{node} {binary}"))


def _agent(ctx: RequestContext, node: Chassis, kind: str, binary: str, said: dict[str, str]) -> dict[str, Any]:
    now, id = ctx.now_us, _id(node.name, binary)
    seen = node.seen_at or now
    return {
        "id": id,
        "agent_type": kind,
        "binary": binary,
        "host": node.hostname,
        "topic": "n/a",
        "alive": now - seen < LIVE_S * 1_000_000,
        "admin_state_up": True,
        "availability_zone": ctx.settings.network.availability_zone,
        "description": said.get(id, ""),
        "created_at": iso(seen, suffix=""),
        "started_at": iso(seen, suffix=""),
        "heartbeat_timestamp": iso(seen, suffix=""),
        "configurations": {
            "chassis_name": node.name,
            "bridge-mappings": ",".join(node.physical_networks),
            "tunnel_ip": ",".join(node.tunnel_ips),
        },
        "resources_synced": None,
    }
