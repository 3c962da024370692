"""Runs reconcilers and periodic jobs on the event loop; all they know can be lost at any time."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from msgspec import Struct

from moln.kernel import log
from moln.kernel.cloud import Cloud
from moln.kernel.errors import Conflict, Failure, NotFound, Unavailable
from moln.kernel.metrics import Family
from moln.kernel.work.claims import Claims
from moln.kernel.work.leaders import Deposed, Leaders, LedWork
from moln.kernel.work.reconciler import Later, Reconciler, Work

_log = logging.getLogger("moln.work")
FIRST_PAUSE_S, RACE_PAUSE_S, LONGEST_PAUSE_S = 0.5, 0.02, 30.0
BLIND_PAUSE_S = 1.0  # after a look that failed: the wake that led to it is used up
TOGETHER_S = 0.02  # between two looks of one among several controllers: it hears of much that is another's
STEPS, STEP_PAUSE_S = 8, 0.25  # settlings of one resource in a second, at most; a pause follows


class Periodic(Struct, frozen=True):
    """A job run every `every_s` seconds, first at start. everywhere: by every controller, as it is about its machine or its memory; else by one."""

    name: str
    run: Callable[[Work], Awaitable[None]]
    every_s: float
    everywhere: bool = False


class _Trouble(Struct):
    """A resource that waits: since when, and when it is tried again (monotonic seconds). waits: by its own wish, nothing failed."""

    since: float
    pause_s: float
    again: float
    waits: bool = False


class Workers:
    """Every reconciler of a process. start() after the database is open, stop() before it closes."""

    def __init__(self, cloud: Cloud, reconcilers: Sequence[Reconciler[Any]], periodics: Sequence[Periodic] = ()):
        self._cloud = cloud
        self._work = Work(cloud)
        self._loops = [_Loop(self._work, r) for r in reconcilers]
        self._periodics = list(periodics)
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        if (claims := self._cloud.claims) is not None:
            claims.on_change(self._others_changed)
        if (leaders := self._cloud.leaders) is not None:
            leaders.on_change(self._leaders_changed)
        self._tasks = [asyncio.create_task(loop.run(), name=loop.reconciler.name) for loop in self._loops]
        self._tasks += [asyncio.create_task(self._repeat(p), name=p.name) for p in self._periodics]

    def _others_changed(self, lost: bool) -> None:
        """Look at once at what another controller left, or anew at everything, when its own claims are lost."""
        for loop in self._loops:
            loop.look_again(anew=lost)

    def _leaders_changed(self) -> None:
        for loop in self._loops:
            if loop.reconciler.keeps:
                loop.look_again()

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for loop in self._loops:
            loop.unsubscribe()

    async def settle(self, rounds: int = 50) -> None:
        """Run everything until nothing more is found or all wait: for tests and simulation, without start()."""
        for _ in range(rounds):
            done = [await loop.once() for loop in self._loops]
            if not any(done):
                return
        raise RuntimeError("work does not settle: " + ", ".join([lp.reconciler.name for lp in self._loops if await lp.once()]))

    def families(self) -> list[Family]:
        """Each reconciler's queue, what it settles now, and how often it settled, waited for a retry, or gave up."""
        def each(value: Callable[[_Loop], float]) -> list[tuple[Mapping[str, str], Any]]:
            return [({"reconciler": loop.reconciler.name}, value(loop)) for loop in self._loops]

        return [
            Family("moln_reconciler_waiting", "gauge", "Resources found unsettled that nothing works on now.", each(_Loop.waiting)),
            Family("moln_reconciler_running", "gauge", "Resources being settled now.", each(_Loop.running)),
            Family("moln_reconciler_settled_total", "counter", "Settlings that came to their end.", each(lambda lp: lp.settled)),
            Family("moln_reconciler_failures_total", "counter", "Settlings that failed and are tried again.", each(lambda lp: lp.failures)),
            Family("moln_reconciler_given_up_total", "counter", "Resources ended in error.", each(lambda lp: lp.given_up)),
        ]

    async def _repeat(self, periodic: Periodic) -> None:
        while True:
            pause_s = periodic.every_s
            try:
                if (work := self._work if periodic.everywhere else await self._ours(periodic)) is not None:
                    await periodic.run(work)
            except Deposed as deposed:
                _log.warning("periodic job %s: %s", periodic.name, deposed.message)
                if self._cloud.leaders is not None:
                    self._cloud.leaders.resign(f"periodic/{periodic.name}")
            except Unavailable as lost:
                _log.warning("periodic job %s: %s", periodic.name, lost.message)
                pause_s = min(pause_s, LONGEST_PAUSE_S)
            except Exception:
                _log.exception("periodic job %s", periodic.name)
            await asyncio.sleep(pause_s)

    async def _ours(self, periodic: Periodic) -> Work | None:
        """What the job is run with; None: another controller runs it."""
        if (leaders := self._cloud.leaders) is not None:
            token = await leaders.lead(name := f"periodic/{periodic.name}")
            return None if token is None else LedWork(self._cloud, name, token)
        claims = self._cloud.claims
        return self._work if claims is None or periodic.name in await claims.take("periodic", [periodic.name], 1) else None


