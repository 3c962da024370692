"""/extensions: Nova's frozen names of what is always there since v2.1, of which we tell those that work."""

from __future__ import annotations

from typing import Any

from moln.compute.api.routes import routes
from moln.kernel.context import RequestContext
from moln.kernel.errors import NotFound

NAMES = {
    "OS-DCF": "DiskConfig", "OS-EXT-AZ": "ExtendedAvailabilityZone", "OS-EXT-IPS": "ExtendedIps", "OS-EXT-IPS-MAC": "ExtendedIpsMac",
    "OS-EXT-SRV-ATTR": "ExtendedServerAttributes", "OS-EXT-STS": "ExtendedStatus", "OS-FLV-EXT-DATA": "FlavorExtraData",
    "os-aggregates": "Aggregates", "OS-SCH-HNT": "SchedulerHints", "OS-SRV-USG": "ServerUsage", "os-access-ips": "AccessIPs", "os-attach-interfaces": "AttachInterfaces",
    "os-availability-zone": "AvailabilityZone", "os-block-device-mapping": "BlockDeviceMapping",
    "os-block-device-mapping-v2-boot": "BlockDeviceMappingV2Boot", "os-config-drive": "ConfigDrive", "os-console-output": "ConsoleOutput", "os-consoles": "Consoles",
    "os-create-backup": "CreateBackup", "os-migrate-server": "MigrateServer", "os-migrations": "Migrations",
    "os-personality": "Personality", "os-server-external-events": "ServerExternalEvents",
    "os-extended-volumes": "ExtendedVolumes", "os-flavor-access": "FlavorAccess", "os-flavor-extra-specs": "FlavorExtraSpecs",
    "os-flavor-manage": "FlavorManage", "os-hypervisors": "Hypervisors", "os-instance-actions": "InstanceActions",
    "os-keypairs": "Keypairs", "os-lock-server": "LockServer", "os-multiple-create": "MultipleCreate", "os-pause-server": "PauseServer",
    "os-quota-class-sets": "QuotaClasses", "os-quota-sets": "Quotas", "os-server-start-stop": "ServerStartStop", "os-services": "Services",
    "image-metadata": "ImageMetadata", "image-size": "ImageSize", "images": "Images", "os-admin-password": "AdminPassword",
    "os-floating-ip-pools": "FloatingIpPools", "os-floating-ips": "FloatingIps", "os-hosts": "Hosts",
    "os-instance-usage-audit-log": "InstanceUsageAuditLog", "os-multinic": "Multinic", "os-networks": "Networks",
    "os-security-groups": "SecurityGroups", "os-server-diagnostics": "ServerDiagnostics", "os-server-groups": "ServerGroups",
    "os-server-password": "ServerPassword", "os-simple-tenant-usage": "SimpleTenantUsage", "os-tenant-networks": "OSTenantNetworks",
    "os-used-limits": "UsedLimits", "os-user-data": "UserData", "os-volumes": "Volumes",
}  # fmt: skip


def _view(alias: str) -> dict[str, Any]:
    return {"alias": alias, "name": NAMES[alias], "description": f"{NAMES[alias]} support.", "links": [],
            "namespace": "http://docs.openstack.org/compute/ext/fake_xml", "updated": "2014-12-03T00:00:00Z"}  # fmt: skip


@routes.get("/v2.1/extensions")
async def list_extensions(ctx: RequestContext) -> dict[str, Any]:
    ctx.require("compute", "os_compute_api:extensions", {})
    return {"extensions": [_view(alias) for alias in NAMES]}


@routes.get("/v2.1/extensions/{alias}")
async def show_extension(ctx: RequestContext, alias: str) -> dict[str, Any]:
    ctx.require("compute", "os_compute_api:extensions", {})
    if alias not in NAMES:
        raise NotFound(f"Extension {alias[:64]} could not be found.")
    return {"extension": _view(alias)}
