"""What a project may have of volumes, snapshots and gigabytes (snapshots count as gigabytes too, as Cinder counts them)."""

from __future__ import annotations

from typing import Any

from moln.kernel.context import RequestContext
from moln.kernel.db import Reader, Transaction
from moln.kernel.errors import Invalid, OverQuota
from moln.kernel.quota import Quota
from moln.volume.ops.access import require

#: Everything that Cinder's quota sets speak of.
QUOTA = Quota(
    "volume",
    {
        "volumes": 10, "snapshots": 10, "gigabytes": 1000, "per_volume_gigabytes": -1, "backups": 10, "backup_gigabytes": 1000,
        "groups": 10,
    },
)  # fmt: skip
WORDS = {
    "volumes": "VolumeLimitExceeded: Maximum number of volumes allowed ({limit}) exceeded for quota 'volumes'.",
    "snapshots": "SnapshotLimitExceeded: Maximum number of snapshots allowed ({limit}) exceeded for quota 'snapshots'.",
    "backups": "BackupLimitExceeded: Maximum number of backups allowed ({limit}) exceeded",
    "backup_gigabytes": "VolumeBackupSizeExceedsAvailableQuota: Requested backup exceeds allowed Backup gigabytes quota. "
    "Requested {asked}G, quota is {limit}G and {used}G has been consumed.",
    "groups": "GroupLimitExceeded: Maximum number of groups allowed ({limit}) exceeded",
    "gigabytes": "VolumeSizeExceedsAvailableQuota: Requested volume or snapshot exceeds allowed gigabytes quota. "
    "Requested {asked}G, quota is {limit}G and {used}G has been consumed.",
}


async def charge(tx: Transaction, project_id: str, **amounts: int) -> None:
    """Raises: OverQuota, in Cinder's words."""
    try:
        await QUOTA.charge(tx, project_id, **amounts)
    except OverQuota as over:
        limits, used = await QUOTA.limits(tx, project_id), await QUOTA.used(tx, project_id)
        name = over.resources[0]
        text = WORDS[name].format(limit=limits[name], used=used[name], asked=amounts[name])
        raise OverQuota(text, resources=over.resources) from None


async def refund(tx: Transaction, project_id: str, **amounts: int) -> None:
    await QUOTA.refund(tx, project_id, **amounts)


async def check_size(db: Reader, project_id: str, size_gib: int) -> None:
    """Raises: Invalid, for a volume larger than any of the project's may be."""
    most = (await QUOTA.limits(db, project_id))["per_volume_gigabytes"]
    if 0 <= most < size_gib:
        raise Invalid(f"Requested volume size {size_gib}G is larger than maximum allowed limit {most}G.")


async def show(ctx: RequestContext, project_id: str) -> dict[str, tuple[int, int]]:
    """(limit, used) by resource. Raises: Forbidden."""
    require(ctx, "volume_extension:quotas:show", {"project_id": project_id})
    limits, used = await QUOTA.limits(ctx.db, project_id), await QUOTA.used(ctx.db, project_id)
    return {name: (limit, used.get(name, 0)) for name, limit in limits.items() if name in QUOTA.defaults}


async def defaults(ctx: RequestContext, project_id: str) -> dict[str, int]:
    """Raises: Forbidden."""
    require(ctx, "volume_extension:quotas:show", {"project_id": project_id})
    limits = await QUOTA.limits(ctx.db, "")
    return {name: limits[name] for name in QUOTA.defaults}


async def update(ctx: RequestContext, project_id: str, values: dict[str, int]) -> None:
    """Raises: Forbidden; Invalid, for a limit below what is used."""
    require(ctx, "volume_extension:quotas:update", {"project_id": project_id})
    await ctx.db.write(update_in, project_id, values)


async def update_in(tx: Transaction, project_id: str, values: dict[str, int]) -> None:
    used = await QUOTA.used(tx, project_id)
    for name, limit in values.items():
        if 0 <= limit < used.get(name, 0):
            raise Invalid(
                f"Quota {name} limit must be equal or greater than existing resources. Current usage is {used[name]} "
                f"and the requested limit is {limit}.",
                field=name,
            )
    await QUOTA.set_limits(tx, project_id, values)


async def delete(ctx: RequestContext, project_id: str) -> None:
    """Back to the defaults. Raises: Forbidden."""
    require(ctx, "volume_extension:quotas:delete", {"project_id": project_id})
    await ctx.db.write(reset_in, project_id)


async def reset_in(tx: Transaction, project_id: str) -> None:
    await QUOTA.reset(tx, project_id)


async def show_class(ctx: RequestContext) -> dict[str, int]:
    """What projects have by default. Raises: Forbidden."""
    require(ctx, "volume_extension:quota_classes:get", {"project_id": ctx.project_id})
    limits = await QUOTA.limits(ctx.db, "")
    return {name: limits[name] for name in QUOTA.defaults}


async def update_class(ctx: RequestContext, values: dict[str, int]) -> None:
    """Raises: Forbidden."""
    require(ctx, "volume_extension:quota_classes:update", {"project_id": ctx.project_id})
    await ctx.db.write(QUOTA.set_limits, "", values)


async def absolute(ctx: RequestContext, project_id: str) -> dict[str, Any]:
    """GET /limits: what there may be and what there is."""
    limits, used = await QUOTA.limits(ctx.db, project_id), await QUOTA.used(ctx.db, project_id)
    found: dict[str, Any] = {
        "maxTotalVolumeGigabytes": limits["gigabytes"],
        "maxTotalBackupGigabytes": limits["backup_gigabytes"],
        "maxTotalVolumes": limits["volumes"],
        "maxTotalSnapshots": limits["snapshots"],
        "maxTotalBackups": limits["backups"],
    }
    if ctx.allows("volume", "limits_extension:used_limits", {"project_id": project_id}):
        found |= {
            "totalVolumesUsed": used["volumes"],
            "totalGigabytesUsed": used["gigabytes"],
            "totalSnapshotsUsed": used["snapshots"],
            "totalBackupsUsed": used["backups"],
            "totalBackupGigabytesUsed": used["backup_gigabytes"],
        }
    return found
