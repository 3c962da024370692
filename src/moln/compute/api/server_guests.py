"""What a server tells of its guest, and what is told to it: diagnostics, topology, passwords."""

from __future__ import annotations

from typing import Any

from moln.compute.api.routes import routes
from moln.compute.api.server_actions import action
from moln.compute.drivers.guests import CardNumbers, Diagnostics
from moln.compute.model.servers import Server
from moln.compute.ops import guests, server_password, topology
from moln.kernel.context import RequestContext
from moln.kernel.http import Body

PASSWORD = "/v2.1/servers/{server_id}/os-server-password"


@routes.get("/v2.1/servers/{server_id}/diagnostics")
async def show_diagnostics(ctx: RequestContext, server_id: str) -> dict[str, Any]:
    server, found = await guests.diagnostics(ctx, server_id)
    return _standard(ctx, server, found) if ctx.at_least(2, 48) else _raw(found)


def _raw(found: Diagnostics) -> dict[str, int]:
    """The hypervisor's own names, as they were shown before 2.48."""
    shown = {f"cpu{n}_time": ns for n, ns in enumerate(found.cpu_times_ns)}
    for d in found.disks:
        shown |= {f"{d.device}_read_req": d.read_requests, f"{d.device}_read": d.read_bytes, f"{d.device}_write_req": d.write_requests,
                  f"{d.device}_write": d.write_bytes, f"{d.device}_errors": d.errors}  # fmt: skip
    shown["memory"] = found.memory_kib
    shown |= {f"memory-{name}": value for name, value in found.memory_stats.items()}
    for c in found.cards:
        shown |= {f"{c.name}_{way}{suffix}": value for way, numbers in _ways(c).items() for suffix, value in numbers.items()}
    return shown


def _ways(c: CardNumbers) -> dict[str, dict[str, int]]:
    return {
        "rx": {"": c.rx_octets, "_packets": c.rx_packets, "_errors": c.rx_errors, "_drop": c.rx_drop},
        "tx": {"": c.tx_octets, "_packets": c.tx_packets, "_errors": c.tx_errors, "_drop": c.tx_drop},
    }


def _standard(ctx: RequestContext, server: Server, found: Diagnostics) -> dict[str, Any]:
    """The same for every hypervisor (2.48). Rates and utilisation are None: libvirt does not measure them."""
    cards = [
        {"mac_address": c.mac, "rx_octets": c.rx_octets, "rx_packets": c.rx_packets, "rx_errors": c.rx_errors, "rx_drop": c.rx_drop,
         "rx_rate": None, "tx_octets": c.tx_octets, "tx_packets": c.tx_packets, "tx_errors": c.tx_errors, "tx_drop": c.tx_drop,
         "tx_rate": None} for c in found.cards
    ]  # fmt: skip
    disks = [
        {"read_bytes": d.read_bytes, "read_requests": d.read_requests, "write_bytes": d.write_bytes, "write_requests": d.write_requests,
         "errors_count": d.errors} for d in found.disks
    ]  # fmt: skip
    return {
        "state": "running", "driver": found.driver, "hypervisor": found.hypervisor, "hypervisor_os": "linux",
        "uptime": (ctx.now_us - (server.launched_at or ctx.now_us)) // 1_000_000, "config_drive": server.config_drive,
        "num_cpus": len(found.cpu_times_ns), "num_nics": len(cards), "num_disks": len(disks),
        "memory_details": {"maximum": found.memory_kib // 1024, "used": found.memory_used_kib // 1024},
        "cpu_details": [{"id": n, "time": ns, "utilisation": None} for n, ns in enumerate(found.cpu_times_ns)],
        "nic_details": cards, "disk_details": disks,
    }  # fmt: skip


@routes.get("/v2.1/servers/{server_id}/topology", since="2.78")
async def show_topology(ctx: RequestContext, server_id: str) -> dict[str, Any]:
    await topology.show(ctx, server_id)
    return {"nodes": [], "pagesize_kb": None}


@routes.get(PASSWORD)
async def show_password(ctx: RequestContext, server_id: str) -> dict[str, str]:
    return {"password": await server_password.show(ctx, server_id)}


@routes.delete(PASSWORD)
async def clear_password(ctx: RequestContext, server_id: str) -> None:
    await server_password.clear(ctx, server_id)


class PasswordChange(Body, root="changePassword"):
    adminPass: str


@action("changePassword")
async def change_password(ctx: RequestContext, server_id: str, body: PasswordChange) -> None:
    await guests.change_password(ctx, server_id, body.adminPass)


@action("injectNetworkInfo")
async def inject_network_info(ctx: RequestContext, server_id: str) -> None:
    await guests.inject_network_info(ctx, server_id)
