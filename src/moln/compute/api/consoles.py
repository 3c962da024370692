"""Addresses of remote consoles: the one operation since 2.6, the actions before it, and what a token stands for."""

from __future__ import annotations

from typing import Any, Literal

from moln.compute.api.routes import routes
from moln.compute.api.server_actions import PATH
from moln.compute.model.consoles import Kind
from moln.compute.ops import consoles
from moln.compute.ops.servers import get_for
from moln.kernel.context import RequestContext
from moln.kernel.errors import Gone, Invalid
from moln.kernel.http import Body

RULE = "os_compute_api:os-remote-consoles"
SINCE: dict[str, tuple[int, int]] = {"mks": (2, 8), "webmks": (2, 8), "spice-direct": (2, 99)}


class RemoteConsole(Body, root="remote_console"):
    protocol: Literal["vnc", "spice", "serial", "rdp", "mks"]
    type: Literal["novnc", "xvpvnc", "spice-html5", "spice-direct", "serial", "rdp-html5", "webmks"]


@routes.post("/v2.1/servers/{server_id}/remote-consoles", since="2.6")
async def create(ctx: RequestContext, server_id: str, body: RemoteConsole) -> dict[str, Any]:
    for field, value in (("protocol", body.protocol), ("type", body.type)):
        if ctx.version < SINCE.get(value, (2, 6)):
            raise Invalid(f"Invalid input for field/attribute {field}. Value: {value}.", field=field)
    url = await _address(ctx, server_id, body.protocol, body.type)
    return {"remote_console": {"protocol": body.protocol, "type": body.type, "url": url}}


class VncConsole(Body, root="os-getVNCConsole"):
    type: Literal["novnc", "xvpvnc"]


class SerialConsole(Body, root="os-getSerialConsole"):
    type: Literal["serial"]


class SpiceConsole(Body, root="os-getSPICEConsole"):
    type: Literal["spice-html5"]


@routes.post(PATH, action="os-getVNCConsole", until="2.5")
async def vnc(ctx: RequestContext, server_id: str, body: VncConsole) -> dict[str, Any]:
    return {"console": {"type": body.type, "url": await _address(ctx, server_id, "vnc", body.type)}}


@routes.post(PATH, action="os-getSerialConsole", until="2.5")
async def serial(ctx: RequestContext, server_id: str, body: SerialConsole) -> dict[str, Any]:
    return {"console": {"type": body.type, "url": await _address(ctx, server_id, "serial", body.type)}}


@routes.post(PATH, action="os-getSPICEConsole", until="2.5")
async def spice(ctx: RequestContext, server_id: str, body: SpiceConsole) -> dict[str, Any]:
    return {"console": {"type": body.type, "url": await _address(ctx, server_id, "spice", body.type)}}


@routes.post(PATH, action="os-getRDPConsole", until="2.5")
async def rdp(ctx: RequestContext, server_id: str) -> None:
    raise Gone("RDP consoles were removed with the Hyper-V driver.")


async def _address(ctx: RequestContext, server_id: str, protocol: str, type: str) -> str:
    """Raises: Invalid, for what no server of this cloud has; and as ops does."""
    await get_for(ctx.db, ctx, server_id, RULE)
    if protocol not in ("vnc", "serial") or type == "xvpvnc":
        raise consoles.unavailable(protocol if protocol == "rdp" else type)
    kind = Kind(protocol)
    if type != consoles.NAMES[kind]:
        raise Invalid(f"Invalid console type {type}")
    return await consoles.create(ctx, server_id, kind)


@routes.get("/v2.1/os-console-auth-tokens/{token}")
async def show(ctx: RequestContext, token: str) -> dict[str, Any]:
    if not ctx.at_least(2, 31):
        raise Invalid("Before microversion 2.31 there are tokens of RDP consoles only, and no such consoles.")
    found = await consoles.show(ctx, token)
    path = f"{found.kind}/{found.server_id}"  # on the node's socket of streams: no port is listened on
    return {"console": {"instance_uuid": found.server_id, "host": found.host, "port": 0, "internal_access_path": path}}
