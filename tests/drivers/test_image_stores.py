"""The one suite that every image store passes (image/drivers/base.py says what is promised), whichever its data lies in."""

from __future__ import annotations

import asyncio
import hashlib
import os
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from tests.image.ceph import available, ceph
from tests.image.s3 import bucket_at, s3_server

from moln.image.drivers.base import Backend, Stored
from moln.image.drivers.files import FileStore
from moln.image.drivers.rbd import Cluster, RbdBackend
from moln.image.drivers.s3 import S3Backend
from moln.image.drivers.sandbox import Sandbox
from moln.kernel.errors import NotFound, TooLarge, UnsupportedMedia

pytestmark = pytest.mark.asyncio
MIB = 1 << 20
DATA = os.urandom(MIB) * 9 + b"the end"
STORES = ["pool", "s3", pytest.param("rbd", marks=pytest.mark.engines), pytest.param("rgw", marks=pytest.mark.engines)]


@pytest.fixture(scope="module")
def remote(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """What makes a backend of a kind: servers are begun once, when one is first asked for."""
    begun: dict[str, Any] = {}

    def make(kind: str) -> Backend:
        if kind == "s3" and kind not in begun:
            context = s3_server()
            begun[kind] = bucket_at(context.__enter__())
            request.addfinalizer(lambda: context.__exit__(None, None, None))
        if kind in ("rbd", "rgw") and "ceph" not in begun:
            if not available():
                pytest.skip("needs root and Ceph's packages")
            cluster = ceph(tmp_path_factory.mktemp("ceph"))
            begun["ceph"] = cluster.__enter__()
            request.addfinalizer(lambda: cluster.__exit__(None, None, None))
        if kind == "rbd":
            return RbdBackend(Cluster(str(begun["ceph"].conf), "glance", "", "images", timeout_s=10))
        if kind == "rgw" and kind not in begun:
            begun[kind] = bucket_at(begun["ceph"].s3())
        return S3Backend(begun[kind], prefix="images/", part=5 * MIB)

    yield make


@pytest_asyncio.fixture(params=STORES)
async def store(request: pytest.FixtureRequest, tmp_path: Path, remote: Any) -> AsyncIterator[FileStore]:
    further = {"other": tmp_path / "other"}
    kind = request.param
    backends = {kind: remote(kind)} if kind != "pool" else {}
    store = FileStore(tmp_path / "images", Sandbox(max_virtual=1 << 40), convert=False, further=further, remote=backends, default=kind)
    await store.start()
    yield store
    held = await store.inventory()
    assert (held.data, held.bases, held.arriving, held.silent) == ([], [], [], []), "each test leaves nothing"
    await store.stop()


async def put(store: FileStore, data: bytes = DATA, stores: tuple[str, ...] = (), disk_format: str = "raw") -> tuple[str, Stored]:
    data_id = str(uuid.uuid4())
    upload = await store.begin(data_id, most=1 << 30)
    try:
        for at in range(0, len(data), MIB):
            await upload.write(data[at : at + MIB])
        stored = await upload.finish(disk_format, "bare", stores)
    except BaseException:
        await upload.abandon()
        raise
    await store.settled(data_id)
    return data_id, stored


async def got(store: FileStore, data_id: str, start: int = 0, length: int = len(DATA)) -> bytes:
    return b"".join([piece async for piece in store.read(data_id, start, length)])


async def test_what_comes_out_is_what_went_in(store: FileStore) -> None:
    data_id, stored = await put(store)
    digests = hashlib.md5(DATA).hexdigest(), hashlib.sha512(DATA).hexdigest()
    assert stored == Stored(len(DATA), len(DATA), *digests, bootable=True)
    assert await got(store, data_id) == DATA
    held = await store.inventory()
    assert held.stores[store.default] == [data_id] and held.bases == [data_id] and held.arriving == []
    await store.remove(data_id)
    await store.remove(data_id)
    with pytest.raises(NotFound):
        await got(store, data_id)


@pytest.mark.parametrize(("start", "length"), [(0, 1), (5, 4 * MIB), (5 * MIB - 1, 2), (len(DATA) - 3, 3), (7, len(DATA) - 7)])
async def test_any_range_can_be_read(store: FileStore, start: int, length: int) -> None:
    data_id, _ = await put(store)
    assert await got(store, data_id, start, length) == DATA[start : start + length]
    await store.remove(data_id)


async def test_a_reader_that_leaves_holds_nothing_up(store: FileStore) -> None:
    data_id, _ = await put(store)
    for _ in range(12):
        pieces = store.read(data_id, 0, len(DATA))
        assert DATA.startswith(await anext(pieces))
        await pieces.aclose()
    assert await got(store, data_id) == DATA
    await store.remove(data_id)


async def test_empty_data_and_one_byte_are_data(store: FileStore) -> None:
    for data in (b"", b"x"):
        data_id, stored = await put(store, data, disk_format="aki") if data else await put_container(store)
        assert stored.size == len(data) and await got(store, data_id, 0, len(data)) == data
        assert (await store.inventory()).stores[store.default] == [data_id]
        await store.remove(data_id)


async def put_container(store: FileStore) -> tuple[str, Stored]:
    data_id = str(uuid.uuid4())
    upload = await store.begin(data_id, most=1)
    stored = await upload.finish("raw", "ova")
    await store.settled(data_id)
    return data_id, stored


async def test_data_lies_in_all_the_stores_that_were_asked_for(store: FileStore) -> None:
    data_id, _ = await put(store, stores=("other", store.default))
    held = (await store.inventory()).stores
    assert sorted(name for name, names in held.items() if data_id in names) == sorted(["other", store.default])
    await store.drop(data_id, "other")
    assert await got(store, data_id) == DATA
    await store.remove(data_id)


async def test_a_copy_goes_out_and_comes_back(store: FileStore) -> None:
    data_id, _ = await put(store)
    for _ in range(2):
        await store.copy(data_id, "other")
    await store.drop(data_id, store.default)
    assert [name for name, names in (await store.inventory()).stores.items() if names] == ["other"]
    for _ in range(2):
        await store.copy(data_id, store.default)
    await store.drop(data_id, "other")
    await store.drop(data_id, "other")
    assert await got(store, data_id) == DATA
    await store.remove(data_id)
    with pytest.raises(NotFound):
        await store.copy(data_id, "other")
    with pytest.raises(NotFound):
        await store.copy(data_id, store.default)


async def test_an_upload_that_is_given_up_leaves_nothing(store: FileStore) -> None:
    upload = await store.begin(str(uuid.uuid4()), most=MIB)
    with pytest.raises(TooLarge):
        await upload.write(bytes(2 * MIB))
    await upload.abandon()
    await upload.abandon()


async def test_what_is_not_what_it_claims_to_be_is_never_kept(store: FileStore) -> None:
    with pytest.raises(UnsupportedMedia):
        await put(store, disk_format="qcow2")


async def test_data_that_was_kept_and_given_up_after_all_leaves_nothing(store: FileStore) -> None:
    data_id = str(uuid.uuid4())
    upload = await store.begin(data_id, most=1 << 30)
    await upload.write(DATA)
    await upload.finish("raw", "bare")
    await upload.abandon()


async def test_a_finish_that_is_cancelled_leaves_nothing(store: FileStore) -> None:
    upload = await store.begin(str(uuid.uuid4()), most=1 << 30)
    await upload.write(DATA)
    for turns in range(1, 40, 13):
        upload = await store.begin(str(uuid.uuid4()), most=1 << 30) if turns > 1 else upload
        if turns > 1:
            await upload.write(DATA)
        task = asyncio.create_task(upload.finish("raw", "bare"))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task})
        await upload.abandon()


async def test_what_was_staged_is_adopted_however_often_it_is_asked(store: FileStore) -> None:
    data_id = str(uuid.uuid4())
    upload = await store.begin(data_id, most=1 << 30)
    await upload.write(DATA)
    assert await upload.stage() == len(DATA)
    first = await store.adopt(data_id, "raw", "bare")
    assert await store.adopt(data_id, "raw", "bare") == first and first.bootable
    await store.settled(data_id)
    await store.settled(data_id)
    assert await got(store, data_id) == DATA
    await store.remove(data_id)


async def test_stores_are_told_of_without_secrets(store: FileStore) -> None:
    about = store.about(store.default)
    assert about["type"] in ("file", "s3", "rbd") and about["properties"]
    assert "secret" not in str(about) + store.url(store.default, "one") and store.url(store.default, "one").endswith(("/one", "/one/snap"))
    assert store.names()[0] == store.default
