"""The network between controller and nodes: it delays, loses, repeats, and falls apart for a while, as its seed says."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from random import Random
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from tests.simulation.loop import Machine, VirtualLoop

from moln.kernel.errors import BackendUnreachable
from moln.kernel.link import NodeLinks
from moln.kernel.link.frames import Answer, Call, pack

if TYPE_CHECKING:
    from tests.simulation.nodes import SimNode

KEEPALIVE_S = (5.0, 20.0)  # until a link that fell silent is given up
Note = Callable[..., None]


class Weather(Struct):
    """How likely a message is lost, late or repeated. late_s, again_s: by how much at most."""

    lost: float = 0.0
    late: float = 0.0
    late_s: float = 30.0
    again: float = 0.0
    again_s: float = 300.0

    @classmethod
    def of(cls, rng: Random) -> Weather:
        """Some runs know no fault of a kind, so that others are not always hidden behind it."""
        lost, late, again = (rng.choice([0.0, 0.01, 0.05, 0.2]) for _ in range(3))
        return cls(lost, late, rng.choice([2.0, 20.0, 100.0]), again, rng.choice([5.0, 60.0, 600.0]))


class Peer:
    """One connection of one node to one controller: answers come back by the one that asked, or not at all."""

    def __init__(self, node: SimNode, links: SimLinks):
        self.node = node
        self.links = links
        self.waiting: dict[int, asyncio.Future[Answer]] = {}
        self.reports: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue()
        self.open = True


class Network:
    """Which node has which connection, and what happens to each message. note: writes the trace."""

    def __init__(self, loop: VirtualLoop, rng: Random, weather: Weather, note: Note):
        self.loop = loop
        self.rng = rng
        self.weather = weather
        self.note = note
        self.cut: set[str] = set()  # nodes that nothing reaches
        self.controller: SimLinks | None = None
        self.running: dict[str, SimNode] = {}  # the processes that nodes have now

    def calm(self) -> None:
        """No more faults. What is under way still arrives."""
        self.weather = Weather()
        self.cut.clear()

    def _delays(self, what: str) -> list[float]:
        """When the copies of a message arrive; none, when it is lost."""
        weather, rng = self.weather, self.rng
        out = []
        if rng.random() >= weather.lost:
            out.append(rng.uniform(0.5, weather.late_s) if rng.random() < weather.late else rng.uniform(0.0001, 0.003))
        if out and rng.random() < weather.again:
            out.append(rng.uniform(0.5, weather.again_s))
        if len(out) != 1 or out[0] > 0.003:
            self.note("fate", what, out)
        return out

    def _later(self, delay: float, arrive: Callable[..., None], *args: Any) -> None:
        self.loop.call_later(delay, arrive, *args, context=NOBODY.context)

    def connect(self, node: SimNode, facts: dict[str, Any]) -> Peer | None:
        """A node's process finds the controller; None, when it does not."""
        if node.name in self.cut or self.controller is None or not self.controller.machine.alive:
            return None
        self.note("connect", node.name)
        return self.controller.accept(node, facts)

    def ask(self, peer: Peer, call: Call) -> None:
        for delay in self._delays(f"{call.verb} {call.id}"):
            self._later(delay, self._asked, peer, call)

    def _asked(self, peer: Peer, call: Call) -> None:
        """A message that was under way for long may find another process on the node than it was sent to."""
        name = peer.node.name
        node = self.running.get(name)
        if name in self.cut or node is None or not node.machine.alive:
            return
        self.note("call", name, call.verb, call.id, call.resource, call.generation)
        node.do(node.answer(call, lambda answer: self.reply(peer, call, answer)))

    def reply(self, peer: Peer, call: Call, answer: Answer) -> None:
        self.note("answer", peer.node.name, call.verb, call.id, answer.kind, answer.message)
        for delay in self._delays(f"answer {call.id}"):
            self._later(delay, self._replied, peer, answer)

    def _replied(self, peer: Peer, answer: Answer) -> None:
        future = peer.waiting.get(answer.id)
        if peer.open and peer.node.name not in self.cut and peer.links.machine.alive and future and not future.done():
            future.set_result(answer)

    def report(self, peer: Peer, topic: str, value: Any) -> None:
        raw = pack(value)
        for delay in self._delays(topic):
            self._later(delay, self._reported, peer, topic, raw)

    def _reported(self, peer: Peer, topic: str, raw: bytes) -> None:
        if peer.open and peer.node.name not in self.cut and peer.links.machine.alive:
            peer.reports.put_nowait((topic, raw))

    def end(self, peer: Peer, delay: float = 0.0) -> None:
        """A connection is over; both ends learn it `delay` seconds later, unless they did before."""
        self._later(delay, self._ended, peer)

    def _ended(self, peer: Peer) -> None:
        if not peer.open:
            return
        peer.open = False
        self.note("end", peer.node.name)
        if peer.links.machine.alive:
            peer.links.do(peer.links.lost(peer))
        if peer.node.machine.alive:
            peer.node.disconnected()

    def silence(self, name: str) -> None:
        """Nothing reaches this node, nor comes from it, until it is healed."""
        self.cut.add(name)
        node = self.running.get(name)
        if node is not None and node.peer is not None:
            self.end(node.peer, self.rng.uniform(*KEEPALIVE_S))


NOBODY = Machine("network")


class SimLinks(NodeLinks):
    """The controller's end. point: called at each command, and where it says so the controller dies there."""

    def __init__(self, network: Network, machine: Machine, now_us: Callable[[], int], point: Callable[[str, str], bool]):
        super().__init__(now_us)
        self.network = network
        self.machine = machine
        self.point = point
        self.peers: dict[str, Peer] = {}

    def do(self, work: Coroutine[Any, Any, None], name: str | None = None) -> asyncio.Task[None]:
        return self.network.loop.create_task(work, name=name, context=self.machine.context.copy())

    @property
    def nodes(self) -> frozenset[str]:
        return frozenset(self.peers)

    def accept(self, node: SimNode, facts: dict[str, Any]) -> Peer:
        """A node says who it is; a connection that it had before is over."""
        if node.name in self.peers:
            self.network.end(self.peers[node.name])
        peer = self.peers[node.name] = Peer(node, self)
        peer.reports.put_nowait(("node.up", pack(facts)))
        self.do(self._tell(peer), f"reports of {node.name}")
        return peer

    async def _tell(self, peer: Peer) -> None:
        while peer.open:
            await self.publish(peer.node.name, *await peer.reports.get())

    async def lost(self, peer: Peer) -> None:
        for future in peer.waiting.values():
            if not future.done():
                future.set_exception(BackendUnreachable(f"Node {peer.node.name} went away."))
        if self.peers.get(peer.node.name) is peer:
            del self.peers[peer.node.name]
            await self.publish(peer.node.name, "node.down", pack(None))

    async def _send(self, node: str, call: Call, deadline_s: float) -> Answer:
        peer = self.peers.get(node)
        if peer is None:
            raise BackendUnreachable(f"Node {node} is not connected.")
        if self.point("link", call.verb):
            await asyncio.Event().wait()
        future: asyncio.Future[Answer] = self.network.loop.create_future()
        peer.waiting[call.id] = future
        self.network.ask(peer, call)
        try:
            async with asyncio.timeout(deadline_s):
                answer = await future
        except TimeoutError:
            raise BackendUnreachable(f"Node {node} did not answer {call.verb} in {deadline_s:g} s.") from None
        finally:
            peer.waiting.pop(call.id, None)
        if self.point("link-done", call.verb):
            await asyncio.Event().wait()
        return answer
