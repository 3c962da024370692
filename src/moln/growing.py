"""`moln grow`: a running cloud's rows go from SQLite to PostgreSQL while it answers; the process then goes on over the other database (ADR 35).

The cloud is on SQLite until `grown.json` is in its home, and on PostgreSQL from then on, whatever ends in between: whoever starts a
controller reads it (app.load_settings), until moln.toml says the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from moln.app import MARK, App, Grown
from moln.kernel.db.sqlite import SqliteDatabase
from moln.kernel.errors import Conflict, Failure, Invalid

T = TypeVar("T")
Succeed = Callable[[str], Awaitable[Awaitable[None]]]
BEGUN = "growing.json"  # in the home while a move is under way or was interrupted: its id
_log = logging.getLogger("moln.grow")


class Progress(msgspec.Struct):
    """What the operator is told. step: what happens now. pause_s: how long nothing could be written; None: not yet over."""

    step: str = ""
    tables: int = 0
    rows: int = 0
    written: int = 0
    copy_s: float | None = None
    pause_s: float | None = None
    done: bool = False
    failed: str = ""


class Begun(msgspec.Struct):
    id: str


class Aside:
    """An event loop in a thread of its own: what is busy there keeps no request waiting."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="grow", daemon=True)
        self._thread.start()

    async def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, self._loop))

    def end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)


def write_down(path: Path, value: msgspec.Struct) -> None:
    """The whole file or none, on the disk when this returns; its owner's alone."""
    new = path.with_suffix(".new")
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(msgspec.json.encode(value) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)


class Growth:
    """One process's. succeed: has another App over the database of this URL take the place of the
    present one, and returns what waits for the last answers of that. hook: sees each step."""

    def __init__(self, app: App, succeed: Succeed, hook: Callable[[str, str], None] | None = None):
        self.app = app
        self._succeed = succeed
        self._hook = hook
        self._task: asyncio.Task[None] | None = None
        self.progress = Progress()

    def begin(self, url: str) -> Progress:
        """Raises: Conflict, Invalid, Failure."""
        settings, home = self.app.cloud.settings, self.app.cloud.home
        if not url.startswith(("postgresql://", "postgres://")):
            raise Invalid("--to has to begin with postgresql://")
        if settings.database_url:
            if settings.database_url != url:
                raise Conflict("This cloud is on PostgreSQL already.")
            (home / BEGUN).unlink(missing_ok=True)
            self.progress.done = True
        elif self._task is None or self._task.done():
            self.progress = Progress()
            self._task = asyncio.create_task(self._run(url), name="grow")
        return self.progress

    async def _run(self, url: str) -> None:
        try:
            await self._grow(url)
            self.progress.done = True
        except Failure as failure:
            self.progress.failed = failure.message
        except Exception as error:
            _log.exception("the cloud cannot grow")
            self.progress.failed = f"An internal error ({type(error).__name__}); the log of the controller says more."

    def _step(self, name: str) -> None:
        self.progress.step = name
        _log.info("grow: %s", name)
        if self._hook:
            self._hook("grow", name)

    async def _grow(self, url: str) -> None:
        try:
            from moln.kernel.db.moving import Target, unavailable
        except ModuleNotFoundError as missing:
            raise Failure(f"PostgreSQL needs the Python package {missing.name}: pip install 'moln[scale]'.") from None
        db = self.app.cloud.db
        while not isinstance(db, SqliteDatabase):
            db = db.real  # type: ignore[attr-defined]  # under what is put around it
        aside, target = Aside(), Target(url, self._id())
        try:
            await self._move(db, target, aside, url)
        except Failure:
            raise
        except Exception as error:
            raise (unavailable(error) or error) from error
        finally:
            with contextlib.suppress(Exception):
                await aside.run(target.close())
            aside.end()

    def _id(self) -> str:
        """Of this move; the same after an interruption."""
        path = self.app.cloud.home / BEGUN
        with contextlib.suppress(FileNotFoundError, msgspec.MsgspecError):
            return msgspec.json.decode(path.read_bytes(), type=Begun).id
        begun = Begun(self.app.cloud.ids.uuid())
        write_down(path, begun)
        return begun.id

    async def _move(self, db: SqliteDatabase, target: Any, aside: Aside, url: str) -> None:
        from moln.kernel.db import journal

        self._step("prepare")
        await aside.run(target.reach())
        await aside.run(target.prepare())
        await db.write(journal.begin_in)
        try:
            self._step("copy")
            began = time.monotonic()
            await aside.run(target.copy(db.path, self._copied))
            self.progress.copy_s = time.monotonic() - began
            self._step("pause")
            began = time.monotonic()
            await db.pause()
            await self._settle(db, target, aside, url)
        except BaseException:
            with contextlib.suppress(Exception):
                await db.write_paused(journal.end_in)
            db.resume()
            raise
        await self._switch(url, began)

    def _copied(self, table: str, rows: int) -> None:
        self.progress.tables += 1
        self.progress.rows += rows

    async def _settle(self, db: SqliteDatabase, target: Any, aside: Aside, url: str) -> None:
        """While nothing is written: the rest of the rows, the proof, and the word that the cloud is there from now on."""
        from moln.kernel.db import journal

        written = await db.write_paused(journal.written_in)
        self.progress.written = sum(len(table.rowids) for table in written.values())
        self._step("finish")
        sums = await aside.run(target.finish(db.path, written))
        self.progress.tables, self.progress.rows = len(sums), sum(count for count, _ in sums.values())
        await aside.run(target.close())
        self._step("decide")
        write_down(self.app.cloud.home / MARK, Grown(url))

    async def _switch(self, url: str, began: float) -> None:
        """There is no way back. Raises: Failure, when the controller has to start anew."""
        self._step("switch")
        retired = await self._succeed(url)
        self.progress.pause_s = time.monotonic() - began
        self._step("switched")
        await retired
        (self.app.cloud.home / BEGUN).unlink(missing_ok=True)
