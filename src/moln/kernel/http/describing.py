"""`/openapi.json`: what the API is, for who asks; made when somebody first does."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import gzip
from collections.abc import Callable

import falcon
import falcon.asgi

HOLD_S = 300  # seconds that a client may hold it: it changes only with the release


class OpenApi:
    """Rendered in a thread by the first who asks, and kept compressed (a twentieth): nobody asks often."""

    def __init__(self, render: Callable[[], bytes]):
        self._render = render
        self._making: asyncio.Task[bytes] | None = None

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        if self._making is None:
            self._making = asyncio.create_task(asyncio.to_thread(self._make), name="openapi")
        packed = await asyncio.shield(self._making)
        resp.content_type = falcon.MEDIA_JSON
        resp.set_header("Cache-Control", f"public, max-age={HOLD_S}")
        resp.set_header("Vary", "Accept-Encoding")
        if "gzip" in (req.get_header("Accept-Encoding") or ""):
            resp.set_header("Content-Encoding", "gzip")
            resp.data = packed
        else:
            resp.data = await asyncio.to_thread(gzip.decompress, packed)

    def _make(self) -> bytes:
        packed = gzip.compress(self._render(), mtime=0)
        gc.collect()
        give_back()
        return packed


def give_back() -> None:
    """Return to the system what the C library keeps of freed memory; only glibc has a call for it."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
