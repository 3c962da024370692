"""Threads that hash: every caller hears of its own call, and the end leaves nobody waiting."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator

import pytest

from moln.identity.ops.hashing import Threads
from moln.kernel.errors import Unavailable

WAIT_S = 20


@pytest.fixture
def threads() -> Iterator[Threads]:
    made = Threads("test-hash")
    yield made
    made.close()


async def test_each_caller_has_its_own_answer_or_error(threads: Threads) -> None:
    calls = [threads.run(int, text) for text in ["1", "no", "3"] * 50]
    answers = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), WAIT_S)
    assert [answer if isinstance(answer, int) else type(answer) for answer in answers] == [1, ValueError, 3] * 50


async def test_there_are_as_many_threads_as_processors_that_we_may_use(threads: Threads) -> None:
    most, running = len(os.sched_getaffinity(0)), threading.Barrier(len(os.sched_getaffinity(0)))
    together = await asyncio.wait_for(asyncio.gather(*(threads.run(running.wait, WAIT_S) for _ in range(most))), WAIT_S)
    assert sorted(together) == list(range(most))
    await asyncio.gather(*(threads.run(int) for _ in range(10 * most)))
    assert sum(thread.name.startswith("test-hash") for thread in threading.enumerate()) == most


async def busy(threads: Threads) -> threading.Event:
    """Every thread has something to do until the event is set."""
    go, begun = threading.Event(), threading.Barrier(threads._most + 1)

    def wait() -> None:
        begun.wait(WAIT_S)
        go.wait(WAIT_S)

    for _ in range(threads._most):
        threads.run(wait)
    await asyncio.to_thread(begun.wait, WAIT_S)
    return go


async def test_what_nobody_waits_for_is_not_begun(threads: Threads) -> None:
    go, made = await busy(threads), []
    threads.run(made.append, "cancelled").cancel()
    wanted = threads.run(made.append, "wanted")
    go.set()
    await asyncio.wait_for(wanted, WAIT_S)
    assert made == ["wanted"]


async def test_the_end_cancels_what_waits_and_lets_what_is_under_way_end(threads: Threads) -> None:
    go, made = await busy(threads), []
    waiting = threads.run(made.append, "never")
    threading.Timer(0.05, go.set).start()
    threads.close()
    assert waiting.cancelled() and made == []
    assert not any(thread.name.startswith("test-hash") for thread in threading.enumerate())
    with pytest.raises(Unavailable):
        threads.run(int)
