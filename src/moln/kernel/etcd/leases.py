"""Leases of nodes (kernel/link/leases.py) as etcd's: a node that no controller heard is gone from etcd by etcd's own clock."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from moln.kernel.etcd.gateway import Etcd

KEYS = "nodes/"


class EtcdLeases:
    """One lease of etcd's holds all nodes that were heard at the same time: the next one takes them over, the old one ends empty."""

    def __init__(self, etcd: Etcd, now_us: Callable[[], int]):
        self._etcd = etcd
        self._now_us = now_us

    async def renew(self, nodes: Iterable[str], ends_us: int) -> None:
        values = {KEYS + node: f"{ends_us:020}" for node in sorted(nodes)}
        if values:
            lasts_s = -(-max(ends_us - self._now_us(), 0) // 1_000_000)
            await self._etcd.raise_to(values, await self._etcd.grant(max(1, lasts_s)))

    async def ends_us(self, node: str) -> int:
        """By our clock: how long etcd's lease lasts still, rounded up to a second."""
        found = await self._etcd.find(KEYS + node)
        if found is None:
            return 0
        left_s = await self._etcd.left_s(found.lease)
        return self._now_us() + (left_s + 1) * 1_000_000 if left_s >= 0 else 0

    async def end(self, node: str) -> None:
        await self._etcd.delete(KEYS + node)
