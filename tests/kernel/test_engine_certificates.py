"""Certificates of engines are renewed while these run, long before they end. Real etcd and nats-server, a member of each at three controllers: what counts
is what they show at their ports."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import shutil
import ssl
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests import databases
from tests.kernel.test_nodes import Late, where

from moln.app import Settings as AllSettings
from moln.bench.engines import ending_with_us, nats_program, spawn
from moln.kernel.cloud import Cloud
from moln.kernel.controllers import proof, showing, tables
from moln.kernel.controllers.ending import Ending
from moln.kernel.controllers.membership import Controllers
from moln.kernel.controllers.showing import ENGINES, NATS, PEER_PORT, ROUTES, Showing
from moln.kernel.controllers.tables import Controller
from moln.kernel.db import Database
from moln.kernel.errors import Unavailable
from moln.kernel.etcd import server as etcd_server
from moln.kernel.etcd.gateway import Etcd
from moln.kernel.http import certificates, succession
from moln.kernel.http.certificates import Authority
from moln.kernel.link import InProcessLinks
from moln.kernel.nodes import nats_server
from moln.kernel.nodes.membership import Membership
from moln.kernel.policy import Policy

pytestmark = [pytest.mark.engines, pytest.mark.timeout(120)]
NAMES, DAY_S = ("c1", "c2", "c3"), 24 * 3600
AGE_DAYS = certificates.DAYS - 27  # of what they begin with: it is to be renewed since three days
PORTS = {"etcd": (showing.ETCD, PEER_PORT), "nats": (NATS, ROUTES)}
WAIT_S, SILENT_S = 30.0, 10.0  # SILENT_S: as long as a member that has its majority may have no leader, on a slow disk


class One:
    """A controller and its engines. clock: all have the same."""

    def __init__(self, name: str, home: Path, address: str, db: Database, clock: Late):
        self.name, self.home, self.address, self.clock = name, home, address, clock
        cloud = Cloud(settings=AllSettings(listen=address, tls=True), db=db, policy=Policy.load(), links=InProcessLinks(clock.now_us), home=home, clock=clock)
        self.controllers = Controllers(cloud, name, Membership(home, db, clock, where), frozenset)
        self.showing, self.ending, self.cloud = Showing(home, self.controllers.address), Ending(cloud, self.controllers), cloud
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def now(self) -> datetime:
        return datetime.fromtimestamp(self.clock.now_us() / 1e6, UTC)

    def prove(self) -> None:
        """As RemoteNodes does each minute."""
        Authority(self.home / "tls", self.now).ensure_member(self.home / "tls/controller.pem", "controller", self.name, self.now)
        proof.ensure(self.home, self.name, self.now)

    def certify(self, addresses: list[str]) -> None:
        """As set-up does. On loopback whoever asks is 127.0.0.1, and etcd's peers look at that."""
        names = frozenset({self.address, "127.0.0.1"})
        routes = [f"{address}:{ROUTES}" for address in (self.address, *addresses)]
        self.prove()
        etcd_server.ensure(self.home, names, self.now)
        nats_server.ensure(self.home, listen=f"{self.address}:{NATS}", names=names, now=self.now, routes=(self.name, list(dict.fromkeys(routes))))

    def start(self, engine: str, members: dict[str, str]) -> None:
        """members: all URLs of etcd's peers, by name."""
        words = [str(nats_program()), "-c", str(self.home / nats_server.FOLDER / nats_server.FILE)]
        if engine == "etcd":
            given = etcd_server.arguments(self.home, self.name, self.address, showing.ETCD, PEER_PORT, members)
            words = [shutil.which("etcd") or "", *(word.replace("state=existing", "state=new") for word in given)]
        with (self.home / f"{engine}.log").open("ab") as log:
            self.processes[engine] = spawn([*ending_with_us(), *words], stdout=log, stderr=log, env={})

    def stop(self, engine: str) -> None:
        self.processes[engine].kill()
        self.processes.pop(engine).wait()

    async def ends(self, port: int) -> float:
        """In how many days what is shown there does."""
        folder = self.home / ("tls" if port == NATS else proof.FOLDER)
        context = ssl.create_default_context(cafile=folder / "ca.crt")
        context.load_cert_chain(folder / "controller.pem")
        found = await showing.shown(context, self.address, port)
        return (found.not_valid_after_utc - datetime.now(UTC)) / timedelta(days=1)

    async def all_end(self) -> set[int]:
        return {round(await self.ends(port)) for ports in PORTS.values() for port in ports}

    def etcd(self) -> Etcd:
        def context() -> ssl.SSLContext:
            found = ssl.create_default_context(cafile=self.home / proof.FOLDER / "ca.crt")
            found.load_cert_chain(self.home / proof.FOLDER / "controller.pem")
            return found

        return Etcd([f"https://{self.address}:{showing.ETCD}"], context)

    async def routed(self) -> set[str]:
        """Addresses of the servers of NATS that this one has routes to: it tells them whoever comes."""
        async with asyncio.timeout(5):
            reader, writer = await asyncio.open_connection(self.address, NATS)
            with contextlib.closing(writer):
                info = json.loads((await reader.readline()).removeprefix(b"INFO "))
        return {url.rpartition(":")[0] for url in info.get("connect_urls", ())} - {self.address}

    async def violations(self) -> list[str]:
        return [violation.message for violation in await self.ending.invariant.check(self.cloud)]


async def until(ask: Callable[[], Awaitable[bool]], what: str) -> None:
    ends = time.monotonic() + WAIT_S
    while True:
        with contextlib.suppress(OSError, EOFError, ValueError, TimeoutError):
            if await ask():
                return
        assert time.monotonic() < ends, what
        await asyncio.sleep(0.1)


