"""An event loop whose time is its own: when nothing can run, the clock jumps to the next timer. Nothing sleeps, no thread runs.

What runs belongs to a machine (a controller, a node), by its context. One that is dead runs no further line, as after SIGKILL:
no `finally`, no callback, no timer.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from typing import Any

from moln.kernel.clock import Clock

BEGINNING_US = 1_767_225_600_000_000  # 2026-01-01; the loop's time is 0 then
TICK_S = 1e-6


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


class _Jumps:
    """In a selector's place: there are no files, so waiting is a jump in time."""

    def __init__(self, loop: VirtualLoop):
        self._loop = loop

    def select(self, timeout: float | None) -> list[Any]:
        if timeout is None:
            raise Stuck("Nothing can run, and nothing ever will.")
        self._loop.now_s += timeout
        return []


class VirtualLoop(asyncio.BaseEventLoop):
    """Work for threads is done in turns of the loop. errors: what nobody caught."""

    _ready: Any  # the loop's own: what runs next, and its timers
    _scheduled: list[asyncio.TimerHandle]

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0
        self.errors: list[str] = []
        self.graves: list[Machine] = []
        self._selector = _Jumps(self)
        self._clock_resolution = TICK_S
        self.set_exception_handler(lambda loop, told: self.errors.append(f"{told['message']}: {told.get('exception')!r}"))

    def time(self) -> float:
        return self.now_s

    def _process_events(self, events: list[Any]) -> None:
        """There are none."""

    def _write_to_self(self) -> None:
        """Nobody waits in a selector."""

    def _call_soon(self, callback: Callable[..., Any], args: Any, context: contextvars.Context | None) -> asyncio.Handle:
        handle: asyncio.Handle = super()._call_soon(callback, args, context)  # type: ignore[misc]
        self._bury(handle)
        return handle

    def call_at(self, when: float, callback: Callable[..., Any], *args: Any, context: contextvars.Context | None = None) -> asyncio.TimerHandle:
        handle = super().call_at(when, callback, *args, context=context)
        self._bury(handle)
        return handle

    def _bury(self, handle: asyncio.Handle) -> None:
        """What a dead machine wanted to do is not done, and not forgotten either: forgetting a coroutine runs its `finally`."""
        whose = handle._context.get(_machine)  # type: ignore[attr-defined]
        if whose is not None and not whose.alive:
            whose.dead.append((handle._callback, handle._args))  # type: ignore[attr-defined]
            handle.cancel()

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
        for handle in [*self._ready, *self._scheduled]:
            if not handle.cancelled():
                self._bury(handle)


class VirtualClock(Clock):
    """The loop's time. ahead_us: by how much this machine's clock is wrong."""

    def __init__(self, loop: VirtualLoop, ahead_us: int = 0):
        self._loop = loop
        self.ahead_us = ahead_us
        self.monotonic = loop.time  # type: ignore[misc,assignment]

    def now_us(self) -> int:
        return BEGINNING_US + int(self._loop.now_s * 1e6) + self.ahead_us
