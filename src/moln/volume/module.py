"""The volume area as app.py takes it."""

from __future__ import annotations

from typing import Any

from moln.kernel.cloud import Cloud
from moln.kernel.http.schemas import Described
from moln.kernel.module import Module
from moln.volume.api import (
    actions,
    attachments,
    backups,
    default_types,
    discovery,
    encryptions,
    group_snapshots,
    group_types,
    groups,
    marks,
    messages,
    qos_specs,
    quotas,
    services,
    snapshots,
    transfers,
    types,
    volumes,
)
from moln.volume.model.types import DEFAULT_TYPE
from moln.volume.ops import hosts
from moln.volume.ops.pools import pools_of
from moln.volume.ops.quotas import QUOTA
from moln.volume.ops.types import ensure_default
from moln.volume.store import types as types_store
from moln.volume.work.backups import BACKUPS
from moln.volume.work.groups import GROUP_SNAPSHOTS, GROUPS
from moln.volume.work.pools import INVARIANTS, POOLS, look_at
from moln.volume.work.snapshots import SNAPSHOTS
from moln.volume.work.volumes import VOLUMES

AREAS = (
    discovery, volumes, actions, marks, snapshots, types, default_types, encryptions, qos_specs, group_types, groups, group_snapshots, attachments,
    backups, transfers, quotas, services, messages,
)  # fmt: skip


def module(settings: Any) -> Module:
    """settings: the whole cloud's; ours is `settings.volume`."""

    async def setup(cloud: Cloud) -> None:
        QUOTA.defaults |= {
            "volumes": settings.volume.quota_volumes,
            "snapshots": settings.volume.quota_snapshots,
            "gigabytes": settings.volume.quota_gigabytes,
            "per_volume_gigabytes": settings.volume.per_volume_gib,
        }
        pools_of(cloud)
        await hosts.load(cloud)
        if not await types_store.find_named(cloud.db, DEFAULT_TYPE):
            await cloud.db.write(ensure_default, cloud.ids.uuid(), cloud.clock.now_us())

        async def node_up(node: str, facts: bytes) -> None:
            await look_at(cloud, node)

        cloud.links.on_report("node.up", node_up)

    return Module(
        "volume",
        routes=tuple(area.routes for area in AREAS),
        reconcilers=(VOLUMES, SNAPSHOTS, GROUPS, GROUP_SNAPSHOTS, BACKUPS),
        periodics=(POOLS,),
        invariants=INVARIANTS,
        setup=setup,
        describe=_describe,
    )


def _describe() -> Described:
    from moln.volume.api.description import described

    return described()
