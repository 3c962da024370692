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
    found = await for_compute.loans(work.cloud)
    held = await for_compute.attachments_of_volumes(work.db, sorted({loan.volume_id for loan in found}))
    servers = {s.id: s for s in await store.some(work.db, sorted({a.server_id for every in held.values() for a in every if a.server_id}))}
    for loan in found:
        holders = [(a.id, servers[a.server_id]) for a in held.get(loan.volume_id, []) if a.server_id in servers]
        if any(has(server, loan) for _, server in holders):
            continue
        last = Holder(holders[0][0], holders[0][1].generation) if holders else None
        try:
            await for_compute.end_loan(work.cloud, loan, last)
            _log.info("volume %s is not lent to %s any more: no server there has it", loan.volume_id, loan.host)
        except Failure as failure:
            _log.info("volume %s may still be lent to %s: %s", loan.volume_id, loan.host, failure.message)


def has(server: Server, loan: Loan) -> bool:
    """Whether the server is on that host, comes there, or may come back."""
    return loan.host in (server.host, server.other_host) or server.move is not None and loan.host == server.move.dest


LOANS = Periodic("volume-loans", look, EVERY_S)
