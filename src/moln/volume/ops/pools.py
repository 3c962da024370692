"""Which node holds a new volume: the pools as they last told of themselves, in memory only."""

from __future__ import annotations

from msgspec import Struct

from moln.kernel.cloud import Cloud
from moln.kernel.errors import Invalid
from moln.volume.drivers.base import Pool


class Pools(Struct):
    """The nodes' pools as last seen. seen: by node; at: µs UTC when each was asked; disabled: why, by node that takes no new ones.

    frozen: the nodes where what there is may not change either.
    """

    seen: dict[str, Pool] = {}
    at: dict[str, int] = {}
    disabled: dict[str, str | None] = {}
    frozen: set[str] = set()


def pools_of(cloud: Cloud) -> Pools:
    """The volume area's memory."""
    found: Pools = cloud.areas.setdefault("volume", Pools())
    return found


def pick(cloud: Cloud, size_gib: int) -> str | None:
    """The node that is there and has most room for so many GiB; one that has not told yet counts as empty. None: no node fits."""
    pools = pools_of(cloud)
    seen, there = pools.seen, cloud.links.nodes - pools.disabled.keys()
    free = {node: seen[node].free_gib if node in seen else float("inf") for node in there}
    fitting = {node: gib for node, gib in free.items() if gib >= 1}  # thin: a volume may promise more than there is now
    return max(sorted(fitting), key=lambda node: fitting[node]) if fitting else None


def check_thawed(cloud: Cloud, host: str | None) -> None:
    """Raises: Invalid, for what lies on a frozen node."""
    if host is not None and host in pools_of(cloud).frozen:
        raise Invalid("Invalid input received: The volume service of its host is frozen; an administrator thaws it.")


def reaches(cloud: Cloud, node: str, holder: str) -> bool:
    """Whether `node` can open what lies in the pool of `holder`: its own, one that both share, or one whose volumes are lent."""
    return shares(cloud, node, holder) or (lends(cloud, node) and lends(cloud, holder))


def shares(cloud: Cloud, node: str, holder: str) -> bool:
    """Whether both see one pool."""
    if node == holder:
        return True
    seen = pools_of(cloud).seen
    here, there = seen.get(node), seen.get(holder)
    return here is not None and there is not None and bool(here.shared) and here.shared == there.shared


def lends(cloud: Cloud, node: str | None) -> bool:
    """Whether a node lends its volumes, and opens those of others."""
    pool = pools_of(cloud).seen.get(node or "")
    return pool is not None and pool.lent and not pool.shared


def may_lend(cloud: Cloud, node: str) -> bool:
    """Whether a node lends its volumes as far as is known: one that has not told of its pool yet may."""
    return node not in pools_of(cloud).seen or lends(cloud, node)


def bound_to(cloud: Cloud, holder: str | None) -> str | None:
    """The one node that can open what lies in a pool; None where several can, or nothing lies anywhere yet. Who is not there lends nothing."""
    seen = pools_of(cloud).seen
    if holder is None or (holder in seen and seen[holder].shared) or (holder in cloud.links.nodes and lends(cloud, holder)):
        return None
    return holder


def near(cloud: Cloud, holder: str | None) -> str | None:
    """The node where what lies in a pool is opened without a way through the network; None where that is all the same."""
    pool = pools_of(cloud).seen.get(holder or "")
    return None if pool is not None and pool.shared else holder


def out_of_reach(cloud: Cloud, holders: frozenset[str]) -> frozenset[str]:
    """The nodes that cannot open what lies in the pools of all these."""
    if not holders:
        return frozenset()
    return frozenset(node for node in pools_of(cloud).seen if not all(reaches(cloud, node, holder) for holder in holders))
