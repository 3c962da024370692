"""Metadata on this node: a namespace with listening sockets per network, served by one unprivileged process.

The node (root) makes the sockets and hands them to `moln.node.metadata_proxy`, which alone reads what guests send.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import subprocess
import sys
from pathlib import Path

import msgspec

from moln.kernel.errors import BackendUnreachable
from moln.network.drivers.node import MetadataPort
from moln.node import netns
from moln.node.plug import Switch

log = logging.getLogger(__name__)
RESTART_S = 1.0
PREFIX = "md"


class MetadataService:
    """NodeNetworkDriver. kept: what was asked, over restarts. controller: the socket the proxy asks. user: whom it runs as."""

    def __init__(self, switch: Switch, kept: Path, controller: Path, user: str | None) -> None:
        self.switch = switch
        self.kept = kept
        self.controller = controller
        self.user = user
        self.wanted: dict[str, MetadataPort] = {}
        self.serving: dict[str, tuple[MetadataPort, list[socket.socket]]] = {}
        self.proxy: socket.socket | None = None
        self.keeper: asyncio.Task[None] | None = None
        self.turn = asyncio.Lock()

    async def start(self) -> None:
        """Begin anew with what was asked before: a former node's namespaces died with it."""
        with contextlib.suppress(FileNotFoundError, msgspec.DecodeError):
            ports = msgspec.json.decode(self.kept.read_bytes(), type=tuple[MetadataPort, ...])
            self.wanted = {port.network_id: port for port in ports}
        self.keeper = asyncio.create_task(self.keep_proxy(), name="metadata-proxy")
        for name in await self.switch.ports_of_ours(PREFIX):
            await self.switch.ensure_no_port(name)
            await asyncio.to_thread(netns.remove_link, name)
        await self.match()

    async def stop(self) -> None:
        if self.keeper:
            self.keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self.keeper

    async def sync_metadata(self, ports: tuple[MetadataPort, ...]) -> None:
        wanted = {port.network_id: port for port in ports}
        if wanted != self.wanted:
            self.wanted = wanted
            hidden = self.kept.with_suffix(".new")
            hidden.write_bytes(msgspec.json.encode(tuple(wanted.values())))
            hidden.replace(self.kept)
        await self.match()

    async def list_metadata(self) -> tuple[MetadataPort, ...]:
        return tuple(port for port, _ in self.serving.values())

    async def match(self) -> None:
        """Make what is served equal to what is wanted."""
        async with self.turn:
            for network_id, (port, _) in list(self.serving.items()):
                if self.wanted.get(network_id) != port:
                    await self.end(network_id)
            for network_id, port in self.wanted.items():
                if network_id not in self.serving:
                    await self.begin(port)

    async def begin(self, port: MetadataPort) -> None:
        name = PREFIX + port.port_id[:11]

        def make() -> list[socket.socket]:
            netns.remove_link(name)
            sockets = netns.metadata_sockets(name, port.mac, port.cidrs, port.mtu)
            netns.ip(f"link set {name}" + (f" mtu {port.mtu}" if port.mtu else "") + " up")
            return sockets

        await self.switch.ensure_no_port(name)
        try:
            sockets = await asyncio.to_thread(make)
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            detail = getattr(error, "stderr", "") or str(error)
            raise BackendUnreachable("The node cannot listen for metadata.", detail=detail) from error
        self.serving[port.network_id] = (port, sockets)
        self.hand_over(port.network_id, sockets)
        await self.switch.ensure_port(name, port.port_id)

    async def end(self, network_id: str) -> None:
        port, sockets = self.serving.pop(network_id)
        self.hand_over(network_id, [])
        for listening in sockets:
            listening.close()
        name = PREFIX + port.port_id[:11]
        await self.switch.ensure_no_port(name)
        await asyncio.to_thread(netns.remove_link, name)

    def hand_over(self, network_id: str, sockets: list[socket.socket]) -> None:
        """Tell the proxy of a network's sockets; none: it lets go of them. A proxy that is down learns all when it starts."""
        if self.proxy is not None:
            with contextlib.suppress(OSError):
                socket.send_fds(self.proxy, [network_id.encode()], [listening.fileno() for listening in sockets])

    async def keep_proxy(self) -> None:
        """Run the proxy; it ends with us (its control socket closes), and comes back when it ends."""
        while True:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            command = [sys.executable, "-P", "-m", "moln.node.metadata_proxy", str(theirs.fileno()), str(self.controller)]
            process = await asyncio.create_subprocess_exec(
                *command,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env={"PYTHONPATH": os.environ.get("PYTHONPATH", ""), "PYTHONDONTWRITEBYTECODE": "1", "LANG": "C.UTF-8"},
                cwd="/",
                **({"user": self.user, "group": self.user, "extra_groups": []} if self.user else {}),  # type: ignore[arg-type]
            )
            theirs.close()
            self.proxy = ours
            try:
                for network_id, (_, sockets) in self.serving.items():
                    self.hand_over(network_id, sockets)
                code = await process.wait()
                log.warning("the metadata proxy ended with %s", code)
            finally:
                self.proxy = None
                ours.close()
                if process.returncode is None:
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(process.wait(), 5)
                    if process.returncode is None:
                        process.kill()
            await asyncio.sleep(RESTART_S)
