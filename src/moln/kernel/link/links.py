"""The controller's side: calls to nodes with deadline, fence and request id; reports from them."""

from __future__ import annotations

import asyncio
import inspect
import itertools
import logging
import socket
import time
from collections.abc import Awaitable, Callable
from functools import cache
from typing import Any, TypeVar, cast

from moln.kernel import log
from moln.kernel.errors import BackendRefused, BackendUnreachable, StaleGeneration
from moln.kernel.link.frames import Answer, Call, pack, receive, send
from moln.kernel.link.streams import Stream, Streams, of_socket
from moln.kernel.link.verbs import Verbs, methods_of, result_of
from moln.kernel.metrics import Family, Spread
from moln.kernel.tracing import Tracer

D = TypeVar("D")
ReportHandler = Callable[[str, bytes], Awaitable[None]]
Hook = Callable[[str, str], None]
_log = logging.getLogger("moln.link")


class _Proxy:
    """A driver on a node: its Protocol's methods, each a call."""

    def __init__(self, links: NodeLinks, node: str, area: str, protocol: type, resource: str, generation: int, deadline_s: float):
        self._links = links
        self._node = node
        self._area = area
        self._signatures = _signatures(protocol)
        self._fence = {"resource": resource, "generation": generation, "deadline_s": deadline_s}

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        if name not in self._signatures:
            raise AttributeError(name)
        signature, decode = self._signatures[name]

        async def call(*args: Any, **kwargs: Any) -> Any:
            bound = signature.bind(None, *args, **kwargs)
            bound.apply_defaults()
            packed = pack(list(bound.args[1:]))
            return decode(await self._links.call(self._node, f"{self._area}.{name}", packed, **self._fence))  # type: ignore[arg-type]

        return call


@cache
def _signatures(protocol: type) -> dict[str, tuple[inspect.Signature, Callable[[bytes], Any]]]:
    return {name: (inspect.signature(method), result_of(method)) for name, method in methods_of(protocol).items()}


