"""Host aggregates: named groups of hosts, and the availability zones that some of them make (compute api-ref, "Host aggregates")."""

from __future__ import annotations

from msgspec import Struct


class Aggregate(Struct, frozen=True):
    """A group of hosts. rowid: its `id` on the wire; id: its `uuid`. zone: the availability zone of its hosts, None where it makes none.

    A host is in one zone at most. Times: µs UTC.
    """

    rowid: int
    id: str
    name: str
    zone: str | None
    metadata: dict[str, str]
    created_at: int
    updated_at: int | None
    hosts: tuple[str, ...] = ()
