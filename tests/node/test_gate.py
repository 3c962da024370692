"""What nodes on other machines ask of a controller: images and metadata, each node what is its own servers' alone."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.node.members import NOW, Members

from moln.kernel.clock import Clock
from moln.kernel.errors import BackendRefused, BackendUnreachable, NotFound
from moln.kernel.http.certificates import Authority
from moln.kernel.link.streams import Stream
from moln.kernel.nodes import sparse
from moln.kernel.nodes.gate import PORT_AFTER, Gate, GateClient, of_bytes, spoken, written
from moln.node.bases import Bases, WithBases
from moln.node.controllers import KnownControllers

NAME = "aaaaaaaa-0000-4000-8000-000000000001"


class Cloud(Members):
    """A gate, and what it has; `refused` may not speak any more."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.refused: set[str] = set()
        self.base = folder / "base"
        self.asked: list[tuple[str, str]] = []
        self.broken = False
        self.most = 1 << 30
        self.gate = Gate("127.0.0.1", self.port, self.passport("controller", "c1"), self.openers, lambda name, _: name not in self.refused,
                         Clock().now_us)  # fmt: skip

    def client(self, role: str = "node", name: str = "n1", authority: Authority | None = None) -> GateClient:
        return GateClient("127.0.0.1", self.port, self.passport(role, name, authority), Clock().now_us)

    def openers(self, node: str):
        async def base(name: str) -> Stream:
            self.asked.append((node, name))
            if not self.base.exists():
                raise NotFound("There is no such image.")
            file = os.open(self.base, os.O_RDONLY)

            async def write(writer: asyncio.StreamWriter) -> None:
                if self.broken:
                    writer.write(sparse.HEAD.pack(0, 4096) + b"half")
                else:
                    await sparse.send(file, writer)
                os.close(file)

            return await written(write)

        async def who() -> Stream:
            return await of_bytes(node.encode())

        async def bring(name: str) -> Stream:
            async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                with self.base.open("wb") as file:
                    size = await sparse.take(reader, file.fileno(), self.most)
                writer.write(sparse.SIZE.pack(size))
                await writer.drain()

            return await spoken(take)

        return {"image.base": (base, tuple[str]), "image.bring": (bring, tuple[str]), "who": (who, tuple[()])}


@pytest.fixture
async def cloud(tmp_path: Path) -> AsyncIterator[Cloud]:
    made = Cloud(tmp_path)
    await made.gate.start()
    yield made
    await made.gate.close()


async def test_a_node_is_who_its_certificate_says(cloud: Cloud) -> None:
    assert await cloud.client().read("who", most=100) == b"n1"
    assert await cloud.client(name="n2").read("who", most=100) == b"n2"
    with pytest.raises(BackendRefused, match="too long"):
        await cloud.client().read("who", most=1)
    with pytest.raises(BackendRefused, match="has no nonsense"):
        await cloud.client().open("nonsense")


async def test_whoever_is_no_node_of_the_cloud_is_told_nothing(cloud: Cloud) -> None:
    stranger = Authority(cloud.folder / "other", NOW)
    cloud.refused.add("gone")
    for client in (cloud.client("controller", "c2"), cloud.client(name="gone"), cloud.client(authority=stranger)):
        with pytest.raises(BackendUnreachable):
            await client.read("who", most=100)


async def test_a_node_tells_nothing_to_who_is_no_controller(cloud: Cloud) -> None:
    await cloud.gate.close()
    false = Gate("127.0.0.1", cloud.port, cloud.passport("node", "thief"), cloud.openers, lambda *_: True, Clock().now_us)
    await false.start()
    with pytest.raises(BackendUnreachable, match="is no controller"):
        await cloud.client().read("who", most=100)
    await false.close()


async def test_another_controller_is_asked_when_the_first_is_dead(cloud: Cloud, tmp_path: Path) -> None:
    client = cloud.client()
    client._first = client._host, client._port = "127.0.0.1", 1
    with pytest.raises(BackendUnreachable, match="port 1 does not answer"):
        await client.read("who", most=100)
    known = KnownControllers(tmp_path / "controllers.json", client, [])
    await known.controllers(["https://127.0.0.1:1", f"https://127.0.0.1:{cloud.port - PORT_AFTER}"])
    assert await client.read("who", most=100) == b"n1"
    assert client._port == cloud.port, "and is the one that is asked next"
    again = cloud.client()
    KnownControllers(tmp_path / "controllers.json", again, [])
    assert again.others == client.others


async def test_an_image_comes_once_whole_and_with_its_holes(cloud: Cloud, tmp_path: Path) -> None:
    with cloud.base.open("wb") as file:
        file.write(os.urandom(700_000))
        file.seek(30 << 20)
        file.write(b"end")
        file.truncate(64 << 20)
    bases = Bases(tmp_path / "images", cloud.client())
    bases.prepare()
    await asyncio.gather(*(bases.ensure(NAME) for _ in range(5)))
    await bases.ensure(NAME)
    assert cloud.asked == [("n1", NAME)]
    there = tmp_path / "images/base" / NAME
    assert there.read_bytes() == cloud.base.read_bytes()
    assert there.stat().st_blocks < (8 << 20) // 512


