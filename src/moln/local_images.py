"""What only this machine may ask of the controller about images, on `run/admin.sock`: that a node has one before a server there needs it."""

from __future__ import annotations

import os
from typing import Any

import falcon.asgi
import msgspec

from moln.image.ops import images
from moln.kernel.errors import NotFound, Unavailable
from moln.local_nodes import remote_of


class _Prefetch:
    """Whether a node has an image (GET), or is to have it (PUT); either way, how it stands."""

    def __init__(self, app: Any):
        self.app = app

    async def _base(self, image_id: str, node: str) -> str:
        """The name of its data. Raises: NotFound; Invalid, when nobody can boot it; NotSupported."""
        remote_of(self.app).membership.get(node)
        image = await images.find(self.app.cloud.db, image_id)
        if image is None:
            raise NotFound(f"There is no image {image_id}.")
        images.check_bootable(image)
        return str(image.data_id)

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, image: str, node: str) -> None:
        state = await self.app.lenders.state(node, await self._base(image, node))
        resp.data = msgspec.json.encode({"state": state})

    async def on_put(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, image: str, node: str) -> None:
        from moln.lenders import open_base  # only where nodes are: as the gate's, its libraries cost memory

        name, remote = await self._base(image, node), remote_of(self.app)
        state = await self.app.lenders.state(node, name)
        if state == "absent":
            url = next(found.url for found in await remote.controllers.all() if found.name == remote.name)
            try:
                file = await open_base(self.app.cloud, name)
            except NotFound:
                raise Unavailable(
                    "This controller does not have the image's files yet. It fetches them from another one: ask again, or ask that one."
                ) from None
            try:
                await self.app.lenders.prefetch(node, name, file, url)
            finally:
                os.close(file)
            state = await self.app.lenders.state(node, name)
        resp.data = msgspec.json.encode({"state": state})


def add_routes(made: falcon.asgi.App[Any, Any], app: Any) -> None:
    made.add_route("/images/{image}/nodes/{node}", _Prefetch(app))
