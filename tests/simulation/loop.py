"""An event loop whose time is its own: when nothing can run, the clock jumps to the next timer. Nothing sleeps, no thread runs.

What runs belongs to a machine (a controller, a node), by its context. One that is dead runs no further line, as after SIGKILL:
no `finally`, no callback, no timer.
"""

from __future__ import annotations

import asyncio
import contextvars
import heapq
import itertools
from collections import deque
from collections.abc import Callable
from typing import Any

from moln.kernel.clock import Clock

BEGINNING_US = 1_767_225_600_000_000  # 2026-01-01; the loop's time is 0 then


class Machine:
    """context: what is run in it, belongs to this machine. dead: what it left unfinished, kept so that nothing of it is ever closed."""

    def __init__(self, name: str):
        self.name = name
        self.alive = True
        self.dead: list[Any] = []
        self.context = contextvars.copy_context()
        self.context.run(_machine.set, self)


_machine: contextvars.ContextVar[Machine | None] = contextvars.ContextVar("machine", default=None)


def machine() -> Machine | None:
    """Whose code runs now; None: nobody's, the simulation's own."""
    return _machine.get()


class Stuck(Exception):
    """Nothing can run, and nothing ever will."""


class VirtualLoop(asyncio.BaseEventLoop):
    """Work for threads is done in turns of the loop. errors: what nobody caught. graves: the machines that died, with what they left."""

    _ready: deque[asyncio.Handle]  # what runs next; asyncio's own name, as its futures come here by call_soon alone

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0
        self.errors: list[str] = []
        self.graves: list[Machine] = []
        self._ready = deque()
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._numbers = itertools.count()
        self.set_exception_handler(lambda loop, told: self.errors.append(f"{told['message']}: {told.get('exception')!r}"))

    def time(self) -> float:
        return self.now_s

    def call_soon(self, callback: Callable[..., Any], *args: Any, context: contextvars.Context | None = None) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    call_soon_threadsafe = call_soon

    def call_at(self, when: float, callback: Callable[..., Any], *args: Any, context: contextvars.Context | None = None) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        heapq.heappush(self._timers, (when, next(self._numbers), handle))
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """It is passed over when its time comes."""

    def _run_once(self) -> None:
        """What is ready, in its order; when nothing is, the next timer, at once."""
        ready, timers = self._ready, self._timers
        while timers and timers[0][2].cancelled():
            heapq.heappop(timers)
        if not ready:
            if not timers:
                raise Stuck("Nothing can run, and nothing ever will.")
            self.now_s = max(self.now_s, timers[0][0])
        while timers and timers[0][0] <= self.now_s:
            handle = heapq.heappop(timers)[2]
            if not handle.cancelled():
                ready.append(handle)
        for _ in range(len(ready)):
            handle = ready.popleft()
            if not handle._cancelled:
                self._run(handle)

    def _run(self, handle: Any) -> None:
        """What a dead machine wanted to do is not done, and not forgotten either: forgetting a coroutine runs its `finally`."""
        whose = handle._context.get(_machine)
        if whose is not None and not whose.alive:
            whose.dead.append(handle)
        else:
            handle._run()

    def create_task(self, coro: Any, *, name: str | None = None, context: contextvars.Context | None = None) -> asyncio.Task[Any]:
        task = super().create_task(coro, name=name, context=context)
        whose = (context or contextvars.copy_context()).get(_machine)
        if whose is not None:
            whose.dead.append(task)
        return task

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        future = self.create_future()

        def work() -> None:
            try:
                result = func(*args)
            except Exception as error:
                future.set_exception(error)
            else:
                future.set_result(result)

        self.call_soon(work)
        return future

    def kill(self, whose: Machine) -> None:
        """From now on it runs nothing."""
        whose.alive = False
        self.graves.append(whose)


class VirtualClock(Clock):
    """The loop's time. ahead_us: by how much this machine's clock is wrong."""

    def __init__(self, loop: VirtualLoop, ahead_us: int = 0):
        self._loop = loop
        self.ahead_us = ahead_us
        self.monotonic = loop.time  # type: ignore[misc,assignment]

    def now_us(self) -> int:
        return BEGINNING_US + int(self._loop.now_s * 1e6) + self.ahead_us