class Pool:
    """Notes what it was asked, and which bases were there by then."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.asked: list[tuple[object, ...]] = []

    def note(self, *asked: object) -> None:
        self.asked.append((*asked, sorted(file.name for file in self.folder.iterdir())))

    async def ensure_volume(self, volume_id: str, size_gib: int, source: str = "blank", source_id: str = "") -> None:
        self.note(volume_id, source)

    async def reimage_volume(self, volume_id: str, image_id: str) -> None:
        self.note(volume_id, image_id)

    async def remove_volume(self, volume_id: str) -> None:
        self.note(volume_id)

    async def ensure_image_data(self, image_id: str, volume_id: str) -> None:
        self.note(image_id, volume_id)
        with (self.folder.with_name("incoming") / image_id).open("wb") as file:
            file.write(b"data")
            file.truncate(8 << 20)


async def test_a_volume_begins_as_an_image_that_came_first(cloud: Cloud, tmp_path: Path) -> None:
    V = [f"bbbbbbbb-0000-4000-8000-00000000000{n}" for n in range(5)]
    cloud.base.write_bytes(b"x")
    bases = Bases(tmp_path / "images", cloud.client())
    bases.prepare()
    pool = Pool(tmp_path / "images/base")
    driver = WithBases(pool, bases)
    await driver.ensure_volume(V[1], 1)
    await driver.ensure_volume(V[2], 1, "volume", V[1])
    assert cloud.asked == []
    await driver.ensure_volume(V[3], 1, "image", NAME)
    await driver.reimage_volume(V[1], NAME)
    await driver.remove_volume(V[1])
    assert pool.asked == [(V[1], "blank", []), (V[2], "volume", []), (V[3], "image", [NAME]), (V[1], NAME, [NAME]), (V[1], [NAME])]
    cloud.base.unlink()
    with pytest.raises(BackendRefused):
        await driver.ensure_volume(V[4], 1, "image", "00000000-0000-4000-8000-000000000009")
    assert len(pool.asked) == 5


async def test_what_becomes_an_image_is_brought_and_leaves_nothing(cloud: Cloud, tmp_path: Path) -> None:
    bases = Bases(tmp_path / "images", cloud.client())
    bases.prepare()
    pool = Pool(tmp_path / "images/base")
    await WithBases(pool, bases).ensure_image_data(NAME, "v1")
    assert pool.asked == [(NAME, "v1", [])]
    assert cloud.base.read_bytes() == b"data".ljust(8 << 20, b"\0")
    assert cloud.base.stat().st_blocks < (1 << 20) // 512
    assert list((tmp_path / "images/incoming").iterdir()) == []


async def test_what_a_controller_does_not_take_stays_for_another_time(cloud: Cloud, tmp_path: Path) -> None:
    cloud.most = 1 << 20
    bases = Bases(tmp_path / "images", cloud.client())
    bases.prepare()
    driver = WithBases(Pool(tmp_path / "images/base"), bases)
    with pytest.raises(BackendUnreachable, match="not taken"):
        await driver.ensure_image_data(NAME, "v1")
    assert [file.name for file in (tmp_path / "images/incoming").iterdir()] == [NAME]
    cloud.most = 8 << 20
    await driver.ensure_image_data(NAME, "v1")
    assert cloud.base.stat().st_size == 8 << 20


async def test_an_image_that_breaks_off_is_not_there_and_comes_the_next_time(cloud: Cloud, tmp_path: Path) -> None:
    cloud.base.write_bytes(b"x" * 5000)
    bases = Bases(tmp_path / "images", cloud.client())
    bases.prepare()
    cloud.broken = True
    with pytest.raises(BackendUnreachable, match="whole"):
        await bases.ensure(NAME)
    assert list((tmp_path / "images/base").iterdir()) == []
    cloud.broken = False
    await bases.ensure(NAME)
    assert (tmp_path / "images/base" / NAME).read_bytes() == b"x" * 5000


async def test_a_call_that_is_given_up_leaves_its_image_coming(cloud: Cloud, tmp_path: Path) -> None:
    cloud.base.write_bytes(b"x" * 5000)
    bases = Bases(tmp_path / "images", cloud.client())
    bases.prepare()
    first = asyncio.create_task(bases.ensure(NAME))
    await asyncio.sleep(0)
    first.cancel()
    await bases.ensure(NAME)
    assert cloud.asked == [("n1", NAME)]


async def test_an_image_that_is_refused_says_so(cloud: Cloud, tmp_path: Path) -> None:
    bases = Bases(tmp_path / "images", cloud.client())
    bases.prepare()
    with pytest.raises(BackendRefused, match="no such image"):
        await bases.ensure(NAME)
    with pytest.raises(BackendRefused, match="not an id"):
        await bases.ensure("../../etc/shadow")
    assert cloud.asked == [("n1", NAME)]