@pytest.fixture
async def three(tmp_path: Path) -> AsyncIterator[list[One]]:
    """Begun AGE_DAYS ago, as far as their certificates can tell."""
    clock, net = Late(), f"127.{random.randrange(64, 250)}.{random.randrange(250)}"
    addresses = {name: f"{net}.{name[1:]}" for name in NAMES}
    db = await databases.opened(tmp_path, clock)
    clock.late_s = -AGE_DAYS * DAY_S
    found: list[One] = []
    for name, address in addresses.items():
        home = tmp_path / name
        home.mkdir()
        for folder in ("tls", "nats", "controllers") if found else ():
            shutil.copytree(found[0].home / folder, home / folder)
        found.append(One(name, home, address, db, clock))
        found[-1].certify(list(addresses.values()))
        await db.write(lambda tx, name=name, address=address: tx.insert(tables.controllers, Controller(name, f"https://{address}:5000", "", 0)))
    clock.late_s = 0.0
    members = {name: f"https://{address}:{PEER_PORT}" for name, address in addresses.items()}
    try:
        for one in found:
            one.prove()
            for engine in PORTS:
                one.start(engine, members)
        for one in found:
            await until(lambda one=one: _writes(one.etcd()), f"etcd at {one.name}")
            await until(lambda one=one: _has(one, addresses), f"NATS at {one.name}")
        yield found
    finally:
        for one in found:
            for engine in list(one.processes):
                one.stop(engine)
        await db.close()


async def _writes(etcd: Etcd) -> bool:
    try:
        await etcd.put("written", "yes")
    except Unavailable:  # it has no leader yet, or its disk is slow
        await asyncio.sleep(0.01)
        return False
    return True


async def _has(one: One, addresses: dict[str, str]) -> bool:
    return await one.routed() == {address for address in addresses.values() if address != one.address}


async def test_engines_show_others_before_theirs_end_and_go_on_meanwhile(three: list[One]) -> None:
    begun, left = {one.name: dict(one.processes) for one in three}, certificates.DAYS - AGE_DAYS
    assert [await one.all_end() for one in three] == [{left}] * 3
    three[0].clock.late_s = (left - certificates.LATE_DAYS + 1) * DAY_S
    said = await three[1].violations()
    assert len(said) == 6 and any("certificate of nats at c3 ends at" in message for message in said), said
    three[0].clock.late_s = 0.0
    assert await three[1].violations() == [], "for ten days it is tried"

    writing, written = asyncio.Event(), [0, 0, 0]

    async def write(number: int) -> None:
        etcd = three[number].etcd()
        while not writing.is_set():
            async with asyncio.timeout(SILENT_S):
                while not await _writes(etcd):
                    pass
            written[number] += 1

    tasks = [asyncio.create_task(write(number)) for number in range(3)]
    for one in three:
        before = list(written)
        assert await one.showing.keep(one.now)
        assert await one.all_end() == {certificates.DAYS}
        while any(now <= past for now, past in zip(written, before, strict=True)):
            assert not any(task.done() for task in tasks)
            await asyncio.sleep(0.01)
    writing.set()
    await asyncio.gather(*tasks)
    assert {one.name: one.processes for one in three} == begun and all(p.poll() is None for one in three for p in one.processes.values())
    assert all([await _has(one, {other.name: other.address for other in three}) for one in three]), "routes stand"
    shown = {(found.controller, found.engine): found.expires_at for found in await three[2].ending.look()}
    assert shown.keys() == {(one.name, engine) for one in three for engine in PORTS}
    assert min(shown.values()) > three[0].clock.now_us() + (certificates.DAYS - 1) * DAY_S * 1_000_000

    files = {file: file.read_bytes() for one in three for engine in ENGINES if (file := one.home / engine.file).exists()}
    assert len(files) == 9
    logged = (three[0].home / "nats.log").read_bytes()
    assert all([await one.showing.keep(one.now) for one in three]) and files == {file: file.read_bytes() for file in files}
    assert (three[0].home / "nats.log").read_bytes() == logged, "it is not asked again what it showed"


async def test_who_was_not_told_by_us_is_had_read_what_another_wrote(three: list[One]) -> None:
    """`moln up` renews files, too; and a controller may die between the file and the engine."""
    first = three[0]
    first.certify([one.address for one in three])
    assert round(await first.ends(ROUTES)) == certificates.DAYS - AGE_DAYS
    assert await first.showing.keep(first.now)
    assert await first.all_end() == {certificates.DAYS}
    assert "Reloaded" not in (three[1].home / "nats.log").read_text(), "nobody else's server is signalled"


async def test_a_route_is_made_anew_between_one_that_trusts_the_new_authority_alone_and_one_that_trusts_both(three: list[One]) -> None:
    """As between `moln certificates rotate --end` at one controller, and `--again` at another."""
    first, second, third = three
    third.stop("nats")
    succession.begin(first.home / proof.FOLDER, first.now)
    shutil.copy(first.home / proof.FOLDER / certificates.COMING, second.home / proof.FOLDER)
    for one in (first, second):
        Authority(one.home / proof.FOLDER, one.now)
        showing.hang_up(showing.NATS_SERVER[0], one.home / showing.NATS_SERVER[1])  # root does: everybody trusts both
    for one in (first, second):
        succession.go(one.home / proof.FOLDER)
        one.prove()
    third.stop("etcd")  # it has only the old one
    assert await second.showing.keep(second.now) and await first.showing.keep(first.now)
    succession.finish(first.home / proof.FOLDER, first.now)
    first.prove()
    first.stop("nats")
    await until(lambda: _alone(second), "the route is broken")
    first.start("nats", {})
    await until(lambda: _has(first, {"c2": second.address}), (first.home / "nats.log").read_text()[-2000:])


async def _alone(one: One) -> bool:
    return not await one.routed()
