"""The node's end of a link: it connects, says who it is, answers calls, reports, and comes back when cut off."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from moln.kernel.link.frames import Answer, Call, Frame, Report, pack
from moln.kernel.link.verbs import Verbs

CALLS = 64  # commands running at once, at most


class NodeEnd:
    """A node's connection to its controllers. Subclasses carry the frames. facts: called at each connection."""

    def __init__(self, node: str, facts: Callable[[], dict[str, Any]], verbs: Verbs):
        self._node = node
        self._facts = facts
        self._verbs = verbs
        self._bound = asyncio.Semaphore(CALLS)
        self.connected = asyncio.Event()

    async def run(self, retry_s: float = 0.5) -> None:
        """Serve until cancelled; a lost connection is made again every `retry_s` seconds."""
        raise NotImplementedError

    def _tell(self, frame: Frame) -> None:
        """Send what nobody asked for. Raises: ConnectionError, ValueError."""
        raise NotImplementedError

    async def _answer(self, call: Call, send: Callable[[Answer], None]) -> None:
        """Run a command and send its answer. Raises: ConnectionError."""
        async with self._bound:
            answer = await self._verbs.answer(call)
        try:
            send(answer)
        except ValueError:
            send(Answer(call.id, "refused", message=f"The answer of {call.verb} is too large to send."))

    def report(self, topic: str, value: Any) -> bool:
        """Tell the controller. False: it is not there; the next period tells it again."""
        try:
            self._tell(Report(topic, pack(value)))
        except (ConnectionError, ValueError):
            return False
        return True
