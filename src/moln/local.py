"""What only this machine may ask of the controller, on unix sockets in the home: the operator's questions, and guests' metadata.

`run/admin.sock` answers `moln doctor`, `explain`, `policy`, `import`, `status`, `node`, `controller`, `grow` and `/metrics`; file modes say who may
(0600: the user it runs as, and root).
`run/metadata.sock` answers nodes' metadata proxies, which say the network and the address that a guest asked from.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import falcon
import falcon.asgi
import msgspec

from moln import local_certificates, local_consumers, local_images, local_nodes, local_stolen
from moln.compute.ops import explain, metadata
from moln.identity.ops import policy_check
from moln.kernel.clock import iso
from moln.kernel.errors import Failure, NotSupported
from moln.kernel.http.faults import status_of
from moln.kernel.http.tls import trusted
from moln.kernel.module import Invariant, Violation
from moln.local_nodes import remote_of

_log = logging.getLogger("moln.local")
_TABLES = msgspec.json.Decoder(dict[str, list[dict[str, Any]]])


async def diagnose(cloud: Any, invariants: list[Invariant]) -> list[dict[str, str]]:
    """Every violation of every invariant; a check that cannot run is itself a finding."""
    found = []
    for invariant in invariants:
        try:
            violations = await invariant.check(cloud)
        except Failure as failure:
            violations = [Violation(f"could not be checked: {failure.message}", "start what is down, then ask again")]
        except Exception as error:
            _log.exception("invariant %s", invariant.name)
            violations = [Violation(f"the check itself failed ({type(error).__name__})", "see `moln logs controller`")]
        found += [{"invariant": invariant.name, "message": v.message, "mend": v.mend} for v in violations]
    return found


class _Doctor:
    def __init__(self, app: Any):
        self._app = app

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        parts = [*self._app.areas, *(part for part in (self._app.policy_files, self._app.remote, self._app.etcd, self._app.notices) if part)]
        invariants = [i for part in parts for i in part.invariants]
        violations = await diagnose(self._app.cloud, invariants)
        resp.data = msgspec.json.encode({"checked": [i.name for i in invariants], "violations": violations, "clusters": await self._clusters()})

    async def _clusters(self) -> list[dict[str, Any]]:
        """How the engines stand of which each controller has a member; one that cannot be asked is a violation already."""
        try:
            found = await self._app.remote.controllers.clusters.look() if self._app.remote else []
        except Failure:
            return []
        return [{"name": s.name, "text": s.text, "spare": s.spare} for s in found]


class _Explain:
    def __init__(self, app: Any):
        self._app = app

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, server: str) -> None:
        resp.data = msgspec.json.encode(await explain.server(self._app.cloud, server))


class _PolicyCheck:
    """`/policy?user=…&action=…`, perhaps with project, domain or system, and target: an object in JSON."""

    def __init__(self, app: Any):
        self._app = app

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        scope = {name: req.get_param(name) for name in ("project", "domain", "system")}
        target = req.get_param_as_json("target") if req.get_param("target") else {}
        answer = await policy_check.check(self._app.cloud, req.get_param("user", required=True), req.get_param("action", required=True), scope, target)
        resp.data = msgspec.json.encode(answer)


class _ImportKeystone:
    """POST `/import/keystone?dry_run=true`: Keystone's tables as an object of lists of rows."""

    def __init__(self, app: Any):
        self._app = app

    async def on_post(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        from moln.identity.ops.importing import keystone  # needed once in a cloud's life

        tables = await asyncio.to_thread(_TABLES.decode, await req.stream.read())
        resp.data = msgspec.json.encode(await keystone.run(self._app.cloud, tables, dry_run=bool(req.get_param_as_bool("dry_run"))))


class _Status:
    def __init__(self, app: Any):
        self._app = app

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        cloud = self._app.cloud
        settings = cloud.settings
        answer = {"public_url": settings.public_url, "cacert": trusted(cloud.home, settings), "simulate": settings.simulate,
                  "nodes": sorted(cloud.links.nodes), "hosts": await local_nodes.standing(cloud),
                  "policy_problem": self._app.policy_files.problem, "database": await self._app.remote.database.told() if self._app.remote else None}  # fmt: skip
        resp.data = msgspec.json.encode(answer)


class _Controllers:
    """Which there are; a token for another one (POST)."""

    def __init__(self, app: Any):
        self._app = app

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        controllers = remote_of(self._app).controllers
        living = await controllers.living()
        resp.data = msgspec.json.encode([{"name": c.name, "url": c.url, "up": c.name in living, "joined": iso(c.joined_at),
                                          "here": c.name == controllers.name}
                                         for c in await controllers.all()])  # fmt: skip

    async def on_post(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        expires_s = req.get_param_as_int("expires_s", required=True)
        resp.data = msgspec.json.encode({"token": await remote_of(self._app).controllers.make_token(expires_s)})


class _Controller:
    """`?lost=true` (DELETE): its members were taken out of their clusters already (cli/recovery.py)."""

    def __init__(self, app: Any):
        self._app = app

    async def on_delete(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, name: str) -> None:
        await remote_of(self._app).controllers.remove(name, lost=bool(req.get_param_as_bool("lost")))
        resp.data = b"{}"


class _Settings:
    """Those that change without a restart. `?name=N&value=V` (POST) sets one for all controllers; without a value it is each one's own again."""

    def __init__(self, app: Any):
        self._app = app

    def _shared(self) -> Any:
        """Raises: NotSupported."""
        if self._app.etcd is None:
            raise NotSupported("Controllers share no etcd: name it in moln.toml, [link] etcd = [\"https://ADDRESS:2379\"]")
        return self._app.etcd.settings

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        resp.data = msgspec.json.encode(self._shared().all())

    async def on_post(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        await self._shared().set(req.get_param("name", required=True), req.get_param("value"))
        resp.data = b"{}"


class _Grow:
    """`?to=URL` (POST) begins it, or tells of what is under way; GET tells how far it is."""

    def __init__(self, growth: Any):
        self._growth = growth

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        resp.data = msgspec.json.encode(self._growth.progress)

    async def on_post(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        resp.data = msgspec.json.encode(self._growth.begin(req.get_param("to", required=True)))


class _Metadata:
    """`/{network}/{address}/…path`, exactly as the proxy saw it; a POST's body is no longer than the proxy lets it be."""

    def __init__(self, app: Any):
        self._app = app

    async def __call__(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, **_: str) -> None:
        _, network, address, *rest = req.path.split("/", 3)
        posted = await req.stream.read(metadata.MOST_POSTED + 1) if req.method == "POST" else None
        path = "/" + (rest[0] if rest else "")
        status, body, media_type = await metadata.answer(self._app.cloud, network, address, path, posted)
        resp.status = str(status)
        resp.content_type = media_type
        resp.data = body


def _faults(app: falcon.asgi.App[Any, Any]) -> falcon.asgi.App[Any, Any]:
    async def failed(req: Any, resp: Any, failure: Failure, params: Any) -> None:
        resp.status = str(status_of(failure, {}))
        resp.data = msgspec.json.encode({"message": failure.message})

    app.add_error_handler(Failure, failed)
    return app


def admin_app(app: Any, growth: Any = None) -> falcon.asgi.App[Any, Any]:
    """The operator's questions. growth: what moves the cloud to another database, where the process can."""
    made: falcon.asgi.App[Any, Any] = falcon.asgi.App()
    made.add_route("/doctor", _Doctor(app))
    made.add_route("/explain/{server}", _Explain(app))
    made.add_route("/policy", _PolicyCheck(app))
    made.add_route("/import/keystone", _ImportKeystone(app))
    made.add_route("/status", _Status(app))
    made.add_route("/metrics", app.metrics)
    made.add_route("/controllers", _Controllers(app))
    made.add_route("/controllers/{name}", _Controller(app))
    made.add_route("/settings", _Settings(app))
    made.add_route("/notifications", local_consumers.Notifications(app))
    made.add_route("/consumers", local_consumers.Consumers(app))
    made.add_route("/consumers/{name}", local_consumers.Consumer(app))
    local_nodes.add_routes(made, app)
    local_images.add_routes(made, app)
    local_certificates.add_routes(made, app)
    local_stolen.add_routes(made, app)
    if growth is not None:
        made.add_route("/grow", _Grow(growth))
    return _faults(made)


def metadata_app(app: Any) -> falcon.asgi.App[Any, Any]:
    """Guests' questions, by way of their node."""
    made: falcon.asgi.App[Any, Any] = falcon.asgi.App()
    made.add_sink(_Metadata(app), prefix="/")
    return _faults(made)
