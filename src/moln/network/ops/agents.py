"""Agents and availability zones: the engine's nodes as Neutron with OVN tells of them."""

from __future__ import annotations

import uuid
from typing import Any

from moln.kernel.clock import iso
from moln.kernel.context import RequestContext
from moln.network.model.topology import Chassis

LIVE_S = 300  # an agent that answered so lately is alive; one that never did, too
SPACE = uuid.UUID("7d1f3c1e-9d4c-5b7e-8a55-6d6f6c6e0001")


async def agents(ctx: RequestContext) -> list[dict[str, Any]]:
    """Two for each node: what switches and routes, and what serves metadata. Raises: Unavailable while the engine is out of reach."""
    engine = ctx.cloud.areas["network"]
    if engine.driver is None:
        return []
    found = []
    for node in await engine.driver.chassis():
        found += [_agent(ctx, node, kind, binary) for kind, binary in KINDS]
    return found


KINDS = (("OVN Controller Gateway agent", "ovn-controller"), ("OVN Metadata agent", "moln-metadata"))


def _agent(ctx: RequestContext, node: Chassis, kind: str, binary: str) -> dict[str, Any]:
    now = ctx.now_us
    seen = node.seen_at or now
    return {
        "id": str(uuid.uuid5(SPACE, f"{node.name} {binary}")),
        "agent_type": kind,
        "binary": binary,
        "host": node.hostname,
        "topic": "n/a",
        "alive": now - seen < LIVE_S * 1_000_000,
        "admin_state_up": True,
        "availability_zone": ctx.settings.network.availability_zone,
        "description": "",
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
