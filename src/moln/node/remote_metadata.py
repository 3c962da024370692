"""Where the metadata proxy asks on a node of another machine's cloud: the socket that a controller has at home, answered by way of its gate."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import falcon
import falcon.asgi
import msgspec

from moln.kernel.errors import BackendRefused, BackendUnreachable
from moln.kernel.http.serve import http_server
from moln.kernel.nodes.gate import GateClient

VERB = "metadata.answer"
MOST = 1 << 20  # bytes of an answer
MOST_POSTED = 1021
_decode = msgspec.msgpack.Decoder(tuple[int, bytes, str]).decode


class RemoteMetadata:
    """Until stopped, at `path`."""

    def __init__(self, path: Path, gate: GateClient, user: int | None) -> None:
        self.path, self.gate, self.user = path, gate, user
        self.serving: asyncio.Task[Any] | None = None

    async def start(self) -> None:
        app: falcon.asgi.App[Any, Any] = falcon.asgi.App()
        app.add_sink(self.answer, prefix="/")
        self.path.parent.mkdir(exist_ok=True)
        self.path.unlink(missing_ok=True)
        self.server = http_server(app, uds=str(self.path))
        self.serving = asyncio.create_task(self.server.serve(), name="metadata-gate")
        while not self.server.started and not self.serving.done():
            await asyncio.wait([self.serving], timeout=0.01)
        os.chmod(self.path, 0o600)
        if self.user is not None:
            os.chown(self.path, self.user, -1)

    async def stop(self) -> None:
        if self.serving is not None:
            self.server.should_exit = True
            await self.serving

    async def answer(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, **_: str) -> None:
        _, network, address, *rest = req.path.split("/", 3)
        posted = await req.stream.read(MOST_POSTED) if req.method == "POST" else None
        try:
            raw = await self.gate.read(VERB, network, address, "/" + (rest[0] if rest else ""), posted, most=MOST)
            status, resp.data, resp.content_type = _decode(raw)
        except (BackendUnreachable, BackendRefused, msgspec.MsgspecError):
            status, resp.data = 503, b"Try again."
        resp.status = str(status)
