"""A process to be measured: `python -m moln.bench.serving bare|cloud …`. Both serve by the controller's own server on uvloop.

`cloud` is the simulated controller; with `--no-work` its reconcilers rest, so that a POST is all that it does.
It prints a line when it listens.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import falcon.asgi
import uvloop

from moln.kernel import log
from moln.kernel.http.serve import http_server, spare_collecting

PIECE = 1 << 20


class Bare:
    """The handler that everything is compared with."""

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        resp.data = b'{"version": {"id": "v1"}}'


class BareFile:
    """A file in pieces, with nothing around it."""

    def __init__(self, path: Path):
        self.path = path

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        async def pieces() -> AsyncIterator[bytes]:
            with open(self.path, "rb", buffering=0) as file:  # noqa: ASYNC230 (from memory: it was just written)
                while piece := file.read(PIECE):
                    yield piece

        resp.set_header("Content-Length", str(self.path.stat().st_size))
        resp.stream = pieces()


async def bare(port: int, file: Path | None = None) -> None:
    app = falcon.asgi.App()
    app.add_route("/bare", Bare())
    if file:
        app.add_route("/file", BareFile(file))
    await _serve(app, {port: None})


async def cloud(home: Path, port: int, nodes: int, *, work: bool, tls_port: int = 0) -> None:
    from moln.app import compose, load_settings
    from moln.kernel.http.tls import Tls
    from moln.simulation import simulated_links, start_nodes

    settings = load_settings(home, simulate=True, port=port, public_url=f"http://127.0.0.1:{port}")
    log.configure(settings.log_level)
    app = compose(home, settings, simulated_links)
    await (app.start() if work else app.set_up())
    await start_nodes(app.cloud, nodes)
    if not work:
        await app.workers.settle()
    https = {tls_port: Tls(home, settings, app.cloud.clock).context} if tls_port else {}
    await _serve(app.asgi, {port: None, **https})
    await app.stop()


async def _serve(app: Any, ports: dict[int, ssl.SSLContext | None]) -> None:
    """ports: with or without TLS."""
    servers = {port: http_server(app, tls=tls) for port, tls in ports.items()}

    def end() -> None:
        for server in servers.values():
            server.should_exit = True

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, end)
    serving = [asyncio.create_task(s.serve(sockets=[socket.create_server(("127.0.0.1", port))])) for port, s in servers.items()]
    while not all(server.started for server in servers.values()) and not any(task.done() for task in serving):
        await asyncio.wait(serving, timeout=0.01)
    spare_collecting()
    print("ready", flush=True)
    await asyncio.gather(*serving)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("bare", "cloud"))
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--home", type=Path)
    parser.add_argument("--file", type=Path, help="with bare: a file that /file streams")
    parser.add_argument("--tls-port", type=int, default=0, help="serve the same there over TLS")
    parser.add_argument("--nodes", type=int, default=1)
    parser.add_argument("--no-work", action="store_true")
    args = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        if args.what == "bare":
            uvloop.run(bare(args.port, args.file))
        else:
            uvloop.run(cloud(args.home, args.port, args.nodes, work=not args.no_work, tls_port=args.tls_port))


if __name__ == "__main__":
    main()
