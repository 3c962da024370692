"""What an area gives to app.py, and the invariants that `moln doctor` checks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from msgspec import Struct

from moln.kernel.cloud import Cloud
from moln.kernel.http import Routes
from moln.kernel.http.schemas import Described
from moln.kernel.http.watching import Check, Source
from moln.kernel.work import Periodic, Reconciler


class Violation(Struct, frozen=True):
    """Something that should never be. mend: what the operator should do."""

    message: str
    mend: str = ""


class Invariant(Struct, frozen=True):
    """A rule across database, engines and files. check: the violations there are now."""

    name: str
    check: Callable[[Cloud], Awaitable[list[Violation]]]


class Module(Struct, frozen=True):
    """One area as app.py takes it. setup: run at start, after the database is open and lower areas are set up; it may bootstrap
    rows (once) and put what the area keeps in memory into `cloud.areas[name]`. close: run at the end.
    ready: why the area's engine cannot be used now. measure: its numbers, asked for by each scrape: cheap.
    describe: what its operations take and answer where their signatures do not say it; imported when it is asked for.
    """

    name: str
    routes: tuple[Routes, ...]
    reconcilers: tuple[Reconciler[Any], ...] = ()
    periodics: tuple[Periodic, ...] = ()
    invariants: tuple[Invariant, ...] = ()
    setup: Callable[[Cloud], Awaitable[None]] | None = None
    close: Callable[[Cloud], Awaitable[None]] | None = None
    ready: Check | None = None
    measure: Source | None = None
    describe: Callable[[], Described] | None = None
