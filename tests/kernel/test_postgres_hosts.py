"""A database of several servers: whichever takes writes is found, by whom the last one says nothing any more, too."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from tests.postgres import Server

from moln.bench.process import lasting_port
from moln.kernel.db.postgres import PostgresDatabase
from moln.kernel.db.postgres_hosts import Hosts, parsed


class Reached(Server):
    """By a port, too."""

    def __init__(self) -> None:
        super().__init__(lasting=True)
        self.stop()
        self.port = lasting_port()
        self._settings |= {"listen_addresses": "127.0.0.1", "port": str(self.port)}
        self.start_at_port()

    def start_at_port(self) -> None:
        """pg_isready looks for the socket, which has the port in its name."""
        os.environ["PGPORT"] = str(self.port)
        try:
            self.start()
        finally:
            del os.environ["PGPORT"]


@pytest.fixture(scope="module")
def server() -> Iterator[Reached]:
    made = Reached()
    yield made
    made.remove()


async def silent(*_: Any) -> None:
    """A machine without power, but for the handshake that the kernel does."""
    await asyncio.sleep(60)


def test_hosts_are_read_from_urls_and_files(tmp_path: Path) -> None:
    assert Hosts("postgresql://moln@db1,db2:5433/moln").all() == [("db1", 5432), ("db2", 5433)]
    assert Hosts("postgresql://moln@/moln?host=/run/postgresql").all() == []
    file = tmp_path / "hosts"
    hosts = Hosts("postgresql://moln@192.0.2.1:5432/moln", file)
    assert hosts.all() == [("192.0.2.1", 5432)], "until there is a file"
    file.write_text("192.0.2.2:5432\n[2001:db8::1]:5432\n")
    assert hosts.all() == parsed(["192.0.2.2", "[2001:db8::1]"])
    file.unlink()
    assert hosts.all() == parsed(["192.0.2.2", "[2001:db8::1]"]), "what was read last"


async def test_the_one_that_answers_is_found_though_the_first_says_nothing(server: Reached) -> None:
    quiet = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = quiet.sockets[0].getsockname()[1]
    hosts = Hosts(f"postgresql://moln@127.0.0.1:{port},127.0.0.1:{server.port}/postgres?sslmode=disable")
    began = time.monotonic()
    conn = await hosts.connect(timeout=5)
    assert time.monotonic() - began < 4 and hosts.last == ("127.0.0.1", server.port)
    assert await conn.fetchval("SELECT 1") == 1
    with pytest.raises(TimeoutError):
        await Hosts(f"postgresql://moln@127.0.0.1:{port},127.0.0.1:{port}/postgres?sslmode=disable").connect(timeout=0.5)
    await conn.close()
    quiet.close()


async def test_one_server_is_reached_as_its_url_says(server: Reached, tmp_path: Path) -> None:
    for where in (f"127.0.0.1:{server.port}/postgres?sslmode=disable", f"/postgres?host={server.folder}&port={server.port}"):
        hosts = Hosts(f"postgresql://moln@{where}", tmp_path / "absent")
        conn = await hosts.connect(timeout=5)
        hosts.let_go()
        assert await conn.fetchval("SELECT 1") == 1, "nothing is known of others"
        await conn.close()


async def test_a_server_that_takes_no_writes_is_not_taken(server: Reached) -> None:
    url = f"postgresql://moln@127.0.0.1:{server.port},127.0.0.1:{server.port}/postgres?sslmode=disable&target_session_attrs=standby"
    with pytest.raises(asyncpg.TargetServerAttributeNotMatched):
        await Hosts(url).connect(timeout=5)


async def test_who_waits_for_a_server_that_is_not_asked_any_more_hears_it(server: Reached, tmp_path: Path) -> None:
    file = tmp_path / "hosts"
    file.write_text(f"127.0.0.1:{server.port}\n")
    hosts = Hosts("postgresql://moln@127.0.0.1:1/postgres?sslmode=disable", file)
    first = await hosts.connect(timeout=5)
    waiting = asyncio.create_task(first.fetchval("SELECT pg_sleep(60)"))
    await asyncio.sleep(0)
    file.write_text(f"localhost:{server.port}\n")  # another one, as far as it knows
    second = await hosts.connect(timeout=5)
    with pytest.raises((asyncpg.PostgresConnectionError, asyncpg.InterfaceError)):
        async with asyncio.timeout(5):
            await waiting
    assert await second.fetchval("SELECT 1") == 1
    await second.close()


async def test_a_change_feed_whose_server_says_nothing_lets_go_of_it(server: Reached, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a cut of the network: no connection is closed, and nobody answers."""
    monkeypatch.setattr("moln.kernel.db.postgres_feed.LOOK_S", 0.5)
    sockets: list[asyncio.StreamWriter] = []
    passes = asyncio.Event()
    passes.set()

    async def through(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, out = await asyncio.open_connection("127.0.0.1", server.port)
        sockets.extend((writer, out))
        await asyncio.gather(copy(reader, out), copy(there, writer))

    async def copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(1 << 16):
            await passes.wait()
            sink.write(data)
        sink.close()

    cable = await asyncio.start_server(through, "127.0.0.1", 0)
    file = tmp_path / "hosts"
    file.write_text(f"127.0.0.1:{cable.sockets[0].getsockname()[1]}\n")
    db = PostgresDatabase("postgresql://moln@127.0.0.1:1/postgres?sslmode=disable", hosts=file)
    gaps: list[int] = []
    db.feed.on_gap(lambda: gaps.append(1))
    await db.open()
    held = await db.connect()
    passes.clear()
    with pytest.raises((asyncpg.PostgresConnectionError, asyncpg.InterfaceError)):
        async with asyncio.timeout(10):
            await held.fetchval("SELECT 1")
    passes.set()
    async with asyncio.timeout(10):
        while not db.feed.fresh:
            await asyncio.sleep(0.05)
    assert not gaps, "it is the same server: nothing was missed"
    await db.close()
    for writer in sockets:
        writer.close()
    cable.close()
