"""Frames over NATS: controllers and nodes on different machines.

A node has no connection to a controller here, so its beats tell that it lives (leases.py). Losing NATS costs time: calls end at once
and are repeated by whoever made them; when it is back, every node says hello again, and what was missed is asked for.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
from collections.abc import Awaitable, Callable
from typing import Any

from moln.kernel.errors import BackendUnreachable, Failure
from moln.kernel.http.certificates import member_host
from moln.kernel.link import subjects
from moln.kernel.link.frames import Answer, Beat, Call, Frame, Hello, Report, Who, decode, encode
from moln.kernel.link.leases import BEAT_S, LEASE_S, Leases
from moln.kernel.link.links import Hook
from moln.kernel.link.nats_authority import FRAME_BOUND
from moln.kernel.link.nats_wire import Badge, Heard, NatsWire
from moln.kernel.link.node import NodeEnd
from moln.kernel.link.peers import Peer, PeerLinks
from moln.kernel.link.streams import Stream, of_tls
from moln.kernel.link.verbs import Verbs

HELLOS_PER_S = 250  # that a controller wants to hear when it asks everybody
_log = logging.getLogger("moln.link")


class _NatsPeer(Peer):
    """heard_us: when it last gave a sign of life. doubted: whether we may have missed what it said since its hello."""

    def __init__(self, hello: Hello, heard_us: int):
        super().__init__(hello)
        self.session = hello.session
        self.heard_us = heard_us
        self.doubted = False


class NatsLinks(PeerLinks[_NatsPeer]):
    """Nodes that speak through NATS. before: awaited before each connection, with the server's URL.

    admits: whether a node of this name, or whoever has this certificate (its serial number), may speak to us still.
    """

    def __init__(self, badge: Badge, leases: Leases, now_us: Callable[[], int], hook: Hook | None = None, *,
                 before: Callable[[str], Awaitable[None]] | None = None, admits: Callable[[str, int], bool] = lambda node, serial: True,
                 beat_s: float = BEAT_S, lease_s: float = LEASE_S, retry_s: float = 0.5):  # fmt: skip
        super().__init__(now_us, hook)
        self._badge = badge
        self._leases = leases
        self._admits = admits
        self._beat_s, self._lease_us, self._retry_s = beat_s, int(lease_s * 1e6), retry_s
        hear = {subjects.answers(badge.name): self._hear_answer, "moln.tell.*": self._hear_node}
        self._wire = NatsWire(badge, hear, up=self._up, lost=self._lost, before=before)
        self._heard: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        self._spawn(self._wire.run(self._retry_s), "NATS")
        self._spawn(self._keep(), "leases of nodes")

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for node, peer in list(self._peers.items()):
            await self._left(node, peer, f"Node {node} is let go of.")

    def _spawn(self, work: Any, name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _up(self) -> None:
        spread_s = len(self._peers) / HELLOS_PER_S
        self._wire.send(subjects.WHO, encode(Who(spread_s), FRAME_BOUND))

    def _lost(self) -> None:
        for peer in self._peers.values():
            peer.doubted = True
            self._end_calls(peer, self._away())

    @property
    def trouble(self) -> str:
        """Why NATS cannot be reached; empty: it can."""
        return "" if self._wire.connected else self._wire.why

    def _away(self) -> str:
        return f"NATS cannot be reached: {self._wire.why}."

    async def expel(self, node: str) -> None:
        """A node that was removed is gone at once."""
        await self._leases.end(node)
        if (peer := self._peers.get(node)) is not None:
            await self._left(node, peer, f"Node {node} was removed.")

    # What is heard.

    def _hear_answer(self, heard: Heard) -> None:
        _, _, token, _, number = heard.subject.split(".")
        node = subjects.name(token)
        peer = self._peers.get(node)
        if peer is None:
            return
        if heard.nobody:
            future = peer.waiting.get(int(number))
            if future and not future.done():
                future.set_exception(BackendUnreachable(f"Node {node} is not connected to NATS."))
            return
        frame = decode(heard.data)
        if isinstance(frame, Answer) and frame.id == int(number):
            self._take(node, peer, frame)

    def _hear_node(self, heard: Heard) -> None:
        """The subject proves who speaks: NATS lets nobody else."""
        node = subjects.name(heard.subject.split(".")[2])
        if not self._admits(node, 0):
            return
        frame, peer = decode(heard.data), self._peers.get(node)
        if isinstance(frame, Hello):
            if frame.node != node:
                raise ValueError(f"it says that it is node {frame.node}")
            self._hello(node, peer, frame)
        elif peer is None or (isinstance(frame, Beat) and frame.session != peer.session):
            self._wire.send(subjects.call(node), encode(Who(), FRAME_BOUND))  # we missed its hello
            return
        elif isinstance(frame, Report):
            self._take(node, peer, frame)
        self._peers[node].heard_us = self._now_us()
        self._heard.add(node)

    def _hello(self, node: str, peer: _NatsPeer | None, hello: Hello) -> None:
        if peer is not None and peer.session == hello.session and not peer.doubted:
            return  # another controller asked
        if peer is not None:
            self._spawn(self._left(node, peer, f"Node {node} connected anew."), f"{node} as it was")
        fresh = _NatsPeer(hello, self._now_us())
        self._arrived(node, fresh, hello.facts)

    async def _keep(self) -> None:
        """Renew the leases of those who were heard; give up those whose lease is over, unless another controller hears them."""
        while True:
            await asyncio.sleep(self._beat_s / 2)
            now, heard, self._heard = self._now_us(), self._heard, set()
            try:
                if heard:
                    await self._leases.renew(heard, now + self._lease_us)
                for node, peer in list(self._peers.items()):
                    if peer.heard_us + self._lease_us < now and await self._leases.ends_us(node) < now:
                        _log.warning("node %s gave no sign of life", node)
                        await self._left(node, peer, f"Node {node} gave no sign of life.")
            except Failure as failure:
                _log.warning("leases of nodes cannot be kept: %s", failure.message)
            except Exception:
                _log.exception("leases of nodes")

    # What is sent.

    def _transmit(self, node: str, peer: _NatsPeer, call: Call) -> None:
        try:
            self._wire.send(subjects.call(node), encode(call, FRAME_BOUND), subjects.answer(node, self._badge.name, call.id))
        except ConnectionError:
            raise BackendUnreachable(self._away()) from None

    async def _connect(self, node: str) -> Stream:
        """Straight to the node, who proves itself as we do."""
        peer = self._peer(node)
        if not peer.streams:
            raise BackendUnreachable(f"Node {node} serves no streams.")
        stream = await of_tls(peer.streams, self._badge.tls(), member_host("node", node))
        if not self._admits(node, _serial(stream)):
            stream.close()
            raise BackendUnreachable(f"Node {node} was removed.")
        return stream


def _serial(stream: Stream) -> int:
    return int(stream.writer.get_extra_info("peercert")["serialNumber"], 16)


class NatsEnd(NodeEnd):
    """A node's connection to its controllers."""

    def __init__(self, badge: Badge, facts: Callable[[], dict[str, Any]], verbs: Verbs, *, beat_s: float = BEAT_S):
        super().__init__(badge.name, facts, verbs)
        self._session = ""
        self._beat_s = beat_s
        self._tasks: set[asyncio.Task[None]] = set()
        hear = {subjects.call(badge.name): self._hear, subjects.WHO: self._hear}
        self._wire = NatsWire(badge, hear, up=self._up, lost=self.connected.clear)

    async def run(self, retry_s: float = 0.5) -> None:
        beating = asyncio.create_task(self._beat(), name="signs of life")
        try:
            await self._wire.run(retry_s)
        finally:
            beating.cancel()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(beating, *self._tasks, return_exceptions=True)

    def _up(self) -> None:
        self._session = os.urandom(8).hex()
        self._say_hello()
        self.connected.set()

    def _say_hello(self) -> None:
        self._tell(Hello(self._node, self._facts(), self._session))

    async def _beat(self) -> None:
        while True:
            await self.connected.wait()
            try:
                self._tell(Beat(self._session))
            except ConnectionError as lost:
                _log.info("no sign of life could be given: %s", lost)
            await asyncio.sleep(self._beat_s)

    def _hear(self, heard: Heard) -> None:
        frame = decode(heard.data)
        if isinstance(frame, Call):
            self._spawn(self._serve(frame, heard.reply))
        elif isinstance(frame, Who):
            self._spawn(self._introduce(frame.spread_s))

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _introduce(self, spread_s: float) -> None:
        await asyncio.sleep(random.uniform(0, min(spread_s, self._beat_s)))
        try:
            self._say_hello()
        except ConnectionError as lost:
            _log.info("no hello could be said: %s", lost)

    async def _serve(self, call: Call, reply: str) -> None:
        try:
            await self._answer(call, lambda answer: self._wire.send(reply, encode(answer, FRAME_BOUND)))
        except ConnectionError as lost:
            _log.info("the answer of %s is lost: %s", call.verb, lost)

    def _tell(self, frame: Frame) -> None:
        self._wire.send(subjects.tell(self._node), encode(frame, FRAME_BOUND))
