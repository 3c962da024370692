"""What moves of servers have in common: the drivers of both hosts, and the disks of a stopped server carried over."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

from msgspec import structs

from moln.compute.drivers.base import ComputeDriver
from moln.compute.drivers.moves import Moves
from moln.compute.model.servers import Server
from moln.compute.work.server_specs import driver_of
from moln.kernel.errors import BackendRefused, BackendUnreachable
from moln.kernel.work import Work

COPY_S = 3600.0  # seconds one disk may take


def moves_of(work: Work, server: Server, host: str, deadline_s: float = 120.0) -> Moves:
    """The server's moves on one of its hosts, fenced by the server's generation."""
    return work.driver(
        host, "compute-moves", Moves, resource=f"server:{server.id}", generation=server.generation, deadline_s=deadline_s
    )


def at(server: Server, host: str) -> Server:
    """The server as if it were on another host."""
    return structs.replace(server, host=host)


def driver_at(work: Work, server: Server, host: str) -> ComputeDriver:
    return driver_of(work, at(server, host))


async def carry_disks(work: Work, server: Server, source: str, dest: str, disks: Iterable[str]) -> None:
    """Disks of a server that is off, on another host too. Raises: BackendRefused, BackendUnreachable."""
    giver, taker = moves_of(work, server, source), moves_of(work, server, dest, COPY_S)
    for disk_id in disks:
        offer = await giver.offer_disk(disk_id)
        try:
            if offer.id != disk_id:  # a stolen host would have another server's disk replaced at the destination
                raise BackendRefused(f"Host {source} does not offer the disk that it was asked for.")
            await taker.fetch_disk(offer)
        finally:
            with contextlib.suppress(BackendUnreachable):  # the offer is to hosts of this cloud only, and ends with the disk
                await giver.withdraw_disk(disk_id)


__all__ = ["at", "carry_disks", "driver_at", "moves_of"]
