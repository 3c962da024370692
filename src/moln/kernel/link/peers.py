"""Nodes that are elsewhere: which are there, which calls wait for their answers, whose reports wait for their handlers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from moln.kernel.errors import BackendRefused, BackendUnreachable
from moln.kernel.link.frames import Answer, Call, Frame, Hello, Report, pack
from moln.kernel.link.links import Hook, NodeLinks

REPORTS = 1024  # reports of one node that wait for their handlers, at most
_log = logging.getLogger("moln.link")


class Peer:
    """A node that is there. streams: where it serves them; empty for nowhere."""

    def __init__(self, hello: Hello):
        self.streams = str(hello.facts.get("streams", ""))
        self.waiting: dict[int, asyncio.Future[Answer]] = {}
        self.reports: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue(REPORTS)
        self.telling: asyncio.Task[None] | None = None


P = TypeVar("P", bound=Peer)


class PeerLinks(NodeLinks, Generic[P]):
    """What all transports share. Theirs is to carry frames (`_transmit`), and to notice who comes (`_arrived`) and goes (`_left`)."""

    def __init__(self, now_us: Callable[[], int], hook: Hook | None = None):
        super().__init__(now_us, hook)
        self._peers: dict[str, P] = {}

    @property
    def nodes(self) -> frozenset[str]:
        return frozenset(self._peers)

    def _transmit(self, node: str, peer: P, call: Call) -> None:
        """Send a frame. Raises: ConnectionError, ValueError for one that is too large."""
        raise NotImplementedError

    def _arrived(self, node: str, peer: P, facts: dict[str, Any]) -> None:
        """A node is there, in place of whoever had its name."""
        self._peers[node] = peer
        peer.reports.put_nowait(("node.up", pack(facts)))
        peer.telling = asyncio.create_task(self._tell(node, peer), name=f"reports of {node}")

    async def _left(self, node: str, peer: P, why: str) -> None:
        """It is there no more, or another is in its place. why: a sentence about it."""
        if peer.telling:
            peer.telling.cancel()
            await asyncio.gather(peer.telling, return_exceptions=True)
        self._end_calls(peer, why)
        if self._peers.get(node) is peer:
            del self._peers[node]
            await self.publish(node, "node.down", pack(None))

    @staticmethod
    def _end_calls(peer: P, why: str) -> None:
        for future in peer.waiting.values():
            if not future.done():
                future.set_exception(BackendUnreachable(why))

    async def _tell(self, node: str, peer: P) -> None:
        """Handlers run here, in order, so that they may call the node and keep no answer waiting."""
        while True:
            await self.publish(node, *await peer.reports.get())

    def _take(self, node: str, peer: P, frame: Frame) -> None:
        if isinstance(frame, Answer):
            future = peer.waiting.get(frame.id)
            if future and not future.done():
                future.set_result(frame)
        elif isinstance(frame, Report):
            try:
                peer.reports.put_nowait((frame.topic, frame.value))
            except asyncio.QueueFull:
                _log.warning("a report %s of node %s is dropped: too many wait", frame.topic, node)

    def _peer(self, node: str) -> P:
        """Raises: BackendUnreachable."""
        peer = self._peers.get(node)
        if peer is None:
            raise BackendUnreachable(f"Node {node} is not connected.")
        return peer

    async def _send(self, node: str, call: Call, deadline_s: float) -> Answer:
        peer = self._peer(node)
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        peer.waiting[call.id] = future
        try:
            self._transmit(node, peer, call)
            async with asyncio.timeout(deadline_s):
                return await future
        except ValueError:
            raise BackendRefused(f"{call.verb} is too large to send.") from None
        except (ConnectionError, TimeoutError):
            raise BackendUnreachable(f"Node {node} did not answer {call.verb} in {deadline_s:g} s.") from None
        finally:
            peer.waiting.pop(call.id, None)
