"""Nodes reached in more than one way: the own machine's over its socket, others over the network."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from moln.kernel.errors import BackendUnreachable
from moln.kernel.link.frames import Answer, Call
from moln.kernel.link.links import Hook, NodeLinks, ReportHandler
from moln.kernel.link.streams import Stream


class SeveralLinks(NodeLinks):
    """Each node by the first of `ways` that has it."""

    def __init__(self, ways: Sequence[NodeLinks], now_us: Callable[[], int], hook: Hook | None = None):
        super().__init__(now_us, hook)
        self.ways = tuple(ways)

    def on_report(self, topic: str, handler: ReportHandler) -> None:
        for way in self.ways:
            way.on_report(topic, handler)

    @property
    def nodes(self) -> frozenset[str]:
        return frozenset().union(*(way.nodes for way in self.ways))

    @property
    def trouble(self) -> str:
        return next((way.trouble for way in self.ways if way.trouble), "")

    def _to(self, node: str) -> NodeLinks:
        for way in self.ways:
            if node in way.nodes:
                return way
        raise BackendUnreachable(f"Node {node} is not connected.")

    async def _send(self, node: str, call: Call, deadline_s: float) -> Answer:
        return await self._to(node)._send(node, call, deadline_s)

    async def _connect(self, node: str) -> Stream:
        return await self._to(node)._connect(node)

    async def start(self) -> None:
        for way in self.ways:
            await way.start()

    async def close(self) -> None:
        for way in self.ways:
            await way.close()
