"""The controller process: every API and the work behind them, unprivileged. `python -m moln.controller --home DIR`."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import fcntl
import gc
import logging
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import uvloop

from moln import local_nodes
from moln.app import App, compose, load_settings
from moln.growing import Growth
from moln.identity.api.proxy import by_proxy
from moln.identity.api.proxy import listener as proxy_listener
from moln.kernel import log
from moln.kernel.errors import Failure
from moln.kernel.http.serve import http_server, spare_collecting
from moln.kernel.link import SocketLinks
from moln.local import admin_app, metadata_app
from moln.simulation import simulated_links, start_nodes

_log = logging.getLogger("moln.controller")
LOCAL = ("admin.sock", "metadata.sock")
RETIRE_LOOKS, RETIRE_LOOK_S = 300, 0.1  # times and seconds that are waited for the last answers of an app that was replaced
OPEN_FILES = 16384  # connections, each with a file that it may send


@contextlib.contextmanager
def sole_owner(home: Path) -> Iterator[None]:
    """Hold the home's lock. Raises: Failure, when another controller has it."""
    with open(home / "controller.lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Failure(f"Another controller runs on {home}.") from None
        yield


def _tell_ready() -> None:
    """Write a line to the file descriptor that whoever started us waits on (MOLN_READY_FD)."""
    number = os.environ.pop("MOLN_READY_FD", "")
    if number.isdigit():
        with contextlib.suppress(OSError), os.fdopen(int(number), "w") as ready:
            ready.write("ready\n")


def bind(address: str, port: int) -> socket.socket:
    """The APIs' socket, bound before anything else begins. Raises: Failure, with what to do."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((address, port))
    except OSError as error:
        bound.close()
        raise Failure(f"{address} port {port} cannot be had ({error.strerror}); choose another with --port or --listen.") from None
    return bound


async def begin(app: App, nodes: int) -> None:
    """All but the servers, of what is set up. nodes: simulated ones to start."""
    cloud = app.cloud
    if app.remote:
        from moln.gate import openers, peer_openers  # its library of certificates costs memory and time at the start
        from moln.lenders import Lenders

        app.lenders = Lenders(cloud)
        ours = partial(openers, cloud, leave=partial(local_nodes.remove, app), lenders=app.lenders)
        await app.remote.open_gate(ours, partial(peer_openers, cloud))
    await app.work()
    await cloud.links.start()
    if cloud.settings.simulate:
        await start_nodes(cloud, nodes)


class Serving:
    """The app that answers, and its servers: another may take its place while they serve. hook: sees the steps of that (fault tests)."""

    def __init__(self, app: App, nodes: int, hook: Callable[[str, str], None] | None = None):
        self.app = app
        self.growth = Growth(app, self.succeed, hook)
        self.stopping = asyncio.Event()
        self._nodes = nodes
        self._retiring: asyncio.Task[None] | None = None
        self._proxy = app.cloud.settings.identity.federation.listen
        run = app.cloud.home / "run"
        api, admin, metadata, *proxied = self._apps(app)
        self.servers = [http_server(api, websockets=True, tls=app.tls.context if app.tls else None)]
        self.servers += [http_server(app, uds=str(run / name)) for app, name in zip((admin, metadata), LOCAL, strict=True)]
        self.servers += [http_server(app, fd=proxy_listener(self._proxy).detach()) for app in proxied]

    def _apps(self, app: App) -> list[Any]:
        return [app.asgi, admin_app(app, self.growth), metadata_app(app), *([by_proxy(app.asgi)] if self._proxy else [])]

    async def succeed(self, url: str) -> asyncio.Task[None]:
        """Go on over this database. The old app answers until the new one can. Raises: Failure, when this process has to end."""
        old = self.app
        try:
            new = old.again(msgspec.structs.replace(old.cloud.settings, database_url=url))
            if new.tls and old.tls:
                new.tls.context = old.tls.context  # what the server has; what is loaded into it later holds
            await old.rest()
            await new.set_up()
            for server, app in zip(self.servers, self._apps(new), strict=True):
                server.config.loaded_app = app
            self.app = self.growth.app = new
            self._retiring = asyncio.create_task(self._follow(old, new), name="follow")
            return self._retiring
        except Exception as error:
            _log.exception("the controller cannot go on over the other database, and starts anew")
            self.stopping.set()
            raise Failure(f"The cloud is on PostgreSQL now, but the controller could not go on by itself ({error}) and starts anew.") from error

    async def _follow(self, old: App, new: App) -> None:
        """Nodes come to the new app, and the old one answers what it was asked."""
        try:
            if old.remote:
                await old.remote.close()
            await old.cloud.links.close()
            await begin(new, self._nodes)
        except Exception:
            _log.exception("nodes cannot come to the controller over the other database, so it starts anew")
            self.stopping.set()
        for _ in range(RETIRE_LOOKS):
            if not old.cloud.requests.running:
                break
            await asyncio.sleep(RETIRE_LOOK_S)
        await old.retire()
        gc.unfreeze()
        spare_collecting()

    async def stop(self) -> None:
        if self._retiring:
            self._retiring.cancel()
            await asyncio.wait([self._retiring])
        await self.app.stop()


async def serve(app: App, listener: socket.socket, *, nodes: int = 0, hook: Callable[[str, str], None] | None = None) -> None:
    """Run until SIGTERM or SIGINT. nodes: simulated ones to start. hook: see Serving."""
    settings, run = app.cloud.settings, app.cloud.home / "run"
    loop = asyncio.get_running_loop()
    serving_app = Serving(app, nodes, hook)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, serving_app.stopping.set)
    await app.set_up()
    await begin(app, nodes)
    servers = serving_app.servers
    serving = [asyncio.create_task(s.serve(sockets=[listener] if s is servers[0] else None)) for s in servers]
    while not all(server.started for server in servers) and not any(task.done() for task in serving):
        await asyncio.wait(serving, timeout=0.01)
    if all(server.started for server in servers):
        for name in LOCAL:
            os.chmod(run / name, 0o600)
        _log.info("listening on %s port %s", settings.listen, settings.port)
        spare_collecting()
        _tell_ready()
        waiting = asyncio.create_task(serving_app.stopping.wait())
        await asyncio.wait([*serving, waiting], return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
    for server in servers:
        server.should_exit = True
    await asyncio.gather(*serving)
    await serving_app.stop()


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="moln.controller", description=__doc__)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--listen")
    parser.add_argument("--port", type=int)
    parser.add_argument("--tls", action="store_true", default=None)
    parser.add_argument("--simulate", action="store_true", default=None)
    parser.add_argument("--nodes", type=int, default=1)
    parser.add_argument("--nats", action="append", help="instead of link.nats")
    parser.add_argument("--etcd", action="append", help="instead of link.etcd")
    parser.add_argument("--ovn", nargs=2, metavar=("NORTHBOUND", "SOUTHBOUND"), help="instead of network.northbound and network.southbound")
    parser.add_argument("--name", help="instead of link.controller")
    args = parser.parse_args(argv)
    os.umask(0o077)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, OPEN_FILES) if most != resource.RLIM_INFINITY else OPEN_FILES, most))
    args.home.mkdir(parents=True, exist_ok=True)
    (args.home / "run").mkdir(exist_ok=True)
    try:
        link = {name: given for name, given in (("nats", args.nats), ("etcd", args.etcd), ("controller", args.name)) if given} or None
        network = dict(zip(("northbound", "southbound"), args.ovn, strict=True)) if args.ovn else None
        settings = load_settings(args.home, listen=args.listen, port=args.port, simulate=args.simulate, tls=args.tls, link=link, network=network)
        log.configure(settings.log_level)
        logging.getLogger("uvicorn").setLevel(logging.WARNING)
        with sole_owner(args.home), bind(settings.listen, settings.port) as listener:
            if settings.simulate:
                app = compose(args.home, settings, simulated_links)
            else:
                app = compose(args.home, settings, lambda clock: SocketLinks(args.home / "run/controller.sock", clock.now_us))
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(serve(app, listener, nodes=args.nodes))
    except Failure as failure:
        print(f"moln.controller: {failure.message}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
