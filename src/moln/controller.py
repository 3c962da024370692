"""The controller process: every API and the work behind them, unprivileged. `python -m moln.controller --home DIR`."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import fcntl
import logging
import os
import resource
import signal
import socket
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import uvloop

from moln.app import App, compose, load_settings
from moln.kernel import log
from moln.kernel.errors import Failure
from moln.kernel.http.serve import http_server, spare_collecting
from moln.kernel.link import SocketLinks
from moln.local import admin_app, metadata_app
from moln.simulation import simulated_links, start_nodes

_log = logging.getLogger("moln.controller")
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


async def serve(app: App, listener: socket.socket, *, nodes: int = 0) -> None:
    """Run until SIGTERM or SIGINT. nodes: simulated ones to start."""
    cloud, settings = app.cloud, app.cloud.settings
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    if app.remote:
        from moln.gate import openers  # its library of certificates costs memory and time at the start

        await app.remote.open_gate(partial(openers, cloud))
    await app.start()
    await cloud.links.start()
    if settings.simulate:
        await start_nodes(cloud, nodes)
    run = cloud.home / "run"
    api = http_server(app.asgi, websockets=True, tls=app.tls.context if app.tls else None)
    servers = [
        api,
        http_server(admin_app(app), uds=str(run / "admin.sock")),
        http_server(metadata_app(app), uds=str(run / "metadata.sock")),
    ]
    serving = [asyncio.create_task(s.serve(sockets=[listener] if s is api else None)) for s in servers]
    while not all(server.started for server in servers) and not any(task.done() for task in serving):
        await asyncio.wait(serving, timeout=0.01)
    if all(server.started for server in servers):
        for name in ("admin.sock", "metadata.sock"):
            os.chmod(run / name, 0o600)
        _log.info("listening on %s port %s", settings.listen, settings.port)
        spare_collecting()
        _tell_ready()
        waiting = asyncio.create_task(stopping.wait())
        await asyncio.wait([*serving, waiting], return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
    for server in servers:
        server.should_exit = True
    await asyncio.gather(*serving)
    await app.stop()


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
    parser.add_argument("--name", help="instead of link.controller")
    args = parser.parse_args(argv)
    os.umask(0o077)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, OPEN_FILES) if most != resource.RLIM_INFINITY else OPEN_FILES, most))
    args.home.mkdir(parents=True, exist_ok=True)
    (args.home / "run").mkdir(exist_ok=True)
    try:
        link = {name: given for name, given in (("nats", args.nats), ("etcd", args.etcd), ("controller", args.name)) if given} or None
        settings = load_settings(args.home, listen=args.listen, port=args.port, simulate=args.simulate, tls=args.tls, link=link)
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
