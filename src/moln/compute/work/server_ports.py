"""A server's ports, as the network carries them: waited for, and followed."""

from __future__ import annotations

from msgspec import structs

from moln.compute.model.servers import Server, TaskState
from moln.compute.ops.server_networks import fresh_nics, fresh_nics_of
from moln.compute.store import servers as store
from moln.compute.store.servers import Wired
from moln.kernel.cloud import Cloud
from moln.kernel.db import Reader
from moln.kernel.work import Later, Reconciler, Work

PAGE = 256  # servers looked at together
LATER_S = 1.0  # between two looks at servers that something is done to


async def wait_for_ports(work: Work, server: Server) -> Server:
    """The server with its cards as they are now, once every port is ACTIVE. Raises: Later; the network's news wakes the server."""
    ready = await ports_ready(work, server)
    return ready if ready.nics == server.nics else await work.write(store.save, server, nics=ready.nics)


async def ports_ready(work: Work, server: Server) -> Server:
    """The same, but what is now is not written yet. Raises: Later."""
    nics = await fresh_nics(work.db, server.id, server.nics)
    missing = [n.port_id for n in nics if not n.active and n.state != "detaching"]
    if not missing:
        return structs.replace(server, nics=nics)
    if [structs.replace(n, active=False) for n in nics] != [structs.replace(n, active=False) for n in server.nics]:
        await work.write(store.save, server, nics=nics)  # whoever looks meanwhile sees the addresses that it has
    raise Later(f"ports {', '.join(missing)} are not ACTIVE yet", 5.0)


class Cards:
    """Keeps `addresses` as the servers' ports are. moved: servers whose ports changed, by the feed; all of them at start.

    busy: those that look at their ports themselves, as something is done to them; they are looked at afterwards.
    """

    def __init__(self) -> None:
        self.moved: set[str] = set()
        self.busy: set[str] = set()
        self._looked = float("-inf")  # at those
        self._cloud: Cloud | None = None
        self.reconciler = Reconciler("server-cards", find=self.find, settle=self.settle, fail=self.fail, every_s=5)

    def begin(self, cloud: Cloud) -> None:
        self._cloud = cloud

    async def find(self, db: Reader, now_us: int) -> list[Wired]:
        """Settled servers whose cards are not as their ports are."""
        if self.busy and self._cloud is not None and self._cloud.clock.monotonic() - self._looked >= LATER_S:
            self._looked = self._cloud.clock.monotonic()
            self.moved |= self.busy
            self.busy.clear()
        looked = sorted(self.moved)[:PAGE]
        self.moved.difference_update(looked)
        if not looked:
            return []
        try:
            found = await store.wired(db, looked)
            self.busy |= {s.id for s in found if s.unsettled}
            settled = [s for s in found if not s.unsettled]
            fresh = await fresh_nics_of(db, {s.id: s.nics for s in settled}) if settled else {}
        except BaseException:
            self.moved.update(looked)
            raise
        if self.moved and self._cloud is not None:
            self._cloud.db.feed.publish([("wake.server-cards", "")])  # the rest
        different = [s for s in settled if fresh[s.id] != s.nics]
        self.moved |= {s.id for s in different}
        return different

    async def settle(self, work: Work, wired: Wired) -> None:
        self.moved.discard(wired.id)
        try:
            server = await store.find(work.db, wired.id)
            if server is None or server.task_state is TaskState.DELETING:
                return
            nics = await fresh_nics(work.db, server.id, server.nics)
            if nics != server.nics:
                await work.write(store.save, server, nics=nics)
                work.db.feed.publish([("wake.servers", server.id)])
        except BaseException:
            self.moved.add(wired.id)
            raise

    async def fail(self, work: Work, server: Wired, reason: str) -> None:
        """Nothing of the server's own is at stake; the next change of its ports tries again."""
        self.moved.discard(server.id)
