"""The node's end of the socket: it connects, says who it is, answers calls, reports, and comes back when cut off."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from moln.kernel.link.frames import Answer, Call, Hello, Report, pack, receive, send
from moln.kernel.link.verbs import Verbs

CALLS = 64  # commands running at once, at most
_log = logging.getLogger("moln.link")


class NodeEnd:
    """A node's connection to its controller. facts: called at each connection."""

    def __init__(self, path: Path, node: str, facts: Callable[[], dict[str, Any]], verbs: Verbs):
        self._path = path
        self._node = node
        self._facts = facts
        self._verbs = verbs
        self._writer: asyncio.StreamWriter | None = None
        self._bound = asyncio.Semaphore(CALLS)
        self.connected = asyncio.Event()

    async def run(self, retry_s: float = 0.5) -> None:
        """Serve until cancelled; a lost connection is made again every `retry_s` seconds."""
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
                            tasks.create_task(self._answer(frame, writer))
            except* (asyncio.IncompleteReadError, OSError) as lost:
                _log.info("the controller is gone: %r", lost.exceptions[0])
            finally:
                self.connected.clear()
                self._writer = None
                writer.close()
            await asyncio.sleep(retry_s)

    async def _answer(self, call: Call, writer: asyncio.StreamWriter) -> None:
        async with self._bound:
            answer = await self._verbs.answer(call)
        try:
            send(writer, answer)
        except ValueError:
            send(writer, Answer(call.id, "refused", message=f"The answer of {call.verb} is too large to send."))

    def report(self, topic: str, value: Any) -> bool:
        """Tell the controller. False: it is not there; the next period tells it again."""
        if self._writer is None:
            return False
        try:
            send(self._writer, Report(topic, pack(value)))
        except (ConnectionError, ValueError):
            return False
        return True
