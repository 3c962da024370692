"""Several controllers' image areas over one database, each with a home of its own: real files, real gates, real TLS, in one process."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests import databases
from tests.image.conftest import Settings
from tests.node.members import NOW, Members
from tests.wire.areas import POLICY, AreaApi, authenticate

import moln.image.module as image_module
from moln.bench.process import lasting_port
from moln.gate import openers, peer_openers
from moln.image.drivers.files import FileStore
from moln.image.settings import ImageSettings
from moln.image.store import images, replicas
from moln.image.work.replicas import FORGET
from moln.kernel.clock import Clock
from moln.kernel.cloud import Cloud
from moln.kernel.config import LinkSettings
from moln.kernel.controllers import tables
from moln.kernel.controllers.tables import Controller
from moln.kernel.db import Database, Transaction
from moln.kernel.link import InProcessLinks
from moln.kernel.nodes.gate import PORT_AFTER, Gate
from moln.kernel.nodes.passport import Passport
from moln.kernel.work import Work

DATA = os.urandom(3 << 20) + bytes(2 << 20) + os.urandom(17)


class One(AreaApi):
    """A controller."""

    def __init__(self, cloud: Cloud, module: Any, gate: Gate) -> None:
        super().__init__(cloud, [module])
        self.gate: Gate | None = gate
        self.alice = self.client("red/member", "/image")
        self.admin = self.client("admin/admin", "/image")

    @property
    def store(self) -> FileStore:
        found: FileStore = self.cloud.areas["image"]
        return found

    def files(self) -> list[str]:
        """Every visible file of its images, by folder and name."""
        found = [p.relative_to(self.store.root) for p in self.store.root.rglob("*") if p.is_file() and not p.name.startswith(".")]
        return sorted(str(path) for path in found)

    async def die(self) -> None:
        """Nobody reaches it any more."""
        if self.gate:
            await self.gate.close()
        self.gate = None

    async def wrong(self) -> list[str]:
        return [v.message for v in await self.doctor()]


class Several(Members):
    """The controllers of a cloud."""

    def __init__(self, folder: Path, db: Database) -> None:
        super().__init__(folder)
        self.db = db
        self.all: dict[str, One] = {}

    async def join(self, name: str, *, shares: One | None = None, image: ImageSettings | None = None) -> One:
        """shares: whose folder of images it sees."""
        home, port = self.folder / name, lasting_port(PORT_AFTER)
        (home / "tls").mkdir(parents=True)
        shutil.copy(self.authority.public, home / "tls/ca.crt")
        file = self.authority.ensure_member(home / "tls/controller.pem", "controller", name, NOW)
        if shares:
            (home / "pool").mkdir()
            (home / "pool/images").symlink_to(shares.store.root)
        settings = Settings(
            simulate=not shutil.which("qemu-img"), database_url="postgresql://of/all", port=port, image=image or ImageSettings(),
            link=LinkSettings(nats=["tls://127.0.0.1:1"], controller=name),
        )  # fmt: skip
        clock = Clock()
        cloud = Cloud(settings=settings, db=self.db, policy=POLICY, links=InProcessLinks(clock.now_us), home=home, clock=clock)
        cloud.authenticate = authenticate
        row = Controller(name, f"https://127.0.0.1:{port}", "", 0)
        await self.db.write(lambda tx: tx.insert(tables.controllers, row, if_absent=True))
        module = image_module.module(settings)
        await module.setup(cloud)  # type: ignore[misc]
        passport = Passport(file, home / "tls/ca.crt")
        gate = Gate(
            "127.0.0.1", port + PORT_AFTER, passport, partial(openers, cloud), lambda *_: True, clock.now_us, partial(peer_openers, cloud)
        )
        await gate.start()
        self.all[name] = One(cloud, module, gate)
        return self.all[name]

    async def settle(self) -> None:
        for one in self.all.values():
            await one.settle()

    async def remove(self, name: str) -> None:
        """As `moln controller remove`; then what is done each minute."""
        await self.all[name].die()
        await self.close_one(self.all.pop(name))

        async def remove_in(tx: Transaction) -> None:
            await tx.delete(tables.controllers, name=name)

        await self.db.write(remove_in)
        await FORGET.run(Work(next(iter(self.all.values())).cloud))

    async def holders(self, data_id: str) -> set[str]:
        return {keeper.name for keeper in await self.db.all(replicas.HOLDERS, data_id=data_id)}

    async def close_one(self, one: One) -> None:
        await one.die()
        for module in one.modules:
            await module.close(one.cloud)  # type: ignore[misc]

    async def close(self) -> None:
        for one in self.all.values():
            await self.close_one(one)


async def got(client: httpx.AsyncClient, image: dict[str, Any], **headers: str) -> bytes:
    answer = await client.get(image["file"], headers=headers)
    assert answer.status_code in (200, 206), answer.text
    return answer.content


@pytest.fixture
async def cloud(tmp_path: Path, database: str) -> AsyncIterator[Several]:
    """Two of them."""
    db = await databases.opened(tmp_path)
    several = Several(tmp_path, db)
    await several.join("c1")
    await several.join("c2")
    yield several
    await several.close()
    await db.close()


async def data_id_of(cloud: Several, image: dict[str, Any]) -> str:
    found = await images.find(cloud.db, image["id"])
    assert found is not None and found.data_id is not None
    return found.data_id
