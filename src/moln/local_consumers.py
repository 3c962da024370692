"""What only this machine may ask of the controller about those outside that read notifications, on `run/admin.sock`."""

from __future__ import annotations

from typing import Any

import falcon
import falcon.asgi
import msgspec

from moln.kernel.clock import iso
from moln.kernel.controllers import clusters
from moln.kernel.errors import NotSupported
from moln.kernel.notifications import MARK


def consumers_of(app: Any) -> Any:
    """Raises: NotSupported."""
    if app.notices is None:
        raise NotSupported("This cloud tells nobody of changes: moln controller notifications on")
    from moln.kernel.notifications.consumers import Consumers  # few clouds have any

    cloud = app.cloud
    return Consumers(cloud.home, cloud.db, cloud.clock, app.remote.membership.nats_authority, app.notices, tuple(cloud.settings.link.nats))


class Notifications:
    """PUT: tell others of changes from the next start on; DELETE: tell them no more."""

    def __init__(self, app: Any):
        self._app = app

    async def on_put(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        if self._app.remote is None:
            raise NotSupported("Notifications go by way of NATS: name its servers in moln.toml, [link] nats = [\"tls://ADDRESS:4222\"]")
        if "nats" in clusters.names(self._app.cloud.home):
            raise NotSupported("Each controller has a server of NATS, and notifications are kept on one that is alone (docs/adr/0045-quorum.md): "
                               "give servers of your own to `moln controller init --ha --nats URL`.")
        (self._app.cloud.home / MARK).touch(mode=0o600)
        resp.data = b"{}"

    async def on_delete(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        (self._app.cloud.home / MARK).unlink(missing_ok=True)
        resp.data = b"{}"


class Consumers:
    def __init__(self, app: Any):
        self._app = app

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        found = await consumers_of(self._app).all()
        resp.data = msgspec.json.encode([{"name": c.name, "key": c.nats_key, "expires": iso(c.expires_at)} for c in found])


class Consumer:
    """POST `?expires_s=N` gives one what it needs; DELETE refuses it from then on."""

    def __init__(self, app: Any):
        self._app = app

    async def on_post(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, name: str) -> None:
        given = await consumers_of(self._app).admit(name, req.get_param_as_int("expires_s", required=True))
        resp.data = msgspec.json.encode(given)

    async def on_delete(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, name: str) -> None:
        await consumers_of(self._app).remove(name)
        resp.data = b"{}"
