"""Frames over a unix socket: the controller and the node of one machine."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from moln.kernel.errors import BackendUnreachable
from moln.kernel.link.frames import Call, Frame, Hello, receive, send
from moln.kernel.link.links import Hook
from moln.kernel.link.node import NodeEnd
from moln.kernel.link.peers import Peer, PeerLinks
from moln.kernel.link.streams import Stream, of_path
from moln.kernel.link.verbs import Verbs

HELLO_S = 10  # seconds for a node to say who it is
_log = logging.getLogger("moln.link")


class _SocketPeer(Peer):
    def __init__(self, hello: Hello, writer: asyncio.StreamWriter):
        super().__init__(hello)
        self.writer = writer


class SocketLinks(PeerLinks[_SocketPeer]):
    """Nodes that connect to this process's unix socket; only root may (SO_PEERCRED), or the user we run as."""

    def __init__(self, path: Path, now_us: Callable[[], int], hook: Hook | None = None):
        super().__init__(now_us, hook)
        self._path = path
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._serve, self._path)
        os.chmod(self._path, 0o600)

    async def close(self) -> None:
        if self._server:
            self._server.close()
            self._path.unlink(missing_ok=True)
        for peer in list(self._peers.values()):
            peer.writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        node, peer = "", None
        try:
            raw = writer.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
            if struct.unpack("3i", raw)[1] not in (0, os.getuid()):
                return
            async with asyncio.timeout(HELLO_S):
                hello = await receive(reader)
            if not isinstance(hello, Hello):
                return
            node = hello.node
            if node in self._peers:
                self._peers[node].writer.close()
            peer = _SocketPeer(hello, writer)
            self._arrived(node, peer, hello.facts)
            while True:
                self._take(node, peer, await receive(reader))
        except (asyncio.IncompleteReadError, OSError) as lost:
            _log.info("node %s is gone: %r", node or "(unnamed)", lost)
        finally:
            writer.close()
            if peer is not None:
                await self._left(node, peer, f"Node {node} went away.")

    def _transmit(self, node: str, peer: _SocketPeer, call: Call) -> None:
        send(peer.writer, call)

    async def _connect(self, node: str) -> Stream:
        peer = self._peer(node)
        if not peer.streams:
            raise BackendUnreachable(f"Node {node} serves no streams.")
        return await of_path(peer.streams)


class SocketEnd(NodeEnd):
    """A node's connection to its controller's unix socket."""

    def __init__(self, path: Path, node: str, facts: Callable[[], dict[str, Any]], verbs: Verbs):
        super().__init__(node, facts, verbs)
        self._path = path
        self._writer: asyncio.StreamWriter | None = None

    async def run(self, retry_s: float = 0.5) -> None:
        while True:
            try:
                reader, writer = await asyncio.open_unix_connection(self._path)
            except OSError:
                await asyncio.sleep(retry_s)
                continue
            self._writer = writer
            try:
                async with asyncio.TaskGroup() as tasks:
                    send(writer, Hello(self._node, self._facts()))
                    self.connected.set()
                    while True:
                        frame = await receive(reader)
                        if isinstance(frame, Call):
                            tasks.create_task(self._answer(frame, lambda answer, to=writer: send(to, answer)))  # type: ignore[misc]
            except* (asyncio.IncompleteReadError, OSError) as lost:
                _log.info("the controller is gone: %r", lost.exceptions[0])
            finally:
                self.connected.clear()
                self._writer = None
                writer.close()
            await asyncio.sleep(retry_s)

    def _tell(self, frame: Frame) -> None:
        if self._writer is None:
            raise ConnectionError("not connected")
        send(self._writer, frame)
