"""Elections (kernel/work/leaders.py) in etcd: a leader's key is there as long as the lease of its controller; the write that made it is its term.

A leader that cannot reach etcd goes on: while etcd is away nobody else is elected, and if others reach it, what they write to refuses this one.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable

from moln.kernel.errors import Unavailable
from moln.kernel.etcd.gateway import Etcd, Refused

KEYS, BORN = "leaders/", "born"
LEASE_S = 9
_log = logging.getLogger("moln.work")


class EtcdLeaders:
    """Of one run of a controller. name: for people. lease_s: how long after its last sign of life others may be elected."""

    def __init__(self, etcd: Etcd, now_us: Callable[[], int], name: str, lease_s: int = LEASE_S):
        self._etcd = etcd
        self._now_us = now_us
        self._name = name
        self._lease_s = lease_s
        self._lease = 0
        self._born = 0
        self._terms: dict[str, int] = {}
        self._past: dict[str, int] = {}
        self._turn = asyncio.Lock()
        self._callbacks: list[Callable[[], None]] = []
        self._task: asyncio.Task[None] | None = None

    @property
    def trouble(self) -> str:
        return self._etcd.trouble

    async def start(self) -> None:
        self._task = asyncio.create_task(self._live(), name="leaders")

    async def lead(self, name: str) -> int | None:
        if (token := self._terms.get(name)) is not None:
            return token
        async with self._turn:
            try:
                lease, token = await self._campaign(name)
            except Refused:  # its lease is over: with another one, then
                self._end()
                lease, token = await self._campaign(name)
            if token is None or lease != self._lease:
                return None
            self._terms[name] = token
            _log.info("this controller leads %s, with token %d", name, token)
            return token

    async def _campaign(self, name: str) -> tuple[int, int | None]:
        lease, key = await self._session(), KEYS + name
        item, _ = await self._etcd.create(key, self._name, lease)
        if item.lease == lease and self._born + item.created <= self._past.get(name, 0):  # of a term that was resigned
            await self._etcd.delete(key)
            item, _ = await self._etcd.create(key, self._name, lease)
        return lease, self._born + item.created if item.lease == lease else None

    def token(self, name: str) -> int | None:
        return self._terms.get(name)

    def resign(self, name: str) -> None:
        if (token := self._terms.pop(name, None)) is not None:
            self._past[name] = token
            _log.warning("another controller leads %s by now", name)

    def on_change(self, callback: Callable[[], None]) -> None:
        self._callbacks.append(callback)

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._terms.clear()
        lease, self._lease = self._lease, 0
        if lease:
            with contextlib.suppress(Unavailable):  # else it ends by itself
                await self._etcd.revoke(lease)

    async def _session(self) -> int:
        """This controller's lease. A key that is made first says when this etcd was born (µs): revisions count from there, so that the
        tokens of one that lost its data are higher than those of before."""
        if not self._born:
            item, _ = await self._etcd.create(BORN, str(self._now_us()))
            self._born = int(item.value)
        if not self._lease:
            self._lease = await self._etcd.grant(self._lease_s)
        return self._lease

    async def _live(self) -> None:
        while True:
            await asyncio.sleep(self._lease_s / 4)
            try:
                if self._lease and not await self._etcd.keep(self._lease):
                    self._end()
                for callback in self._callbacks:  # others' terms may have ended: who asks is told
                    callback()
            except Refused:
                self._end()
            except Unavailable as lost:
                _log.warning("this controller cannot say that it lives: %s", lost.message)
            except Exception:
                _log.exception("leaders")

    def _end(self) -> None:
        """etcd took it for dead, or forgot everything: who leads is found anew."""
        if self._terms:
            _log.warning("etcd took this controller for dead: others may lead %s", ", ".join(sorted(self._terms)))
        self._lease, self._born = 0, 0
        self._terms.clear()
