"""Who does what only one controller may do: a leader has a term, and its token is shown to what it writes to, which refuses older ones.

The election keeps two from doing the same, no more. A controller that stood still, or lost sight of the others, may still take itself for
the leader; the database (`check_in`) and the network engine (its epoch) remember the newest token that they saw, and stop it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

import sqlalchemy as sa

from moln.kernel.cloud import Cloud
from moln.kernel.db import INT, Query, Statement, Transaction, column, table
from moln.kernel.errors import Conflict
from moln.kernel.work.reconciler import Work

R = TypeVar("R")
P = ParamSpec("P")


class Leaders(Protocol):
    """trouble: why no election can be held now; empty: it can."""

    trouble: str

    async def start(self) -> None:
        """Begin to live. What is away is waited for by `lead`."""
        ...

    async def lead(self, name: str) -> int | None:
        """The token of this controller's term, higher than any before; None: another one leads. Raises: Unavailable."""
        ...

    def token(self, name: str) -> int | None:
        """Of the term that this controller has; None: none."""
        ...

    def resign(self, name: str) -> None:
        """A newer leader was met: whatever this one held is over."""
        ...

    def on_change(self, callback: Callable[[], None]) -> None:
        """Call it when terms may have ended: here, or another controller's."""
        ...

    async def stop(self) -> None:
        """Resign from everything."""
        ...


class Deposed(Conflict):
    """A newer leader has been here: this one must stop."""


terms = table("leader_terms", column("name"), column("token", INT), sa.UniqueConstraint("name"))
NEWEST = Query(sa.select(terms.c.token).where(terms.c.name == sa.bindparam("name")), int)
RAISE = Statement(
    sa.update(terms).where(terms.c.name == sa.bindparam("of"), terms.c.token < sa.bindparam("mine")).values(token=sa.bindparam("mine"))
)


async def check_in(tx: Transaction, name: str, token: int) -> None:
    """The database lets the newest leader write, and nobody who led before. Raises: Deposed."""
    newest = await tx.one(NEWEST, name=name)
    if newest is None:
        await tx.insert(terms, {"name": name, "token": token})
    elif newest > token:
        raise Deposed(f"Another controller leads {name} by now.", detail=f"token {token}, the newest is {newest}")
    elif newest < token:
        await tx.run(RAISE, of=name, mine=token)


class LedWork(Work):
    """What a leader's job has: each of its writes shows the token."""

    def __init__(self, cloud: Cloud, name: str, token: int):
        super().__init__(cloud)
        self._name, self._token = name, token

    async def write(self, fn: Callable[Concatenate[Any, P], Awaitable[R]], *args: P.args, **kwargs: P.kwargs) -> R:
        async def checked(tx: Transaction) -> R:
            await check_in(tx, self._name, self._token)
            return await fn(tx, *args, **kwargs)

        return await self.db.write(checked)
