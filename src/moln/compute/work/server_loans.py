"""Volumes lent to hosts whose servers have them no more, taken back: whatever was away when that was to be done, or died while it was."""

from __future__ import annotations

import logging

from moln.compute.model.servers import Server
from moln.compute.store import servers as store
from moln.kernel.errors import Failure
from moln.kernel.work import Periodic, Work
from moln.volume.ops import for_compute
from moln.volume.ops.for_compute import Holder, Loan

EVERY_S = 60.0
_log = logging.getLogger("moln.compute")


async def look(work: Work) -> None:
    """Ask all nodes what they lend and what they opened; end what no server has there. What is found first, rows say later: never too much ends."""
    for loan, _ in await unheld(work, await for_compute.loans(work.cloud)):
        for _, last in await unheld(work, [loan]):  # a server may have come by it while others were ended, each of which may take its time
            try:
                await for_compute.end_loan(work.cloud, loan, last)
                _log.info("volume %s is not lent to %s any more: no server there has it", loan.volume_id, loan.host)
            except Failure as failure:
                _log.info("volume %s may still be lent to %s: %s", loan.volume_id, loan.host, failure.message)


async def unheld(work: Work, loans: list[Loan]) -> list[tuple[Loan, Holder | None]]:
    """Those that no server has, each with who of the volume's servers it may have been for."""
    if not loans:
        return []
    held = await for_compute.attachments_of_volumes(work.db, sorted({loan.volume_id for loan in loans}))
    servers = {s.id: s for s in await store.some(work.db, sorted({a.server_id for every in held.values() for a in every if a.server_id}))}
    found: list[tuple[Loan, Holder | None]] = []
    for loan in loans:
        holders = [(a.id, servers[a.server_id]) for a in held.get(loan.volume_id, []) if a.server_id in servers]
        if not any(has(server, loan) for _, server in holders):
            found.append((loan, Holder(holders[0][0], holders[0][1].generation) if holders else None))
    return found


def has(server: Server, loan: Loan) -> bool:
    """Whether the server is on that host, comes there, or may come back."""
    return loan.host in (server.host, server.other_host) or server.move is not None and loan.host == server.move.dest


LOANS = Periodic("volume-loans", look, EVERY_S)
