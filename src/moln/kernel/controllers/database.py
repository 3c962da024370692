"""PostgreSQL of the cloud's own runs beside each controller (host/postgresql.py): who they are says where it is, and what is the matter with it."""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy as sa
from msgspec import Struct

from moln.kernel.cloud import Cloud
from moln.kernel.controllers import heritage
from moln.kernel.controllers.heritage import HOSTS
from moln.kernel.controllers.membership import Controllers, address_of
from moln.kernel.controllers.proof import FOLDER as CONTROLLERS
from moln.kernel.db import Query
from moln.kernel.errors import Failure
from moln.kernel.http.certificates import Authority
from moln.kernel.module import Invariant, Violation
from moln.kernel.work import Periodic, Work

EVERY_S, PORT = 5.0, 5432
LAG_BOUND = 64 << 20  # bytes that a standby may be behind
_log = logging.getLogger("moln.controllers")


def ensure(home: Path, address: str, now: datetime, *, anew: bool = False) -> None:
    """What PostgreSQL of the cloud's own proves itself with at this address, and the list of its hosts. Whoever sets up a host calls this each time.

    anew: another certificate, however long the present one lasts: Patroni's REST API reads whom it trusts when its own certificate is another. Raises: Failure.
    """
    Authority(home / CONTROLLERS, now).ensure_server(home / CONTROLLERS / "postgresql.pem", frozenset({address}), now, asks=True, anew=anew)
    if not (home / HOSTS).exists():
        heritage.put(home / HOSTS, listed([address]).encode(), home)


def listed(addresses: list[str]) -> str:
    return "".join(f"{f'[{a}]' if ':' in a else a}:{PORT}\n" for a in sorted(addresses))


class Standby(Struct, frozen=True):
    """state, sync: PostgreSQL's words (pg_stat_replication). lag: bytes of the log that it has not applied."""

    name: str
    state: str
    sync: str
    lag: int


class Standing(Struct, frozen=True):
    """primary: the name of the controller beside it; its address, where none is there."""

    primary: str
    standbys: list[Standby]


class _Primary(Struct, frozen=True):
    address: str


_replication = sa.table("pg_stat_replication", *map(sa.column, ("application_name", "state", "sync_state", "replay_lsn")))
_lag = sa.cast(sa.func.coalesce(sa.func.pg_wal_lsn_diff(sa.func.pg_current_wal_lsn(), _replication.c.replay_lsn), 0), sa.BigInteger())
STANDBYS = Query(
    sa.select(_replication.c.application_name.label("name"), _replication.c.state, _replication.c.sync_state.label("sync"), _lag.label("lag"))
    .order_by(_replication.c.application_name), Standby,
)  # fmt: skip
PRIMARY = Query(sa.select(sa.func.coalesce(sa.func.host(sa.func.inet_server_addr()), "").label("address")), _Primary)


class OwnDatabase:
    """Of one controller. There is one of the cloud's own where set-up or another controller left the file that lists its hosts."""

    def __init__(self, cloud: Cloud, controllers: Controllers):
        self._cloud = cloud
        self._controllers = controllers
        self.file = cloud.home / HOSTS

    @property
    def there(self) -> bool:
        return self.file.exists()

    async def _learn(self, _: Work) -> None:
        """Have the file say where controllers are: who joined is a place that may take writes, who was removed none."""
        addresses = await self._controllers.addresses()
        text = listed(addresses)
        if addresses and self.file.read_text() != text:
            await asyncio.to_thread(heritage.put, self.file, text.encode(), self._cloud.home)
            _log.info("the database is at %s", ", ".join(addresses))

    async def standing(self) -> Standing | None:
        """None, where the database is another's. Raises: Unavailable."""
        if not self.there:
            return None
        standbys, primary = await self._cloud.db.all(STANDBYS), await self._cloud.db.one(PRIMARY)
        names = {address_of(found): found.name for found in await self._controllers.all()}
        address = primary.address if primary else ""
        return Standing(names.get(address, address), standbys)

    @property
    def periodics(self) -> list[Periodic]:
        return [Periodic("database-hosts", self._learn, every_s=EVERY_S, everywhere=True)] if self.there else []

    @property
    def invariants(self) -> list[Invariant]:
        return [Invariant("database-has-its-standbys", self._has_standbys)] if self.there else []

    async def _has_standbys(self, _: Cloud) -> list[Violation]:
        standing = await self.standing()
        if standing is None:
            return []
        here = {standby.name: standby for standby in standing.standbys if standby.state == "streaming"}
        away = [found.name for found in await self._controllers.all() if found.name not in {*here, standing.primary}]
        mend = ("If it has just joined, it copies the database first: wait. Else start that machine (its log/postgresql.log says why the database does not follow); or, "
                "if it is gone for good: moln controller remove {}")  # fmt: skip
        found = [Violation(f"The database at {name} does not follow the one at {standing.primary}.", mend.format(name)) for name in away]
        found += [Violation(f"The database at {name} is {standby.lag >> 20} MiB behind.", "See what its disk or its network is busy with.")
                  for name, standby in here.items() if standby.lag > LAG_BOUND]  # fmt: skip
        if here and not any(standby.sync in ("sync", "quorum") for standby in here.values()):
            found.append(Violation("No standby has what is written before it is answered: losing this machine would lose it.",
                                   "It is chosen within seconds; else see log/postgresql.log on the primary's machine."))  # fmt: skip
        return found

    async def told(self) -> dict[str, Any] | None:
        """For `moln status`: the standing; what is the matter, where the database cannot say."""
        try:
            found: dict[str, Any] | None = msgspec.to_builtins(await self.standing())
        except Failure as failure:
            return {"trouble": failure.message}
        return found
