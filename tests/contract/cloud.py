"""A simulated cloud in this process, and calls to it that wait for their answers: its event loop turns while they do."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from moln.app import App, compose, load_settings
from moln.simulation import simulated_links, start_nodes

URL = "http://127.0.0.1:5000"


class Errors(logging.Handler):
    """What the cloud logs as an error, each message once: a reconciler's failure answers no request."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.setFormatter(logging.Formatter("%(name)s: %(message)s"))
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        text = self.format(record)
        if text not in self.found:
            self.found.append(text)


class SimulatedCloud:
    """A running cloud of two nodes. errors: what it logged."""

    def __init__(self, home: Path, runner: asyncio.Runner):
        self._home, self._runner = home, runner
        self.errors = Errors()
        self.app: App = runner.run(self._start())

    async def _start(self) -> App:
        app = compose(self._home, load_settings(self._home, simulate=True), simulated_links)
        await app.start()
        await start_nodes(app.cloud, 2)
        transport = httpx.ASGITransport(app.asgi, raise_app_exceptions=False)
        self._client = httpx.AsyncClient(transport=transport, base_url=URL, timeout=60)
        return app

    @property
    def admin_password(self) -> str:
        return (self._home / "admin.password").read_text().strip()

    def request(self, method: str, path: str, **given: Any) -> httpx.Response:
        return self._runner.run(self._client.request(method, path, **given))

    def turn(self, seconds: float) -> None:
        """Let the cloud work."""
        self._runner.run(asyncio.sleep(seconds))

    async def _stop(self) -> None:
        await self._client.aclose()
        await self.app.stop()

    def stop(self) -> None:
        self._runner.run(self._stop())


@contextlib.contextmanager
def simulated_cloud(home: Path) -> Iterator[SimulatedCloud]:
    log = logging.getLogger("moln")
    with asyncio.Runner() as runner:
        cloud = SimulatedCloud(home, runner)
        log.addHandler(cloud.errors)
        try:
            yield cloud
        finally:
            log.removeHandler(cloud.errors)
            cloud.stop()