class _Loop:
    def __init__(self, work: Work, reconciler: Reconciler[Any]):
        self.reconciler = reconciler
        self._work = work
        self._wake = asyncio.Event()
        self._running: dict[str, asyncio.Task[None]] = {}
        self._trouble: dict[str, _Trouble] = {}
        self._woken: set[str] = set()
        self._ended: set[str] = set()  # settled since the last look began, which may have seen them as they were before
        self._steps: dict[str, tuple[float, int]] = {}
        self._looked = 0.0  # monotonic seconds
        self._blind = ""  # why it could not look last
        self._found = 0  # unsettled, at the last look
        self._heard_here: set[str] = set()  # woken by what no other controller heard
        self.settled = self.failures = self.given_up = 0
        self.unsubscribe = work.db.feed.subscribe(f"wake.{reconciler.name}", self._woke)

    def running(self) -> int:
        return len(self._running)

    def waiting(self) -> int:
        return max(0, self._found - len(self._running))

    def look_again(self, *, anew: bool = False) -> None:
        """anew: what is being settled may be another's by now, so it is let go of."""
        if anew:
            for task in self._running.values():
                task.cancel()
        self._wake.set()

    def _woke(self, keys: list[str]) -> None:
        if not self._work.db.feed.known:
            self._heard_here.update(keys)
        for key in keys:
            if key in self._running:
                self._woken.add(key)
            if (trouble := self._trouble.get(key)) is not None:
                trouble.again = 0.0
            if not key:  # anything may have happened: whoever waits looks again, whoever failed keeps its pause
                for trouble in self._trouble.values():
                    if trouble.waits:
                        trouble.again = 0.0
        self._wake.set()

    async def run(self) -> None:
        r = self.reconciler
        try:
            while True:
                self._wake.clear()
                pause_s = BLIND_PAUSE_S
                try:
                    await self._dispatch()
                    pause_s, self._blind = self._pause(), ""
                except Unavailable as lost:
                    if lost.message != self._blind:  # once, however long it lasts
                        _log.warning("reconciler %s cannot look: %s", r.name, lost.message)
                    self._blind = lost.message
                except Exception:
                    _log.exception("reconciler %s cannot look", r.name)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pause_s):  # wait_for may lose a cancellation (Python before 3.12)
                        await self._wake.wait()
                if self._work.cloud.claims is not None:
                    await asyncio.sleep(self._looked + TOGETHER_S - self._work.cloud.clock.monotonic())
        finally:
            for task in list(self._running.values()):
                task.cancel()
            await asyncio.gather(*self._running.values(), return_exceptions=True)

    def _pause(self) -> float:
        """Until the next look: the period, or the first retry that is due."""
        if len(self._running) >= self.reconciler.at_once:  # a slot that frees wakes us
            return self.reconciler.every_s
        now = self._work.cloud.clock.monotonic()
        due = [t.again - now for k, t in self._trouble.items() if k not in self._running]
        return max(RACE_PAUSE_S, min([self.reconciler.every_s, *due]))

    async def _dispatch(self) -> None:
        r, claims = self.reconciler, self._work.cloud.claims
        now = self._looked = self._work.cloud.clock.monotonic()
        self._ended.clear()
        found = await self._find(claims)
        self._found = len(found)
        for gone in [k for k in self._trouble if k not in found and k not in self._running]:
            del self._trouble[gone]
            if claims is not None and not r.keeps:
                claims.leave(r.name, gone)
        self._steps = {k: n for k, n in self._steps.items() if k in found}
        heard, self._heard_here = self._heard_here & found.keys(), set()
        busy = self._running.keys() | self._ended
        due = [k for k in found if k not in busy and not ((trouble := self._trouble.get(k)) and trouble.again > now)]
        if r.keeps and self._work.cloud.leaders is not None:
            due = await self._led(self._work.cloud.leaders, due, heard)
        elif claims is not None:
            found = await self._claimed(claims, found, due, heard)
            due = list(found)
        for key in due:
            if key in self._running or len(self._running) >= r.at_once:
                continue
            self._running[key] = asyncio.create_task(self._one(key, found[key]), name=f"{r.name}:{key}")

    async def _find(self, claims: Claims | None) -> dict[str, Any]:
        """What is unsettled, by its key; None for what is not read yet, where only its key is needed."""
        r = self.reconciler
        if claims is not None and r.ids is not None and r.load is not None:
            return dict.fromkeys(await r.ids(self._work.db, self._work.now_us))
        return {r.key(resource): resource for resource in await r.find(self._work.db, self._work.now_us)}

    async def _led(self, leaders: Leaders, due: list[str], heard: set[str]) -> list[str]:
        """All of them, if this controller leads. Else the one that does is told what was heard here."""
        if not due or await leaders.lead(self.reconciler.name) is not None:
            return due
        if heard and (claims := self._work.cloud.claims) is not None:
            await claims.pass_on(self.reconciler.name, sorted(heard))
        return []

    async def _claimed(self, claims: Claims, found: dict[str, Any], due: list[str], heard: set[str]) -> dict[str, Any]:
        """Those that are this controller's to settle. Whoever holds one of which something was heard here is told."""
        r = self.reconciler
        room = r.at_once - len(self._running)
        mine = await claims.take(r.name, due, room) if due and room > 0 else {}
        if others := heard - set(mine) - set(self._running):
            await claims.pass_on(r.name, sorted(others))
        if len(mine) < room:  # the rest is another's, who knows better what it waits for
            for key in set(due) - set(mine):
                self._trouble.pop(key, None)
        if not mine:
            return {}
        if r.ids is not None and r.load is not None:
            found = {r.key(resource): resource for resource in await r.load(self._work.db, list(mine))}
        elif any(mine.values()):  # another may have settled it between the look and the claim
            found = await self._find(claims)
        for key in mine.keys() - found.keys():
            claims.leave(r.name, key)
        return {key: found[key] for key in mine if key in found}

    async def _one(self, key: str, resource: Any) -> None:
        try:
            await self._settle(key, resource)
        finally:
            self._running.pop(key, None)
            self._ended.add(key)
            if key in self._woken:
                self._woken.discard(key)
                if (trouble := self._trouble.get(key)) is not None:
                    trouble.again = 0.0
            self._pace(key)
            if (claims := self._work.cloud.claims) is not None and key not in self._trouble and not self.reconciler.keeps:
                claims.leave(self.reconciler.name, key)
            self._wake.set()

    def _pace(self, key: str) -> None:
        """A resource that is found again and again, whatever settling does, must not keep the process busy."""
        now = self._work.cloud.clock.monotonic()
        since, steps = self._steps.get(key, (now, 0))
        if now - since > 1.0:
            since, steps = now, 0
        self._steps[key] = since, steps + 1
        if steps >= STEPS:
            trouble = self._trouble.setdefault(key, _Trouble(now, FIRST_PAUSE_S, now, waits=True))
            trouble.again = max(trouble.again, now + STEP_PAUSE_S)

    async def once(self) -> bool:
        """Settle what is found now, one by one; whether anything was done (not merely waited for)."""
        r, done = self.reconciler, False
        for resource in await r.find(self._work.db, self._work.now_us):
            key = r.key(resource)
            await self._settle(key, resource)
            done |= key not in self._trouble
        return done

    async def _settle(self, key: str, resource: Any) -> None:
        tracer = self._work.cloud.tracer
        if tracer is None:
            await self._settle_once(key, resource)
            return
        with tracer.settling(self.reconciler.name, key) as span:
            await self._settle_once(key, resource)
            trouble = self._trouble.get(key)
            span.set_attribute("moln.outcome", "settled" if trouble is None else "waits" if trouble.waits else "failed")

    async def _settle_once(self, key: str, resource: Any) -> None:
        r = self.reconciler
        log.request_id.set(f"work-{r.name}")
        try:
            async with asyncio.timeout(r.at_most_s):
                await r.settle(self._work, resource)
        except Later as later:
            await self._wait(key, resource, later)
        except (Conflict, NotFound) as moved:  # another writer came first; what still stands so at the deadline is an error
            await self._retry(key, resource, moved.message, RACE_PAUSE_S)
        except Unavailable as lost:
            await self._retry(key, resource, lost.message)
        except TimeoutError:
            await self._retry(key, resource, f"It took longer than {r.at_most_s:g} s.")
        except Failure as refused:
            if refused.detail:
                _log.warning("%s %s is refused: %s", r.name, key, refused.detail)
            await self._give_up(key, resource, refused.message)
        except Exception as error:
            _log.exception("%s %s", r.name, key)
            await self._retry(key, resource, f"An internal error ({type(error).__name__}); the log says more.")
        else:
            self.settled += 1
            self._trouble.pop(key, None)

    async def _wait(self, key: str, resource: Any, later: Later) -> None:
        now = self._work.cloud.clock.monotonic()
        self._trouble[key] = _Trouble(now, FIRST_PAUSE_S, now + later.after_s, waits=True)
        if self.reconciler.deadline is not None and self._expired(key, resource):
            await self._give_up(key, resource, str(later))

    def _expired(self, key: str, resource: Any) -> bool:
        r = self.reconciler
        if r.deadline is not None:
            deadline = r.deadline(resource)
            return deadline is not None and self._work.now_us > deadline
        return self._work.cloud.clock.monotonic() - self._trouble[key].since > r.patience_s

    def _again(self, key: str, first_s: float = FIRST_PAUSE_S) -> None:
        now = self._work.cloud.clock.monotonic()
        trouble = self._trouble.get(key)
        if trouble is None or trouble.waits:
            self._trouble[key] = _Trouble(now, first_s, now + first_s)
        else:
            trouble.pause_s = min(trouble.pause_s * 2, LONGEST_PAUSE_S)
            trouble.again = now + trouble.pause_s

    async def _retry(self, key: str, resource: Any, reason: str, first_s: float = FIRST_PAUSE_S) -> None:
        self.failures += 1
        self._again(key, first_s)
        if self._expired(key, resource):
            await self._give_up(key, resource, reason)
        else:
            _log.info("%s %s waits: %s", self.reconciler.name, key, reason)

    async def _give_up(self, key: str, resource: Any, reason: str) -> None:
        """End it in error. A pause stays either way: one that is found again all the same is not failed in a busy loop."""
        _log.warning("%s %s ends in error: %s", self.reconciler.name, key, reason)
        self.given_up += 1
        self._again(key)
        try:
            await self.reconciler.fail(self._work, resource, reason)
        except (Conflict, NotFound) as moved:
            _log.info("%s %s: another writer came first: %s", self.reconciler.name, key, moved)
        except Exception:
            _log.exception("%s %s cannot fail", self.reconciler.name, key)
