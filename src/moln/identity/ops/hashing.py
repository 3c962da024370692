"""Threads for what takes the processor long and needs no interpreter meanwhile: as many as processors that this process may use."""

from __future__ import annotations

import asyncio
import os
import queue
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from moln.kernel.errors import Unavailable

T = TypeVar("T")
CLOSING_S = 10.0  # seconds for what is under way to end


class _Job(NamedTuple):
    future: asyncio.Future[Any]
    call: Callable[..., Any]
    args: tuple[Any, ...]


class Threads:
    """Calls, begun in the order given. Cheaper than asyncio's executor, which makes two futures, a lock and a condition for each.

    The loop is woken once for all that was done before it comes to look, and a thread that finds another call takes it without sleeping.
    How many may wait is for the caller to bound.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._most = len(os.sched_getaffinity(0))
        self._threads: list[threading.Thread] = []
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._done: deque[tuple[asyncio.Future[Any], Any, BaseException | None]] = deque()
        self._waking = self._closed = False

    def run(self, call: Callable[..., T], *args: Any) -> asyncio.Future[T]:
        """What `call` returns or raises, in another thread. Raises: Unavailable, after `close`."""
        if self._closed:
            raise Unavailable("This process is ending. Try again soon.")
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        if len(self._threads) < self._most:
            thread = threading.Thread(target=self._serve, name=f"{self._name}-{len(self._threads)}", daemon=True)
            thread.start()
            self._threads.append(thread)
        self._jobs.put(_Job(future, call, args))
        return future

    def _serve(self) -> None:
        while (job := self._jobs.get()) is not None:
            if job.future.cancelled():
                continue
            try:
                self._done.append((job.future, job.call(*job.args), None))
            except BaseException as error:  # whatever it is, this thread goes on and the caller hears of it
                self._done.append((job.future, None, error))
            if not self._waking:
                self._waking = True
                try:
                    job.future.get_loop().call_soon_threadsafe(self._deliver)
                except RuntimeError:  # the loop is closed: nobody waits any more
                    self._waking = False

    def _deliver(self) -> None:
        self._waking = False  # before it looks: what is done from now on wakes the loop again
        while self._done:
            future, result, error = self._done.popleft()
            if future.done():
                continue
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(result)

    def close(self) -> None:
        """What waits is cancelled; what is under way ends."""
        self._closed = True
        while not self._jobs.empty():
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:  # a thread was faster
                break
            if job is not None:
                job.future.cancel()
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join(CLOSING_S)
