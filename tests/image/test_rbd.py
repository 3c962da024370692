"""What is RBD's own, with a real Ceph: a cluster that does not move, data that breaks off, clones; and copies between all kinds of stores."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from msgspec.structs import replace
from tests.image.asking import OCTETS, make
from tests.image.ceph import Ceph, available, ceph
from tests.image.conftest import Settings
from tests.image.s3 import KEYS, bucket_at, s3_server
from tests.wire.areas import AreaApi, areas

import moln.image.module as image_module
from moln.image.drivers.rbd import Cluster, RbdBackend
from moln.image.settings import ImageSettings, RbdStore, S3Store
from moln.kernel.errors import NotFound, Unavailable

pytestmark = pytest.mark.asyncio(loop_scope="module")
engines = pytest.mark.engines
DATA = os.urandom(1 << 20) * 17 + b"the end"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ceph]:
    if not available():
        pytest.skip("needs root and Ceph's packages")
    with ceph(tmp_path_factory.mktemp("ceph")) as found:
        yield found


@pytest_asyncio.fixture(loop_scope="module")
async def rbd(cluster: Ceph) -> AsyncIterator[RbdBackend]:
    backend = RbdBackend(Cluster(str(cluster.conf), "glance", "", "images", timeout_s=5))
    yield backend
    assert await backend.names() == [], "each test leaves nothing"


async def pieces(data: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(data), 1 << 20):
        yield data[at : at + (1 << 20)]


@engines
@pytest.mark.parametrize("promised", [len(DATA) - 1, len(DATA) + 1])
async def test_data_of_another_length_than_promised_is_not_kept(rbd: RbdBackend, promised: int) -> None:
    with pytest.raises(Unavailable):
        await rbd.put("one", promised, pieces(DATA))
    with pytest.raises(NotFound):
        await rbd.size("one")


@engines
async def test_a_put_that_is_cancelled_leaves_nothing(rbd: RbdBackend) -> None:
    stuck = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        async for piece in pieces(DATA):
            yield piece
        stuck.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(rbd.put("one", 2 * len(DATA), endless()))
    await stuck.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@engines
async def test_what_a_killed_child_left_is_a_name_but_no_data(rbd: RbdBackend, cluster: Ceph) -> None:
    cluster.run("rbd", "-c", cluster.conf, "create", "images/half", "--size", "10M")
    assert await rbd.names() == ["half"]
    for ask in (rbd.size("half"), anext(rbd.read("half", 0, 1))):
        with pytest.raises(NotFound):
            await ask
    await rbd.put("half", 5, pieces(b"hello"))
    assert b"".join([piece async for piece in rbd.read("half", 0, 5)]) == b"hello"
    await rbd.remove("half")


@engines
async def test_zeros_take_no_room_and_come_back(rbd: RbdBackend, cluster: Ceph) -> None:
    data = bytes(24 << 20) + b"x"
    await rbd.put("one", len(data), pieces(data))
    used = cluster.run("rbd", "-c", cluster.conf, "du", "images/one@snap", "--format", "json")
    assert json.loads(used)["images"][0]["used_size"] <= 8 << 20
    assert b"".join([piece async for piece in rbd.read("one", 0, len(data))]) == data
    await rbd.remove("one")


@engines
async def test_an_image_with_clones_stays_until_they_are_gone(rbd: RbdBackend, cluster: Ceph) -> None:
    await rbd.put("one", 5, pieces(b"hello"))
    cluster.run("rbd", "-c", cluster.conf, "clone", "--rbd-default-clone-format", "1", "images/one@snap", "images/child")
    with pytest.raises(Unavailable):
        await rbd.remove("one")
    assert await rbd.size("one") == 5
    cluster.run("rbd", "-c", cluster.conf, "rm", "images/child")
    await rbd.remove("one")


@engines
async def test_a_user_without_rights_or_a_pool_that_is_not_there_is_unavailable(rbd: RbdBackend) -> None:
    for wrong in ({"pool": "elsewhere"}, {"user": "nobody"}, {"conf": "/nowhere/ceph.conf"}, {"keyring": "/nowhere/keyring"}):
        backend = RbdBackend(replace(rbd.cluster, **wrong))
        with pytest.raises(Unavailable):
            await backend.names()


async def test_a_machine_without_ceph_says_so(tmp_path: Path) -> None:
    told = Cluster(str(tmp_path / "ceph.conf"), "glance", "", "images")
    with pytest.raises(Unavailable) as absent:
        await RbdBackend(told, python=str(tmp_path / "python3")).names()
    assert "python3" in (absent.value.detail or "")
    bare = tmp_path / "bare"
    bare.write_text('#!/bin/sh\nshift; exec /usr/bin/python3 -S -I "$@"\n')
    bare.chmod(0o755)
    with pytest.raises(Unavailable) as missing:
        await RbdBackend(told, python=str(bare)).names()
    assert "python3-rbd are missing" in (missing.value.detail or "")


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with s3_server() as found:
        yield found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cloud(cluster: Ceph, endpoint: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[AreaApi]:
    bucket = bucket_at(endpoint)
    stores: Any = {"ceph": RbdStore(conf=str(cluster.conf), timeout_s=3), "s3": S3Store(endpoint, bucket.name, *KEYS)}
    settings = Settings(simulate=True, image=ImageSettings(stores=stores, default_store="ceph"))
    async with areas(tmp_path_factory.mktemp("home"), settings, [image_module.module(settings)]) as api:
        yield api


@engines
async def test_data_wanders_through_all_kinds_of_stores(cloud: AreaApi) -> None:
    alice, admin = cloud.client("red/member", "/image"), cloud.client("admin/admin", "/image")
    image = await make(alice, data=DATA)
    assert image["stores"] == "ceph"
    here = "ceph"
    for there in ("s3", "ceph", "pool", "s3", "pool", "ceph"):
        body = {"method": {"name": "copy-image"}, "stores": [there]}
        assert (await admin.post(f"{image['self']}/import", json=body)).status_code == 202
        await cloud.settle()
        shown = (await alice.get(image["self"])).json()
        assert sorted(shown["stores"].split(",")) == sorted([here, there]), shown
        assert (await admin.delete(f"/v2/stores/{here}/{image['id']}")).status_code == 204
        await cloud.settle()
        assert (await alice.get(image["file"])).content == DATA
        here = there
    assert await cloud.doctor() == []
    await alice.delete(image["self"])
    await cloud.settle()
    held = await cloud.cloud.areas["image"].inventory()
    assert held.stores == {"pool": [], "ceph": [], "s3": []} and held.bases == held.arriving == []


@engines
async def test_a_cluster_that_does_not_move_is_503_and_comes_back(cloud: AreaApi, cluster: Ceph) -> None:
    alice = cloud.client("red/member", "/image")
    there, new = await make(alice, data=DATA), await make(alice)
    osd = next(p for p in cluster.started if isinstance(p.args, list) and "ceph-osd" in str(p.args[0]))
    osd.send_signal(signal.SIGSTOP)
    try:
        assert (await alice.get(there["file"])).status_code == 503
        put = await alice.put(new["file"], content=DATA, headers=OCTETS)
        assert put.status_code == 503, put.text
    finally:
        osd.send_signal(signal.SIGCONT)
    assert (await alice.get(there["file"])).content == DATA
    assert (await alice.put(new["file"], content=DATA, headers=OCTETS)).status_code == 204
    for image in (there, new):
        await alice.delete(image["self"])
    await cloud.settle()
    assert await cloud.doctor() == []
