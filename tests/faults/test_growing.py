"""`moln grow` killed at each of its steps: the cloud is on SQLite or wholly on PostgreSQL, and the same command again brings it there."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import httpx
import msgspec
import pytest
from tests.postgres import Server, binaries

from moln.app import MARK
from moln.cli import admin
from moln.cli.commands.grow import finish
from moln.growing import BEGUN
from moln.host.control import NotRunning
from moln.host.places import Places
from moln.host.processes import Choices
from moln.kernel.db import postgres_schema

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("as_installed"),
    pytest.mark.skipif(binaries() is None, reason="no PostgreSQL here: Debian's package is `postgresql`"),
]
BEFORE, AFTER = ("prepare", "copy", "pause", "finish", "decide"), ("switch", "switched")
END_S = 60


@pytest.fixture(scope="module")
def server() -> Server:
    return Server(lasting=True)


class Killed:
    """The controller of one home, started as often as it is killed. token: admin's, good for all of them."""

    def __init__(self, home: Path) -> None:
        self.places = Places(home)
        self.token = ""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.process: subprocess.Popen[bytes] | None = None

    async def start(self, step: str = "") -> None:
        reading, writing = os.pipe()
        command = [sys.executable, "-m", "tests.faults.growing", str(self.places.home), str(self.port), *([step] if step else [])]
        env = {**os.environ, "PYTHONPATH": "src:.", "MOLN_READY_FD": str(writing)}
        self._spawn(command, env, writing)
        assert await asyncio.to_thread(os.read, reading, 16) == b"ready\n", (self.places.home / "log.txt").read_text()[-3000:]
        os.close(reading)

    def _spawn(self, command: list[str], env: dict[str, str], writing: int) -> None:
        with open(self.places.home / "log.txt", "ab") as log:
            self.process = subprocess.Popen(command, env=env, stderr=log, pass_fds=[writing])
        os.close(writing)

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.port}", headers={"X-Auth-Token": self.token}, timeout=60)

    async def sign_in(self) -> None:
        user = {"name": "admin", "domain": {"id": "default"}, "password": (self.places.home / "admin.password").read_text().strip()}
        scope = {"project": {"name": "admin", "domain": {"id": "default"}}}
        body = {"auth": {"identity": {"methods": ["password"], "password": {"user": user}}, "scope": scope}}
        async with self.client() as client:
            self.token = (await client.post("/identity/v3/auth/tokens", json=body)).headers["X-Subject-Token"]

    async def make(self, name: str) -> None:
        async with self.client() as client:
            answer = await client.post("/network/v2.0/networks", json={"network": {"name": name}})
        assert answer.status_code == 201, answer.text

    async def names(self) -> list[str]:
        async with self.client() as client:
            answer = await client.get("/network/v2.0/networks")
        assert answer.status_code == 200, answer.text
        return sorted(n["name"] for n in answer.json()["networks"])

    async def grow(self, url: str) -> dict[str, object]:
        """What the command asks of the controller, until it is done or there is nobody to ask."""
        told = await asyncio.to_thread(admin.ask, self.places, "grow", method="POST", to=url)
        ends = time.monotonic() + END_S
        while not told["done"]:
            assert not told["failed"], told
            assert time.monotonic() < ends, told
            await asyncio.sleep(0.05)
            told = await asyncio.to_thread(admin.ask, self.places, "grow")
        return told  # type: ignore[no-any-return]

    def end(self) -> None:
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a cloud has made a network, and ended."""
    folder = tmp_path_factory.mktemp("grow") / "home"
    folder.mkdir()

    async def fill() -> None:
        there = Killed(folder)
        await there.start()
        await there.sign_in()
        await there.make("first")
        (folder / "token").write_text(there.token)
        there.end()

    asyncio.run(fill())
    return folder


@pytest.fixture
async def there(home: Path, tmp_path: Path) -> AsyncIterator[Killed]:
    copy = tmp_path / "home"
    shutil.copytree(home, copy, ignore=shutil.ignore_patterns("run"))
    made = Killed(copy)
    made.token = (copy / "token").read_text()
    yield made
    made.end()


async def stamped(url: str) -> tuple[str, bool]:
    """Whose tables the database holds, and whether they are the beginning of a move."""
    conn = await asyncpg.connect(url)
    try:
        known = await conn.fetchval("SELECT to_regclass('moln_schema') IS NOT NULL")
        begun = await conn.fetchval(f"SELECT to_regclass('{postgres_schema.BEGUN}') IS NOT NULL")
        return (await conn.fetchval("SELECT stamp FROM moln_schema") if known else ""), begun
    finally:
        await conn.close()


@pytest.mark.parametrize("step", [*BEFORE, *AFTER])
async def test_a_controller_killed_at_a_step_of_growing_leaves_the_cloud_on_one_database(there: Killed, server: Server, step: str) -> None:
    url, home = await server.empty(), there.places.home
    await there.start(step)
    with pytest.raises(NotRunning):
        await there.grow(url)
    assert there.process is not None and there.process.wait() == -9
    assert (home / MARK).exists() == (step in AFTER)

    await there.start()  # as its supervisor would: with nothing but what lies in the home
    assert await there.names() == ["first"]
    await there.make("second")
    told = await there.grow(url)
    assert (told["pause_s"] is None) == (step in AFTER)
    assert await there.names() == ["first", "second"]
    await there.make("third")
    assert await stamped(url) == (postgres_schema.stamp(), False)

    finish(there.places, url)  # what the command does then
    there.end()
    await there.start()  # which looks whether the stamp is its own
    assert await there.names() == ["first", "second", "third"]
    assert not [f.name for f in home.iterdir() if f.name in (MARK, BEGUN, "cloud.db")]


async def test_a_beginning_is_no_database_for_a_controller_and_no_target_for_another_cloud(there: Killed, server: Server) -> None:
    url, home = await server.empty(), there.places.home
    await there.start("pause")
    with pytest.raises(NotRunning):
        await there.grow(url)
    assert await stamped(url) == (postgres_schema.GROWING, True)

    (home / BEGUN).write_bytes(msgspec.json.encode({"id": "another"}))
    await there.start()
    told = await asyncio.to_thread(admin.ask, there.places, "grow", method="POST", to=url)
    while not told["failed"]:
        await asyncio.sleep(0.05)
        told = await asyncio.to_thread(admin.ask, there.places, "grow")
    assert "not empty" in told["failed"]
    await there.make("second")  # it goes on where it is
    there.end()

    finish(there.places, url)
    with pytest.raises(AssertionError, match="beginning of a cloud's move"):
        await there.start()


async def test_a_backup_of_a_cloud_that_runs_is_a_cloud(there: Killed, server: Server, tmp_path: Path) -> None:
    """On either database, by the commands as they are typed."""

    def moln(*args: object) -> None:
        command = [sys.executable, "-c", "import sys; from moln.cli import main; sys.exit(main())", *map(str, args)]
        done = subprocess.run(command, env={**os.environ, "PYTHONPATH": "src"}, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    there.places.host.mkdir(exist_ok=True)
    there.places.choices.write_bytes(msgspec.json.encode(Choices(simulate=True)))
    await there.start()
    await asyncio.to_thread(moln, "backup", tmp_path / "one", "--home", there.places.home)
    await there.make("after it")
    there.end()
    url = await server.empty()
    await asyncio.to_thread(moln, "restore", tmp_path / "one", "--home", tmp_path / "r1", "--database-url", url)
    restored = Killed(tmp_path / "r1")
    restored.token = there.token
    await restored.start()
    assert await restored.names() == ["first"]
    await restored.make("second")
    await asyncio.to_thread(moln, "backup", tmp_path / "two", "--home", restored.places.home)
    restored.end()
    await asyncio.to_thread(moln, "restore", tmp_path / "two", "--home", tmp_path / "r2", "--sqlite")
    again = Killed(tmp_path / "r2")
    again.token = there.token
    await again.start()
    assert await again.names() == ["first", "second"]
    again.end()


async def test_a_postgresql_that_cannot_be_reached_leaves_the_cloud_where_it_is(there: Killed, server: Server) -> None:
    await there.start()
    async with there.client() as client:
        told = await asyncio.to_thread(admin.ask, there.places, "grow", method="POST", to="postgresql://moln@/none?host=/nowhere")
        while not told["failed"]:
            await asyncio.sleep(0.05)
            told = await asyncio.to_thread(admin.ask, there.places, "grow")
        assert "cannot be reached" in told["failed"]
        assert (await client.get("/network/v2.0/networks")).status_code == 200
    await there.make("second")
    assert (await there.grow(await server.empty()))["pause_s"] is not None
    assert await there.names() == ["first", "second"]
