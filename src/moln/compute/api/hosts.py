"""/os-hosts (until 2.42): the hosts by name, as they were shown before /os-hypervisors and /os-services."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import UNSET, UnsetType

from moln.compute.api.routes import routes
from moln.compute.model.hosts import ComputeHost
from moln.compute.ops import services as ops
from moln.kernel.context import RequestContext
from moln.kernel.errors import Invalid, NotSupported
from moln.kernel.http import Body, Params
from moln.placement.model.names import DISK_GB, MEMORY_MB, VCPU

PATH, UNTIL = "/v2.1/os-hosts", "2.42"
P = "os_compute_api:os-hosts"


@routes.get(PATH, until=UNTIL)
async def list_hosts(ctx: RequestContext, query: Params) -> dict[str, Any]:
    ctx.require("compute", f"{P}:list", {})
    zone = query.get("zone", [""])[-1] or None
    return {"hosts": [
        {"host_name": h.name, "service": "compute", "zone": h.zone} for h in await ops.everything(ctx) if zone in (None, h.zone)
    ]}  # fmt: skip


def _resource(host: str, project: str, cpu: int, memory_mb: int, disk_gb: int) -> dict[str, Any]:
    return {"resource": {"host": host, "project": project, "cpu": cpu, "memory_mb": memory_mb, "disk_gb": disk_gb}}


@routes.get(PATH + "/{host_name}", until=UNTIL)
async def show_host(ctx: RequestContext, host_name: str) -> dict[str, Any]:
    """All that it has, what is taken of it, what its servers may use at most, and the same for each project."""
    ctx.require("compute", f"{P}:show", {})
    host = await ops.named(ctx, host_name)
    held = await ops.room(ctx, host)
    taken = [held[name].used + held[name].reserved if name in held else 0 for name in (VCPU, MEMORY_MB, DISK_GB)]
    by_project: dict[str, list[int]] = {}
    for project, flavor in await ops.flavors_on(ctx, host):
        sums = by_project.setdefault(project, [0, 0, 0])
        for at, n in enumerate((flavor.vcpus, flavor.ram, flavor.disk + flavor.ephemeral)):
            sums[at] += n
    most = [sum(sums[at] for sums in by_project.values()) for at in range(3)]
    facts = host.facts
    return {"host": [
        _resource(host.name, "(total)", facts.vcpus, facts.ram_mib, facts.disk_gib), _resource(host.name, "(used_now)", *taken),
        _resource(host.name, "(used_max)", *most), *(_resource(host.name, p, *sums) for p, sums in by_project.items()),
    ]}  # fmt: skip


class HostUpdate(Body):
    status: Literal["enable", "disable", "Enable", "Disable", "ENABLE", "DISABLE"] | UnsetType = UNSET
    maintenance_mode: Literal["enable", "disable", "Enable", "Disable", "ENABLE", "DISABLE"] | UnsetType = UNSET


@routes.put(PATH + "/{host_name}", until=UNTIL)
async def update_host(ctx: RequestContext, host_name: str, body: HostUpdate) -> dict[str, Any]:
    ctx.require("compute", f"{P}:update", {})
    if body.status is UNSET and body.maintenance_mode is UNSET:
        raise Invalid("Invalid input for field/attribute body. It does not have enough properties", field="status")
    host: ComputeHost = await ops.named(ctx, host_name)
    if body.maintenance_mode is not UNSET:
        raise NotSupported("Virt driver does not implement host maintenance mode.")
    disabled = body.status.lower() == "disable" if body.status is not UNSET else False
    await ops.switch(ctx, host, disabled=disabled)
    return {"host": host.name, "status": "disabled" if disabled else "enabled"}


async def _no_power(ctx: RequestContext, rule: str, host_name: str) -> None:
    """libvirt's driver has no power over its host in Nova, either. Raises: NotFound, NotSupported."""
    ctx.require("compute", f"{P}:{rule}", {})
    await ops.named(ctx, host_name)
    raise NotSupported("Virt driver does not implement host power management.")


@routes.get(PATH + "/{host_name}/reboot", until=UNTIL)
async def reboot_host(ctx: RequestContext, host_name: str) -> None:
    await _no_power(ctx, "reboot", host_name)


@routes.get(PATH + "/{host_name}/shutdown", until=UNTIL)
async def shut_host_down(ctx: RequestContext, host_name: str) -> None:
    await _no_power(ctx, "shutdown", host_name)


@routes.get(PATH + "/{host_name}/startup", until=UNTIL)
async def start_host(ctx: RequestContext, host_name: str) -> None:
    await _no_power(ctx, "start", host_name)
