"""Versions and extensions of the volume API."""

from __future__ import annotations

from typing import Any

from moln.kernel.context import RequestContext
from moln.kernel.http import Routes
from moln.volume.api.faults import SERVICE
from moln.volume.api.versions import MAX_VERSION, MIN_VERSION

routes = Routes(SERVICE)
UPDATED = "2023-08-31T00:00:00Z"
EXTENSIONS = {
    "os-types-manage": "TypesManage",
    "os-types-extra-specs": "TypesExtraSpecs",
    "os-volume-type-access": "VolumeTypeAccess",
    "backups": "Backups",
    "encryption": "Encryption",
    "qos-specs": "Qos_specs_manage",
    "os-volume-encryption-metadata": "VolumeEncryptionMetadata",
    "os-quota-sets": "Quotas",
    "os-services": "Services",
    "os-hosts": "Hosts",
    "os-volume-transfer": "VolumeTransfer",
    "capabilities": "Capabilities",
    "os-availability-zone": "AvailabilityZones",
    "os-admin-actions": "AdminActions",
    "os-volume-actions": "VolumeActions",
    "os-used-limits": "UsedLimits",
    "os-vol-image-meta": "VolumeImageMetadata",
    "os-vol-host-attr": "VolumeHostAttribute",
    "os-vol-tenant-attr": "VolumeTenantAttribute",
    "os-vol-mig-status-attr": "VolumeMigStatusAttribute",
    "os-extended-snapshot-attributes": "ExtendedSnapshotAttributes",
    "scheduler-stats": "Scheduler_stats",
}


def versions(ctx: RequestContext) -> dict[str, Any]:
    low, high = (".".join(map(str, v)) for v in (MIN_VERSION, MAX_VERSION))
    href = f"{ctx.settings.public_url}{SERVICE.prefix}/v3/"
    entry = {
        "id": "v3.0",
        "status": "CURRENT",
        "version": high,
        "min_version": low,
        "updated": UPDATED,
        "links": [
            {"rel": "describedby", "type": "text/html", "href": "https://docs.openstack.org/"},
            {"rel": "self", "href": href},
        ],
        "media-types": [{"base": "application/json", "type": "application/vnd.openstack.volume+json;version=3"}],
    }
    return {"versions": [entry]}


@routes.get("/", public=True, status=300)
async def list_versions(ctx: RequestContext) -> dict[str, Any]:
    return versions(ctx)


@routes.get("/v3", public=True)
async def show_v3(ctx: RequestContext) -> dict[str, Any]:
    return versions(ctx)


@routes.get("/v3/extensions")
async def list_extensions(ctx: RequestContext) -> dict[str, Any]:
    return {
        "extensions": [{"name": n, "alias": alias, "description": "", "updated": UPDATED, "links": []} for alias, n in EXTENSIONS.items()]
    }
