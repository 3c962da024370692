"""The certificates that the cloud's authority made, on `run/admin.sock`: how long they last, and others in their place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import falcon
import falcon.asgi
import msgspec

from moln.kernel.clock import iso
from moln.kernel.errors import Conflict, Invalid, NotFound
from moln.local_nodes import remote_of

APIS = "apis"


def listed(app: Any) -> list[dict[str, Any]]:
    """what: authority, apis, controller, node. own: the cloud makes it; else an operator gave it."""
    settings, home = app.cloud.settings, app.cloud.home
    if not settings.serves_tls:
        return []
    given = Path(settings.tls_certificate) if settings.tls_certificate else None
    found = [_of("apis", APIS, given or home / "tls/server.pem", own=given is None)]
    if given is None or app.remote:
        found.insert(0, _of("authority", "authority", home / "tls/ca.crt", own=True))
        from moln.kernel.http.certificates import COMING, NEXT

        found[1:1] = [_of("authority", "in its place", home / "tls" / name, own=True) for name in (COMING, NEXT) if (home / "tls" / name).exists()]
    if app.remote:
        found.append(_of("controller", app.remote.name, app.remote.certificate, own=True))
        found += [{"what": "node", "name": m.node, "serial": m.serial, "expires": iso(m.expires_at), "own": True} for m in app.remote.membership.members]
    return found


def _of(what: str, name: str, file: Path, *, own: bool) -> dict[str, Any]:
    from cryptography import x509  # costs memory, and few ask

    found = x509.load_pem_x509_certificate(file.read_bytes())
    ends = int(found.not_valid_after_utc.timestamp() * 1e6)
    return {"what": what, "name": name, "serial": f"{found.serial_number:x}", "expires": iso(ends), "own": own}


class _Certificates:
    def __init__(self, app: Any):
        self.app = app

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """`?engines=true`: with what engines of all controllers show, seen at their ports."""
        found = listed(self.app)
        if req.get_param_as_bool("engines") and self.app.remote:
            found += [{"what": "engine", "name": f"{shown.controller} {shown.engine}", "serial": shown.serial,
                       "expires": iso(shown.expires_at) if shown.expires_at else "", "own": True} for shown in await self.app.remote.ending.look()]  # fmt: skip
        resp.data = msgspec.json.encode(found)


class _Certificate(_Certificates):
    async def on_post(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, name: str) -> None:
        """Another one, for `apis`, this controller or a node. A node's comes a moment later."""
        if name == APIS and self.app.tls:
            if self.app.cloud.settings.tls_certificate:
                raise Conflict("The APIs' certificate is your own (tls_certificate in moln.toml): put another one there; it is used within the hour.")
            self.app.tls.renew(anew=True)
        elif name != APIS and self.app.remote:
            await self.app.remote.renew(name)
        else:
            raise NotFound(f"There is no certificate of {name}; moln certificates lists them.")
        resp.data = msgspec.json.encode(listed(self.app))


class _Authority(_Certificates):
    """How far another authority is; POST `?do=begin`, `go`, `alone`, `finish` (perhaps `&force=true`) or `spread`: see kernel/nodes/rotation.py."""

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        resp.data = msgspec.json.encode(await remote_of(self.app).rotation.standing())

    async def on_post(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        rotation = remote_of(self.app).rotation
        match req.get_param("do", required=True):
            case "begin":
                await rotation.begin()
            case "go":
                await rotation.start()
            case "alone":
                await rotation.go_on(alone=True)
            case "finish":
                await rotation.finish(force=bool(req.get_param_as_bool("force")))
                if self.app.tls:
                    self.app.tls.renew()
            case "spread":
                resp.data = msgspec.json.encode({"missed": await rotation.spread()})
                return
            case other:
                raise Invalid(f"Nothing is done by {other}.", field="do")
        await self.on_get(req, resp)


def add_routes(made: falcon.asgi.App[Any, Any], app: Any) -> None:
    made.add_route("/certificates", _Certificates(app))
    made.add_route("/authority", _Authority(app))
    made.add_route("/certificates/{name}", _Certificate(app))
