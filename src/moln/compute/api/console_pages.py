"""`/console/…`: the pages that show a console in the browser, and the websocket that carries its bytes. No token of identity is asked
for: the console's own, in the page's address, opens one console once. The page takes it out of the address bar.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Any
from urllib.parse import urlsplit

import falcon
import falcon.asgi
from falcon import WebSocketDisconnected
from falcon.errors import PayloadTypeError
from falcon.http_error import HTTPError

from moln.compute.model.consoles import ConsoleToken
from moln.compute.ops import consoles
from moln.console.library import ABSENT, Pages
from moln.kernel import log
from moln.kernel.cloud import Cloud
from moln.kernel.errors import Failure, Unavailable
from moln.kernel.link import Stream
from moln.kernel.link.streams import CHUNK, STUCK_S

SESSIONS = 256  # open at once, at most
OF_SERVER = 16  # of one server
CLOSE_S = 5.0
GONE, REFUSED, LOST = 4410, 4409, 4503  # why it was closed, for the page (RFC 6455: 4000 to 4999 are an application's own)
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}
PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}
_log = logging.getLogger("moln.console")


def serve_consoles(app: falcon.asgi.App[Any, Any], cloud: Cloud) -> None:
    """Add pages and websocket to the APIs' application."""
    pages = _Pages(Pages(cloud.home))
    app.add_route("/console/{page}", pages)
    app.add_route("/console/files/{path:path}", pages, suffix="file")
    app.add_route(consoles.STREAM, _Streams(cloud))


class _Pages:
    """Only what was read at the first request is ever answered: a path is a key, never a file's name."""

    def __init__(self, pages: Pages):
        self._pages = pages

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, page: str) -> None:
        await self._answer(resp, f"{page}.html", "no-store")

    async def on_get_file(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, path: str) -> None:
        await self._answer(resp, f"files/{path}", "max-age=3600")

    async def _answer(self, resp: falcon.asgi.Response, name: str, caching: str) -> None:
        resp.set_headers(HEADERS)
        files = await self._pages.files()
        if files is None:
            resp.status, resp.content_type, resp.text = falcon.HTTP_503, "text/plain; charset=utf-8", ABSENT
        elif name not in files:
            resp.status, resp.content_type, resp.text = falcon.HTTP_404, "text/plain; charset=utf-8", "There is no such page."
        else:
            resp.content_type, resp.data = files[name]
            resp.set_header("Cache-Control", caching)


def origin(url: str) -> tuple[str, str, int] | None:
    """Scheme, host and port (RFC 6454); None for what has none."""
    try:
        parts = urlsplit(url)
        port = parts.port or PORTS.get(parts.scheme)
    except ValueError:
        return None
    return (parts.scheme, parts.hostname or "", port) if parts.hostname and port else None


class _Streams:
    """The websocket of every console."""

    def __init__(self, cloud: Cloud):
        self._cloud = cloud
        settings = cloud.settings
        self._origins = {origin(url) for url in (settings.public_url, *settings.compute.console_origins)} - {None}
        self._open: dict[str, set[asyncio.Event]] = {}
        cloud.db.feed.subscribe("servers", self._changed)

    def _changed(self, servers: list[str]) -> None:
        if self._open:
            for server_id in servers:
                for event in self._open.get(server_id, ()):
                    event.set()

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        resp.set_headers(HEADERS)
        resp.status, resp.text, resp.content_type = falcon.HTTP_426, "This is a websocket.", "text/plain; charset=utf-8"
        resp.set_header("Upgrade", "websocket")

    async def on_websocket(self, req: falcon.asgi.Request, ws: falcon.asgi.WebSocket) -> None:
        """403 before the handshake, with nothing used up, for a page of another origin; 403 for a token that opens nothing."""
        said = req.get_header("Origin")
        if said is not None and origin(said) not in self._origins:  # clients that are no browser say none
            _log.warning("a page of another origin asked for a console: %s", said[:200])
            return await ws.close()
        if sum(map(len, self._open.values())) >= SESSIONS:
            _log.warning("a console is refused: %d are open", SESSIONS)
            return await ws.close()
        try:
            tokens = req.get_param_as_list("token") or []
            token = await consoles.redeem(self._cloud, tokens[0] if len(tokens) == 1 else "")
        except (Failure, HTTPError):
            return await ws.close()
        log.request_id.set(token.request_id)
        if len(self._open.get(token.server_id, ())) >= OF_SERVER:
            return await ws.close()
        changed = asyncio.Event()
        self._open.setdefault(token.server_id, set()).add(changed)
        try:
            await self._session(ws, token, changed)
        finally:
            found = self._open[token.server_id]
            found.discard(changed)
            if not found:
                del self._open[token.server_id]

    async def _session(self, ws: falcon.asgi.WebSocket, token: ConsoleToken, changed: asyncio.Event) -> None:
        code, reason = 1000, "The console was closed."
        stream = None
        try:
            try:
                stream = await consoles.connect(self._cloud, token)
            except Failure as failure:
                code, reason = (LOST if isinstance(failure, Unavailable) else REFUSED), failure.message
            await ws.accept("binary" if "binary" in ws.subprotocols else None)
            if stream is not None:
                _log.info("%s console of server %s is open", token.kind, token.server_id)
                if not await self._carry(ws, stream, token, changed):
                    code, reason = GONE, "The server is gone or has moved."
                _log.info("%s console of server %s is closed", token.kind, token.server_id)
        except (WebSocketDisconnected, falcon.OperationNotAllowed):
            pass
        finally:
            if stream is not None:
                stream.close()
            with contextlib.suppress(WebSocketDisconnected, TimeoutError, OSError):
                async with asyncio.timeout(CLOSE_S):
                    await ws.close(code, reason.encode()[:120].decode("utf-8", "ignore"))

    async def _carry(self, ws: falcon.asgi.WebSocket, stream: Stream, token: ConsoleToken, changed: asyncio.Event) -> bool:
        """Bytes both ways, a chunk at a time, until either end closes (True) or the server goes (False)."""

        async def watch() -> None:
            while await consoles.stands(self._cloud, token):
                await changed.wait()
                changed.clear()

        async def to_guest() -> None:
            while True:
                stream.writer.write(await ws.receive_data())
                async with asyncio.timeout(STUCK_S):
                    await stream.writer.drain()

        async def to_browser() -> None:
            while data := await stream.reader.read(CHUNK):
                async with asyncio.timeout(STUCK_S):
                    await ws.send_data(data)

        watching = asyncio.create_task(watch())
        tasks = [watching, asyncio.create_task(to_guest()), asyncio.create_task(to_browser())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, Exception) and not isinstance(outcome, OSError | WebSocketDisconnected | PayloadTypeError | Failure):
                _log.error("an unforeseen error in a console", exc_info=outcome)
        return watching not in done or watching.exception() is not None
