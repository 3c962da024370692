"""Nodes as an administrator of volumes sees them: whose pools take new volumes, and who has what there."""

from __future__ import annotations

from moln.kernel.cloud import Cloud
from moln.kernel.context import RequestContext
from moln.kernel.errors import Invalid, NotFound
from moln.volume.model.volumes import BACKEND
from moln.volume.ops.access import require
from moln.volume.ops.pools import pools_of
from moln.volume.store import hosts as store
from moln.volume.store import snapshots, volumes


async def load(cloud: Cloud) -> None:
    """Read again whose pools are closed."""
    known = await store.disabled(cloud.db)
    pools_of(cloud).disabled = {host: reason for host, (reason, _) in known.items()}
    pools_of(cloud).frozen = {host for host, (_, frozen) in known.items() if frozen}


def known(ctx: RequestContext) -> list[str]:
    """Every node that is there or told of its pool before."""
    return sorted(ctx.cloud.links.nodes | pools_of(ctx.cloud).seen.keys())


def node_of(ctx: RequestContext, host: str) -> str:
    """The node of `node@backend` or `node@backend#pool`. Raises: NotFound."""
    node, _, backend = host.partition("@")
    if node not in known(ctx) or backend.partition("#")[0] != BACKEND:
        raise NotFound(f"Host '{host[:255]}' could not be found.")
    return node


async def set_disabled(ctx: RequestContext, host: str, binary: str, disabled: bool, reason: str | None) -> None:
    """Raises: Forbidden, NotFound."""
    require(ctx, "volume_extension:services:update", {"project_id": ctx.project_id})
    if binary != "cinder-volume":
        raise NotFound(f"Service {binary[:64]} could not be found on host {host[:255]}.")
    await ctx.db.write(store.set_disabled, node_of(ctx, host), disabled, reason)
    await load(ctx.cloud)


async def set_frozen(ctx: RequestContext, host: str, frozen: bool) -> None:
    """A frozen node takes no new volumes, and what lies there neither grows nor goes. Raises: Forbidden; Invalid, for no such host."""
    require(ctx, f"volume:{'freeze' if frozen else 'thaw'}_host", {"project_id": ctx.project_id})
    try:
        node = node_of(ctx, host)
    except NotFound as missing:  # Cinder answers 400 here, 404 elsewhere
        raise Invalid(f"Invalid input received: {missing.message}", field="host") from None
    await ctx.db.write(store.set_disabled, node, frozen, "frozen" if frozen else None, frozen)
    await load(ctx.cloud)


async def usage(ctx: RequestContext, host: str) -> dict[str, tuple[int, int, int, int]]:
    """(volumes, GiB, snapshots, GiB) by project. Raises: Forbidden, NotFound."""
    require(ctx, "volume_extension:hosts", {"project_id": ctx.project_id})
    node = node_of(ctx, host)
    found: dict[str, list[int]] = {}
    for volume in await ctx.db.all(volumes.ON_HOSTS):
        if volume.host == node:
            row = found.setdefault(volume.project_id, [0, 0, 0, 0])
            row[0] += 1
            row[1] += volume.size_gib
    for snapshot in await ctx.db.all(snapshots.ON_HOSTS):
        if snapshot.host == node:
            row = found.setdefault(snapshot.project_id, [0, 0, 0, 0])
            row[2] += 1
            row[3] += snapshot.size_gib
    return {project: (row[0], row[1], row[2], row[3]) for project, row in found.items()}
