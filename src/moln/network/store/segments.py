"""Segments of networks, ranges of their numbers, and what each node reaches."""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa
from msgspec import Struct

from moln.kernel.db import Query, Reader, Transaction
from moln.network.model.segments import Segment, SegmentRange
from moln.network.model.topology import Chassis
from moln.network.store import tables as t
from moln.network.store.clauses import tagged
from moln.network.store.reads import Table

segments = Table(t.segments, Segment, computed={"key": lambda segment: segment.key}, extra={"seen_by": lambda _: t.segments.c.id != ""})
ranges = Table(t.segment_ranges, SegmentRange, extra={"seen_by": lambda _: t.segment_ranges.c.id != "", **tagged(t.segment_ranges.c.id)})

TAKEN = Query(sa.select(t.segments.c.id).where(t.segments.c.key == sa.bindparam("key")), str)


async def is_taken(db: Reader, key: str) -> bool:
    return await db.one(TAKEN, key=key) is not None


class Used(Struct, frozen=True):
    """A number, and the project whose network has it."""

    segmentation_id: int
    project_id: str


USED = Query(
    sa.select(t.segments.c.segmentation_id, t.networks.c.project_id)
    .join(t.networks, t.networks.c.id == t.segments.c.network_id)
    .where(
        t.segments.c.network_type == sa.bindparam("kind"), t.segments.c.segmentation_id.is_not(None),
        sa.func.coalesce(t.segments.c.physical_network, "") == sa.bindparam("physical"),
    )
    .order_by(t.segments.c.segmentation_id),
    Used,
)  # fmt: skip


async def used(db: Reader, kind: str, physical_network: str | None) -> list[Used]:
    """Numbers of this kind that networks have."""
    return await db.all(USED, kind=kind, physical=physical_network or "")


class Host(Struct, frozen=True):
    """A node, by the engine's name and its own, and the physical networks it has bridges for."""

    name: str
    hostname: str
    physical_networks: tuple[str, ...]


HOSTS = Query(sa.select(t.hosts.c.name, t.hosts.c.hostname, t.hosts.c.physical_networks).order_by(t.hosts.c.name), Host)


async def reached_from(db: Reader, host_id: str) -> tuple[str, ...]:
    """Physical networks that a node has bridges for; none of an unknown one."""
    return next((h.physical_networks for h in await db.all(HOSTS) if host_id in (h.name, h.hostname)), ())


async def all_hosts(db: Reader) -> list[Host]:
    return await db.all(HOSTS)


async def know_hosts(tx: Transaction, hosts: Iterable[Host]) -> None:
    """Write down what the engine says of its nodes."""
    for host in await tx.all(HOSTS):
        await tx.delete(t.hosts, name=host.name)
    for host in hosts:
        await tx.insert(t.hosts, {name: getattr(host, name) for name in host.__struct_fields__})


def hosts_of(chassis: Iterable[Chassis]) -> list[Host]:
    """What there is to write down."""
    return sorted((Host(c.name, c.hostname, tuple(c.physical_networks)) for c in chassis), key=lambda host: host.name)