class NodeLinks:
    """How drivers on nodes are called. Subclasses carry the frames.

    hook: called with ("link", verb) before and ("link-done", verb) after each call, for fault tests.
    """

    def __init__(self, now_us: Callable[[], int], hook: Hook | None = None):
        self._now_us = now_us
        self._hook = hook
        self._ids = itertools.count(1)
        self._handlers: dict[str, list[ReportHandler]] = {}
        self._took: dict[tuple[str, str], Spread] = {}
        self.tracer: Tracer | None = None

    def driver(self, node: str, area: str, protocol: type[D], *, resource: str = "", generation: int = 0,
               deadline_s: float = 60.0) -> D:  # fmt: skip
        """The driver of `area` on a node: calls raise BackendRefused (StaleGeneration) or BackendUnreachable, nothing else.

        resource, generation: the fence. deadline_s: seconds from the call; afterwards the outcome is unknown.
        """
        return cast(D, _Proxy(self, node, area, protocol, resource, generation, deadline_s))

    def on_report(self, topic: str, handler: ReportHandler) -> None:
        """Run `handler(node, value in msgpack)` for each report of a topic; "node.up" and "node.down" come from the link itself."""
        self._handlers.setdefault(topic, []).append(handler)

    @property
    def nodes(self) -> frozenset[str]:
        """The nodes that are there now."""
        raise NotImplementedError

    @property
    def trouble(self) -> str:
        """Why no node can be heard of, whatever they do; empty: they can."""
        return ""

    async def call(self, node: str, verb: str, args: bytes, *, resource: str = "", generation: int = 0, deadline_s: float = 60.0) -> bytes:
        """The packed result. Raises: BackendUnreachable, BackendRefused, StaleGeneration."""
        if self.tracer is None or not self.tracer.inside:
            return await self._call(node, verb, args, resource, generation, deadline_s)
        attributes = {"rpc.system": "moln", "rpc.method": verb, "moln.node": node, "moln.resource": resource}
        with self.tracer.span(f"call {verb}", attributes, "client"):
            return await self._call(node, verb, args, resource, generation, deadline_s, self.tracer.traceparent())

    async def _call(self, node: str, verb: str, args: bytes, resource: str, generation: int, deadline_s: float,
                    traceparent: str = "") -> bytes:  # fmt: skip
        not_after = self._now_us() + int(deadline_s * 1e6)
        call = Call(next(self._ids), verb, args, not_after, resource, generation, log.request_id.get(), traceparent)
        if self._hook:
            self._hook("link", verb)
        began, outcome = time.monotonic(), "unreachable"
        try:
            answer = await self._send(node, call, deadline_s)
            outcome = answer.kind
        finally:
            self._took.setdefault((verb, outcome), Spread()).add(time.monotonic() - began)
        if self._hook:
            self._hook("link-done", verb)
        return _value(node, verb, answer)

    async def open_stream(self, node: str, verb: str, args: bytes, *, resource: str = "", generation: int = 0,
                          deadline_s: float = 20.0) -> Stream:  # fmt: skip
        """Bytes both ways, on a connection of their own. Raises: BackendUnreachable, BackendRefused, StaleGeneration."""
        not_after = self._now_us() + int(deadline_s * 1e6)
        call = Call(next(self._ids), verb, args, not_after, resource, generation, log.request_id.get())
        stream = None
        try:
            async with asyncio.timeout(deadline_s):
                stream = await self._connect(node)
                send(stream.writer, call)
                answer = await receive(stream.reader)
            if not isinstance(answer, Answer):
                raise BackendUnreachable(f"Node {node} did not answer {verb}.")
            _value(node, verb, answer)
            return stream
        except BaseException as error:
            if stream is not None:
                stream.close()
            if isinstance(error, OSError | asyncio.IncompleteReadError):  # TimeoutError is an OSError
                raise BackendUnreachable(f"Node {node} did not open {verb}.", detail=repr(error)) from None
            raise

    async def _connect(self, node: str) -> Stream:
        """To where the node serves streams. Raises: OSError, BackendUnreachable."""
        raise NotImplementedError

    async def _send(self, node: str, call: Call, deadline_s: float) -> Answer:
        raise NotImplementedError

    async def publish(self, node: str, topic: str, value: bytes) -> None:
        """Give a report to its handlers; a handler's failure is logged and stays its own."""
        for handler in self._handlers.get(topic, ()):
            try:
                await handler(node, value)
            except Exception:
                _log.exception("report %s of node %s", topic, node)

    def families(self) -> list[Family]:
        """Nodes connected; calls by verb and outcome, and how long they took."""
        return [
            Family("moln_nodes_connected", "gauge", "Nodes that are connected.", [({}, len(self.nodes))]),
            Family("moln_link_call_duration_seconds", "histogram", "Calls to nodes, by verb and outcome.",
                   [({"verb": verb, "outcome": outcome}, took) for (verb, outcome), took in list(self._took.items())]),
        ]  # fmt: skip

    async def start(self) -> None:
        """Let nodes come; handlers are there by now."""

    async def close(self) -> None:
        """Let go of every node."""


def _value(node: str, verb: str, answer: Answer) -> bytes:
    match answer.kind:
        case "ok":
            return answer.value
        case "stale":
            raise StaleGeneration(answer.message)
        case "refused":
            raise BackendRefused(answer.message)
    raise BackendUnreachable(answer.message or f"Node {node} did not answer {verb}.")


class InProcessLinks(NodeLinks):
    """Nodes inside this process, spoken to in the same frames: for simulation."""

    def __init__(self, now_us: Callable[[], int], hook: Hook | None = None):
        super().__init__(now_us, hook)
        self._verbs: dict[str, Verbs] = {}
        self._streams: dict[str, Streams] = {}
        self._serving: set[asyncio.Task[None]] = set()

    async def join(self, node: str, verbs: Verbs, facts: dict[str, Any], streams: Streams | None = None) -> None:
        """A simulated node comes up."""
        self._verbs[node] = verbs
        if streams is not None:
            self._streams[node] = streams
        await self.publish(node, "node.up", pack(facts))

    async def leave(self, node: str) -> None:
        """A simulated node is lost."""
        del self._verbs[node]
        self._streams.pop(node, None)
        await self.publish(node, "node.down", pack(None))

    async def close(self) -> None:
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    @property
    def nodes(self) -> frozenset[str]:
        return frozenset(self._verbs)

    async def _connect(self, node: str) -> Stream:
        streams = self._streams.get(node)
        if streams is None:
            raise BackendUnreachable(f"Node {node} serves no streams.")
        ours, theirs = socket.socketpair()
        there = await of_socket(theirs)
        task = asyncio.create_task(streams.serve(*there), name=f"a stream of {node}")
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        return await of_socket(ours)

    async def _send(self, node: str, call: Call, deadline_s: float) -> Answer:
        verbs = self._verbs.get(node)
        if verbs is None:
            raise BackendUnreachable(f"Node {node} is not connected.")
        return await verbs.answer(call)
