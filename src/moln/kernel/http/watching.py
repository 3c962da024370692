"""What watches a cloud asks without a token: does the process live, is the cloud ready, and its numbers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import falcon
import falcon.asgi
import msgspec

from moln.kernel import metrics
from moln.kernel.cloud import Cloud
from moln.kernel.db import Transaction
from moln.kernel.errors import Failure

Check = Callable[[Cloud], Awaitable[str]]
"""Why something is not ready, in words that anybody may read; empty when it is."""

Source = Callable[[Cloud], Awaitable[list[metrics.Family]]]

CHECK_S = 3.0  # seconds that a check may take
KEPT_S = 1.0  # seconds that an answer is given again: whoever asks needs no token
_log = logging.getLogger("moln.watching")


async def _nothing(tx: Transaction) -> None:
    """A write of no rows: it waits its turn in the writer like any other."""


async def database(cloud: Cloud) -> str:
    """Whether the writer takes writes."""
    await cloud.db.write(_nothing)
    return ""


async def nodes(cloud: Cloud) -> str:
    """Whether any node is connected."""
    return "" if cloud.links.nodes else "no node is connected"


class Readiness:
    """Every check at once, each bounded. A second asker within KEPT_S hears the same; one that comes meanwhile waits with the first."""

    def __init__(self, cloud: Cloud, checks: dict[str, Check]):
        self._cloud = cloud
        self._checks = {"database": database, "nodes": nodes, **checks}
        self._looking: asyncio.Task[dict[str, str]] | None = None
        self._until = 0.0

    async def look(self) -> dict[str, str]:
        """By check: "ok", or why not."""
        now = self._cloud.clock.monotonic()
        if self._looking is None or (self._looking.done() and now >= self._until):
            self._looking = asyncio.create_task(self._look(), name="readiness")
            self._until = now + KEPT_S
        return await asyncio.shield(self._looking)

    async def _look(self) -> dict[str, str]:
        found = await asyncio.gather(*(self._one(name, check) for name, check in self._checks.items()))
        return dict(zip(self._checks, found, strict=True))

    async def _one(self, name: str, check: Check) -> str:
        try:
            async with asyncio.timeout(CHECK_S):
                return await check(self._cloud) or "ok"
        except TimeoutError:
            return f"no answer in {CHECK_S:g} s"
        except Failure as failure:
            return failure.message
        except Exception:
            _log.exception("check %s", name)
            return "the check itself failed; the log says more"


class Health:
    """`/healthz`: the process lives and its loop turns."""

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        resp.data = b'{"status":"ok"}'
        resp.set_header("Cache-Control", "no-store")


class Ready:
    """`/readyz`: 200 when requests can be served to the end, else 503 with what is missing."""

    def __init__(self, readiness: Readiness):
        self._readiness = readiness

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        found = await self._readiness.look()
        ready = all(v == "ok" for v in found.values())
        resp.status = falcon.HTTP_200 if ready else falcon.HTTP_503
        resp.data = msgspec.json.encode({"ready": ready, "checks": found})
        resp.set_header("Cache-Control", "no-store")


class Metrics:
    """`/metrics`: what every source says now. A source that fails is left out and logged."""

    def __init__(self, cloud: Cloud, sources: Sequence[Source]):
        self._cloud = cloud
        self._sources = list(sources)

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        families = [*self._cloud.requests.families(), *metrics.process()]
        for source in self._sources:
            try:
                families += await source(self._cloud)
            except Exception:
                _log.exception("a source of metrics")
        resp.content_type = metrics.MEDIA_TYPE
        resp.data = metrics.render(families)


def watch(app: falcon.asgi.App[Any, Any], cloud: Cloud, checks: dict[str, Check]) -> None:
    """Add `/healthz` and `/readyz` to an application."""
    app.add_route("/healthz", Health())
    app.add_route("/readyz", Ready(Readiness(cloud, checks)))
