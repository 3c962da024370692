"""Compute's numbers for `/metrics`."""

from __future__ import annotations

from collections.abc import Mapping

from moln.compute.ops import hosts
from moln.compute.store import servers as store
from moln.kernel.cloud import Cloud
from moln.kernel.db import Reader
from moln.kernel.metrics import Family, Spread
from moln.placement.model.providers import Inventory
from moln.placement.ops import providers

Samples = list[tuple[Mapping[str, str], float | Spread]]


async def families(cloud: Cloud) -> list[Family]:
    """Servers by state and by node, counted by an index or one pass over a column; nodes, and what of them is allocated."""
    known = sorted(hosts.table(cloud).hosts.values(), key=lambda h: h.name)
    states, on, held = await cloud.db.read(_counted, [h.id for h in known])

    def each(value: str) -> Samples:
        return [({"node": h.name, "resource": name}, getattr(inventory, value))
                for h in known for name, inventory in sorted(held[h.id].items())]  # fmt: skip

    return [
        Family("moln_servers", "gauge", "Servers, by what they settle in.", [({"state": state}, n) for state, n in sorted(states.items())]),
        Family("moln_node_up", "gauge", "Whether a node that runs servers is connected.", [({"node": h.name}, int(h.up)) for h in known]),
        Family("moln_node_maintenance", "gauge", "Whether somebody works on a node.", [({"node": h.name}, int(h.maintenance)) for h in known]),
        Family("moln_node_servers", "gauge", "Servers on a node.", [({"node": h.name}, on.get(h.name, 0)) for h in known]),
        Family("moln_node_capacity", "gauge", "What of a node may be allocated, by placement's resource class and in its unit.",
               each("capacity")),
        Family("moln_node_used", "gauge", "What of a node is allocated.", each("used")),
    ]  # fmt: skip


async def _counted(db: Reader, ids: list[str]) -> tuple[dict[str, int], dict[str, int], dict[str, dict[str, Inventory]]]:
    """Servers by state, servers by host, inventories by provider and class."""
    rooms = await providers.rooms_in(db, ids)
    return await store.by_state(db), await store.by_host(db), {id: room[0] for id, room in rooms.items()}
