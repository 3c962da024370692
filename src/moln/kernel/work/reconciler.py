"""A reconciler makes intent true: woken or every period, from nothing but the database, the same each time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

from moln.kernel.cloud import Cloud
from moln.kernel.context import RequestContext
from moln.kernel.db import Database, Reader

T = TypeVar("T")
D = TypeVar("D")
R = TypeVar("R")
P = ParamSpec("P")


class Later(Exception):
    """Nothing is wrong; the resource waits for something. after_s: look again then, unless a wake comes first.

    reason: what it waits for; its owner reads it, when the reconciler's deadline passes meanwhile.
    """

    def __init__(self, reason: str, after_s: float = 5.0):
        super().__init__(reason)
        self.after_s = after_s


class Work:
    """What a settle function has."""

    def __init__(self, cloud: Cloud):
        self.cloud = cloud
        self.db: Database = cloud.db

    @property
    def ctx(self) -> RequestContext:
        return self.cloud.system_context()

    @property
    def now_us(self) -> int:
        return self.cloud.clock.now_us()

    async def write(self, fn: Callable[Concatenate[Any, P], Awaitable[R]], *args: P.args, **kwargs: P.kwargs) -> R:
        return await self.db.write(fn, *args, **kwargs)

    def driver(self, node: str, area: str, protocol: type[D], *, resource: str = "", generation: int = 0, deadline_s: float = 60.0) -> D:
        """A node's driver (kernel/link); calls raise BackendRefused or BackendUnreachable."""
        return self.cloud.links.driver(node, area, protocol, resource=resource, generation=generation, deadline_s=deadline_s)


class Reconciler(Generic[T]):
    """find: the unsettled resources, a bounded page (`find(db, now_us)`). settle: bring one to what its row asks; safe to repeat
    and to die at any line. fail: end it in error with a reason its owner can read.

    key: what makes two findings the same. every_s: the period. at_once: settled together, at most.
    at_most_s: how long one settling may run. keeps: the controller that settled one goes on to be the one that does: its leader, where leaders are elected. deadline: µs UTC by which a waiting, unreachable or failing resource is given up,
    None: never. Default: after `patience_s` of failures. ids, load: the keys of what `find` finds, and those of them that are still so,
    whole: several controllers look at much that is another's, and need not read all of it.
    """

    def __init__(self, name: str, *, find: Callable[[Reader, int], Awaitable[list[T]]], settle: Callable[[Work, T], Awaitable[None]],
                 fail: Callable[[Work, T, str], Awaitable[None]], every_s: float = 30.0, at_once: int = 8,
                 key: Callable[[T], str] = lambda r: r.id,  # type: ignore[attr-defined]
                 deadline: Callable[[T], int | None] | None = None, patience_s: float = 300.0, at_most_s: float = 1800.0,
                 keeps: bool = False, ids: Callable[[Reader, int], Awaitable[list[str]]] | None = None,
                 load: Callable[[Reader, list[str]], Awaitable[list[T]]] | None = None):  # fmt: skip
        self.name = name
        self.find = find
        self.settle = settle
        self.fail = fail
        self.every_s = every_s
        self.at_once = at_once
        self.key = key
        self.deadline = deadline
        self.patience_s = patience_s
        self.at_most_s = at_most_s
        self.keeps = keeps
        self.ids = ids
        self.load = load
