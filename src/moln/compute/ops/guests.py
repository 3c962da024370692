"""What a running guest is asked and told: its numbers, and an administrator's password in it."""

from __future__ import annotations

from moln.compute.drivers.guests import Diagnostics, Guests
from moln.compute.model import server_states
from moln.compute.model.servers import PowerState, Server
from moln.compute.ops.servers import get_for, may_override
from moln.compute.store import instance_actions
from moln.kernel.context import RequestContext
from moln.kernel.db import Transaction
from moln.kernel.errors import BackendRefused, Conflict, NotSupported

CALL_S = 30.0
AREA = "compute-guests"
ACTION = "changePassword"
AGENT = "hw_qemu_guest_agent"  # the image's property by which a server has a channel to an agent
TRUE = frozenset({"1", "t", "true", "on", "y", "yes"})


def _driver(ctx: RequestContext, server: Server) -> Guests:
    """Raises: Conflict, when the server has no host."""
    if server.host is None:
        raise Conflict(f"Instance {server.id} is not ready")
    return ctx.cloud.links.driver(server.host, AREA, Guests, deadline_s=CALL_S)


async def diagnostics(ctx: RequestContext, server_id: str) -> tuple[Server, Diagnostics]:
    """Raises: NotFound, Forbidden, Conflict, when it does not run, Unavailable."""
    server = await get_for(ctx.db, ctx, server_id, "os_compute_api:os-server-diagnostics")
    found = await _driver(ctx, server).find_diagnostics(server.id)
    if found is None:
        state = PowerState(server.power_state).name.lower()
        raise Conflict(f"Cannot 'get_diagnostics' instance {server.id} while it is in power state {state}")
    return server, found


async def change_password(ctx: RequestContext, server_id: str, password: str) -> None:
    """Through the agent in the guest, at once. Raises: NotFound, Forbidden, Unavailable.

    Conflict, when the server's state, its image or the agent forbid it; NotSupported, when no agent answers.
    """
    server = await ctx.db.write(_begin_in, ctx, server_id)
    error: str | None = f"Failed to set admin password on {server.id} because error setting admin password"
    try:
        if server.image_properties.get(AGENT, "").lower() not in TRUE:
            raise Conflict("QEMU guest agent is not enabled")
        user = server.image_properties.get("os_admin_user")
        user = user or ("Administrator" if server.image_properties.get("os_type") == "windows" else "root")
        if not await _driver(ctx, server).set_password(server.id, user, password):
            raise NotSupported("set_admin_password is not implemented by this driver or guest instance.")
        error = None
    except BackendRefused:
        raise Conflict(error or "") from None
    finally:
        await ctx.db.write(instance_actions.finish, server, ACTION, ctx.now_us, error=error)


async def inject_network_info(ctx: RequestContext, server_id: str) -> None:
    """Nothing but its checks: guests learn their addresses by DHCP and metadata, and libvirt's driver injects nothing in Nova, either.

    Raises: NotFound, Forbidden, Conflict.
    """
    server = await get_for(ctx.db, ctx, server_id, "os_compute_api:os-admin-actions:inject_network_info")
    server_states.check(server, "inject_network_info", override_lock=may_override(ctx, server))


async def _begin_in(tx: Transaction, ctx: RequestContext, server_id: str) -> Server:
    server = await get_for(tx, ctx, server_id, "os_compute_api:os-admin-password")
    server_states.check(server, ACTION, override_lock=may_override(ctx, server))
    if server.power_state != PowerState.RUNNING:
        raise Conflict(f"Failed to set admin password on {server.id} because instance {server.id} is not running")
    await instance_actions.begin(tx, ctx, server.id, ACTION, "compute_set_admin_password", server.host)
    return server
