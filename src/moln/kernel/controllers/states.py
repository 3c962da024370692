"""What each controller says of itself, for the others to see: whom it trusts, by whom its own certificate is, what its files are."""

from __future__ import annotations

import sqlalchemy as sa
from msgspec import Struct

from moln.kernel.db import Database, Query, Statement, Transaction, column, table

STATES = "cloud.controller-states"  # the topic of changes
TRUSTS, PROVES = "trusts", "proves"
"""Fingerprints of authorities: the newest that it takes; the one that signed its own certificate and those that its engines show (empty: they differ)."""
TRUSTED = "trusted"  # digest of all that it takes

states = table("cloud_controller_states", column("controller"), column("what"), column("value"), sa.UniqueConstraint("controller", "what"))


class State(Struct, frozen=True):
    controller: str
    what: str
    value: str


_OF = Query(sa.select(*(states.c[name] for name in State.__struct_fields__)).where(states.c.what == sa.bindparam("what")).order_by(states.c.controller), State)
_MOVE = Statement(
    sa.update(states)
    .where(states.c.controller == sa.bindparam("of"), states.c.what == sa.bindparam("that"), states.c.value != sa.bindparam("to"))
    .values(value=sa.bindparam("to"))
)


class Sayings:
    """Of one controller, which nobody else says anything of: what it said last is not written again."""

    def __init__(self, db: Database, controller: str):
        self._db, self._controller = db, controller
        self._last: dict[str, str] = {}

    async def say(self, said: dict[str, str]) -> None:
        """Values by what they are. Raises: Unavailable."""
        if new := dict(said.items() - self._last.items()):
            await self._db.write(_say_in, self._controller, new)
            self._last |= new


async def _say_in(tx: Transaction, controller: str, said: dict[str, str]) -> None:
    for what, value in said.items():
        if await tx.insert(states, State(controller, what, value), if_absent=True) or await tx.run(_MOVE, of=controller, that=what, to=value):
            tx.changed(STATES, controller)


async def forget(tx: Transaction, controller: str) -> None:
    await tx.delete(states, controller=controller)


def of(what: str) -> tuple[Query[State], dict[str, str]]:
    """The query and its parameters for what every controller said last."""
    return _OF, {"what": what}
