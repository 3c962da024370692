"""What only this machine may ask of the controller about nodes, on `run/admin.sock`: who there is, drains, maintenance, joining and leaving."""

from __future__ import annotations

from typing import Any

import falcon
import falcon.asgi
import msgspec

from moln.compute.model.hosts import MAINTENANCE
from moln.compute.ops import draining, hosts, services
from moln.compute.store import servers
from moln.kernel.clock import iso
from moln.kernel.cloud import Cloud
from moln.kernel.errors import Conflict, NotFound, NotSupported
from moln.volume.ops import for_compute


def remote_of(app: Any) -> Any:
    """Raises: NotSupported."""
    if app.remote is None:
        raise NotSupported("This cloud has no nodes on other machines. To have some: moln controller init --listen ADDRESS")
    return app.remote


async def standing(cloud: Cloud) -> list[dict[str, Any]]:
    """Every node that runs servers: whether it is up and takes new ones, why not, how many it has, and how far off its clock is."""
    known = hosts.table(cloud)
    counts = await servers.by_host(cloud.db)
    rows = await services.everything(cloud.system_context())
    return [
        {"name": row.name, "up": row.name in cloud.links.nodes, "disabled": row.disabled, "reason": row.disabled_reason or "",
         "maintenance": row.maintenance, "servers": counts.get(row.name, 0),
         "clock_off_ms": known.facts[row.name].clock_off_ms if row.name in known.facts else None,
         "astray": known.hosts[row.name].astray if row.name in known.hosts else ""}
        for row in sorted(rows, key=lambda row: row.name)
    ]  # fmt: skip


async def remove(app: Any, name: str, *, force: bool) -> bool:
    """Refuse a node from now on. False: NATS cannot be told now. Raises: NotFound, Conflict."""
    remote, ctx = remote_of(app), app.cloud.system_context()
    remote.membership.get(name)
    try:
        host = await services.named(ctx, name)
    except NotFound:  # it never came
        host = None
    running = await services.servers_on(ctx, host) if host else []
    if running and not force:
        raise Conflict(f"Servers on node {name}: {len(running)}. Move them: moln node drain {name}; or say --force: they go on running there, "
                       "and the cloud does not reach them any more.")  # fmt: skip
    told: bool = await remote.remove(name)
    await for_compute.take_back_all(app.cloud, name)  # its servers may run on
    if host and not running:
        await services.remove(ctx, host.service_id)
    return told


class _Of:
    def __init__(self, app: Any):
        self.app = app


class _Nodes(_Of):
    """All that run servers, and those on other machines that joined; another join token (POST)."""

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        found = {host["name"]: host for host in await standing(self.app.cloud)}
        for member in self.app.remote.membership.members if self.app.remote else ():
            of = found.setdefault(member.node, {"name": member.node, "up": member.node in self.app.cloud.links.nodes})
            of |= {"certificate": member.serial, "expires": iso(member.expires_at)}
        resp.data = msgspec.json.encode([found[name] for name in sorted(found)])

    async def on_post(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        expires_s = req.get_param_as_int("expires_s", required=True)
        resp.data = msgspec.json.encode({"token": await remote_of(self.app).membership.make_token(expires_s)})


class _Node(_Of):
    async def on_delete(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, name: str) -> None:
        """force: even with servers on it; they go on running, and nobody can reach them."""
        told = await remove(self.app, name, force=bool(req.get_param_as_bool("force")))
        resp.data = msgspec.json.encode({"told": told})


class _Drain(_Of):
    """`?since=µs&cold=true&at_once=4` (POST): go on with it, and tell how each server is. since=0: begin."""

    async def on_post(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, name: str) -> None:
        ctx = self.app.cloud.system_context()
        host = await services.named(ctx, name)
        since = req.get_param_as_int("since", default=0)
        if not since:
            since = ctx.now_us
            await draining.begin(ctx, host)
        guests = await draining.go_on(ctx, host, since_us=since, cold=bool(req.get_param_as_bool("cold")),
                                      at_once=req.get_param_as_int("at_once", default=4, min_value=1))  # fmt: skip
        resp.data = msgspec.json.encode({"since": since, "guests": guests})


class _Maintenance(_Of):
    """`?reason=…` (PUT) begins it, DELETE ends it: the node takes new servers again, whoever had it take none."""

    async def on_put(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, name: str) -> None:
        ctx = self.app.cloud.system_context()
        why = req.get_param("reason") or ""
        row = await services.switch_for(ctx, await services.named(ctx, name), f"{MAINTENANCE}: {why}" if why else MAINTENANCE)
        resp.data = msgspec.json.encode({"reason": row.disabled_reason})

    async def on_delete(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, name: str) -> None:
        ctx = self.app.cloud.system_context()
        await services.switch_for(ctx, await services.named(ctx, name), None)
        resp.data = b"{}"


def add_routes(made: falcon.asgi.App[Any, Any], app: Any) -> None:
    made.add_route("/nodes", _Nodes(app))
    made.add_route("/nodes/{name}", _Node(app))
    made.add_route("/nodes/{name}/drain", _Drain(app))
    made.add_route("/nodes/{name}/maintenance", _Maintenance(app))
