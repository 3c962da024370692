"""Where a PostgreSQL of several servers is. One of them takes writes; when it dies, another one does (docs/adr/0046-postgresql-standbys.md).

The server that took writes last is asked first. Says it nothing for a moment, all are asked at once: a machine without power answers nobody,
and would cost each caller all the time that it has.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import weakref
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import asyncpg
from asyncpg import Connection

Host = tuple[str, int]
PORT, HEAD_START_S = 5432, 0.3
ATTRIBUTES = "target_session_attrs"  # libpq's; in the URL it is the operator's choice
_log = logging.getLogger("moln.db")


class Hosts:
    """url: of asyncpg; several hosts stand between commas. file: lists the hosts instead, one `ADDRESS:PORT` a line, read anew when it changes."""

    def __init__(self, url: str, file: Path | None = None):
        self.url = url
        self._file = file
        self._read: tuple[int, list[Host]] = (0, [])
        self._query = parse_qs(urlsplit(url).query)
        self.last: Host | None = None
        self._open: weakref.WeakKeyDictionary[Connection, Host] = weakref.WeakKeyDictionary()

    def all(self) -> list[Host]:
        """None: asyncpg knows where it is (a socket, say)."""
        return self._filed() or parsed(urlsplit(self.url).netloc.rpartition("@")[2].split(","))

    def _filed(self) -> list[Host]:
        with contextlib.suppress(OSError):
            if self._file is not None:
                changed = self._file.stat().st_mtime_ns
                if changed != self._read[0]:
                    self._read = changed, parsed(self._file.read_text().split())
        return self._read[1]

    async def connect(self, **options: Any) -> Connection:
        """A connection to the server that takes writes. options: asyncpg's; its `timeout` bounds each server. Raises: what asyncpg raises."""
        hosts = sorted(self.all(), key=lambda host: host != self.last)
        if len(hosts) < 2 and not self._filed():
            return await asyncpg.connect(self.url, **options)
        if ATTRIBUTES not in self._query:
            options[ATTRIBUTES] = "primary"
        asked = {self._ask(hosts[0], options)}
        try:
            return await self._first(asked, hosts[1:], options)
        finally:
            for task in asked:
                task.cancel()
                task.add_done_callback(_close)

    async def _first(self, asked: set[asyncio.Task[Connection]], others: list[Host], options: dict[str, Any]) -> Connection:
        """The first connection that is made; `asked` keeps the rest. Raises: what the first server said, when none takes writes."""
        error: BaseException | None = None
        while asked:
            done, _ = await asyncio.wait(asked, timeout=HEAD_START_S if others else None, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                if (failed := task.exception()) is None:
                    asked.discard(task)
                    return task.result()
                error = error or failed
            asked -= done
            asked |= {self._ask(host, options) for host in others}
            others = []
        assert error is not None
        raise error

    def _ask(self, host: Host, options: dict[str, Any]) -> asyncio.Task[Connection]:
        return asyncio.create_task(self._connect(host, options), name=f"database at {host[0]}")

    async def _connect(self, host: Host, options: dict[str, Any]) -> Connection:
        conn = await asyncpg.connect(self.url, host=host[0], port=host[1], **options)
        if host != self.last:
            if self.last is not None:
                _log.warning("the database takes writes at %s:%d now", *host)
            self.last = host
            self.let_go(but=host)
        self._open[conn] = host
        return conn

    def let_go(self, but: Host | None = None) -> None:
        """Hang up on every server but one: whoever waits for an answer of it hears at once that there is none."""
        for conn in [conn for conn, host in self._open.items() if host != but]:
            conn.terminate()


def parsed(texts: list[str]) -> list[Host]:
    """Of `host`, `host:port`, `[address]:port`. Raises: ValueError."""
    found = [urlsplit(f"//{text}") for text in texts if text]
    return [(at.hostname, at.port or PORT) for at in found if at.hostname]


def _close(task: asyncio.Task[Connection]) -> None:
    """One that was made too late."""
    if not task.cancelled() and task.exception() is None:
        task.result().terminate()
