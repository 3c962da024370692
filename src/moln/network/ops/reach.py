"""Which nodes reach which networks."""

from __future__ import annotations

from collections.abc import Iterable

from moln.kernel.db import Reader
from moln.network.model.networks import Network
from moln.network.store import rows, segments


async def cut_off(db: Reader, networks: Iterable[Network]) -> frozenset[str]:
    """Nodes that reach no segment of one of these networks, by their names. A network between nodes is reached from all of them, and what is
    not known of a node speaks for nothing."""
    wanted = {n.id: n for n in networks if n.physical_network is not None}
    if not wanted:
        return frozenset()
    reached: dict[str, set[str | None]] = {n.id: {n.physical_network} for n in wanted.values()}
    for segment in await segments.segments.by_any(db, "network_id", wanted):
        reached[segment.network_id].add(segment.physical_network)
    out = set()
    for host in await segments.all_hosts(db):
        if any(None not in by and by.isdisjoint(host.physical_networks) for by in reached.values()):
            out |= {host.name, host.hostname}
    return frozenset(out)


async def cut_off_from(db: Reader, network_ids: Iterable[str]) -> frozenset[str]:
    """The same of networks by their ids."""
    return await cut_off(db, await rows.networks.some(db, network_ids))
