"""What only this machine may ask of the controller about those outside that read notifications, on `run/admin.sock`."""

from __future__ import annotations

from typing import Any

import falcon
import falcon.asgi
import msgspec

from moln.kernel.clock import iso
from moln.kernel.controllers import clusters, heritage
from moln.kernel.errors import Conflict, NotSupported
from moln.kernel.notifications import MARK, SERVERS


def consumers_of(app: Any) -> Any:
    """Raises: NotSupported."""
    if app.notices is None:
        raise NotSupported("This cloud tells nobody of changes: moln controller notifications on")
    from moln.kernel.notifications.consumers import Consumers  # few clouds have any

    cloud = app.cloud
    return Consumers(cloud.home, cloud.db, cloud.clock, app.remote.membership.nats_authority, app.notices)


class Notifications:
    """PUT: tell others of changes from the next start on; DELETE: tell them no more."""

    def __init__(self, app: Any):
        self._app = app

    async def on_put(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        if self._app.remote is None:
            raise NotSupported("Notifications go by way of NATS: name its servers in moln.toml, [link] nats = [\"tls://ADDRESS:4222\"]")
        clustered = "nats" in clusters.names(self._app.cloud.home)
        there = await self._app.remote.controllers.addresses() if clustered else []
        if clustered and len(there) < SERVERS:
            raise Conflict(f"Each controller has a server of NATS, and notifications are kept on {SERVERS} of them, that any one may go; there are {len(there)}. "
                           "Let others join first (moln controller token), then say this on each.")  # fmt: skip
        home = self._app.cloud.home
        heritage.put(home / MARK, "".join(f"{address}\n" for address in there).encode(), home)
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
