"""A server's ports, as the network carries them: waited for, and followed."""

from __future__ import annotations

from moln.compute.model.servers import Server, TaskState
from moln.compute.ops.server_networks import fresh_nics
from moln.compute.store import servers as store
from moln.kernel.db import Reader
from moln.kernel.work import Later, Reconciler, Work


async def wait_for_ports(work: Work, server: Server) -> Server:
    """The server with its cards as they are now, once every port is ACTIVE. Raises: Later; the network's news wakes the server."""
    nics = await fresh_nics(work.db, server.id, server.nics)
    if nics != server.nics:
        server = await work.write(store.save, server, nics=nics)
    missing = [n.port_id for n in server.attached_nics if not n.active]
    if missing:
        raise Later(f"ports {', '.join(missing)} are not ACTIVE yet", 5.0)
    return server


class Cards:
    """Keeps `addresses` as the servers' ports are. moved: servers whose ports changed, by the feed; all of them at start."""

    def __init__(self) -> None:
        self.moved: set[str] = set()
        self.reconciler = Reconciler("server-cards", find=self.find, settle=self.settle, fail=self.fail, every_s=5)

    async def find(self, db: Reader, now_us: int) -> list[Server]:
        """Settled servers whose ports moved; those at work look at their ports themselves, and are found afterwards."""
        if not self.moved:
            return []
        found = await store.some(db, sorted(self.moved)[:256])
        self.moved -= set(sorted(self.moved)[:256]) - {s.id for s in found}
        return [s for s in found if not s.unsettled]

    async def settle(self, work: Work, server: Server) -> None:
        self.moved.discard(server.id)
        if server.task_state is TaskState.DELETING:
            return
        try:
            nics = await fresh_nics(work.db, server.id, server.nics)
            if nics != server.nics:
                await work.write(store.save, server, nics=nics)
                work.db.feed.publish([("wake.servers", server.id)])
        except BaseException:
            self.moved.add(server.id)
            raise

    async def fail(self, work: Work, server: Server, reason: str) -> None:
        """Nothing of the server's own is at stake; the next change of its ports tries again."""
        self.moved.discard(server.id)
