"""What an import unpacks and converts, in children that bombs cost no more than their limits (SEC-07)."""

from __future__ import annotations

import bz2
import functools
import gzip
import io
import lzma
import os
import shutil
import uuid
import zipfile
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from tests.image import disks
from tests.image.asking import OCTETS, make
from tests.image.conftest import Settings
from tests.image.web import WebSite, serving
from tests.wire.areas import AreaApi, areas

import moln.image.module as image_module
from moln.image.drivers.files import FileStore
from moln.image.drivers.preparing import Preparation
from moln.image.drivers.sandbox import Sandbox
from moln.image.ops.quotas import QUOTA
from moln.image.settings import ImageSettings
from moln.kernel.errors import Invalid, TooLarge, UnsupportedMedia

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.skipif(not shutil.which("qemu-img"), reason="needs qemu-img")]
MIB = 1 << 20
DISK = b"a disk" + os.urandom(3 * MIB) + bytes(5 * MIB) + b"its end"
UNPACK = Preparation(unpack=True, output="", most=1 << 30)


def zipped(*names: str, data: bytes = DISK) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.writestr(name, data)
    return held.getvalue()


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress, "gzip of two members": lambda data: gzip.compress(data[: 2 * MIB]) + gzip.compress(data[2 * MIB :]),
    "bzip2": bz2.compress, "xz": lzma.compress, "zip": lambda data: zipped("folder/", "folder/disk.raw", data=data), "nothing": bytes,
}  # fmt: skip


@functools.cache
def packed(kind: str) -> bytes:
    """Made by the first test that wants it: that takes seconds, and most runs collect this file without running it."""
    return PACKERS[kind](DISK)


@functools.cache
def bomb(kind: str) -> bytes:
    return zipped("disk", data=bytes(64 * MIB)) if kind == "zip" else PACKERS[kind](bytes(64 * MIB))


@pytest_asyncio.fixture(loop_scope="module")
async def store(tmp_path: Path) -> AsyncIterator[FileStore]:
    store = FileStore(tmp_path / "images", Sandbox(max_virtual=1 << 40))
    await store.start()
    yield store
    held = await store.inventory()
    for name in {*held.data, *held.arriving}:
        await store.remove(name)
    assert [name for _, _, names in os.walk(store.root) for name in names] == []
    await store.stop()


async def staged(store: FileStore, data: bytes) -> str:
    data_id = str(uuid.uuid4())
    upload = await store.begin(data_id, most=1 << 30)
    for at in range(0, len(data), MIB):
        await upload.write(data[at : at + MIB])
    await upload.stage()
    return data_id


async def content(store: FileStore, data_id: str, size: int) -> bytes:
    return b"".join([piece async for piece in store.read(data_id, 0, size)])


@pytest.mark.parametrize("kind", PACKERS)
async def test_what_is_packed_is_unpacked_once_however_often_it_is_asked(store: FileStore, kind: str) -> None:
    data_id = await staged(store, packed(kind))
    for _ in range(2):
        await store.prepare(data_id, "raw", "bare", UNPACK)
    stored = await store.adopt(data_id, "raw", "bare")
    await store.prepare(data_id, "raw", "bare", UNPACK)
    assert stored == await store.adopt(data_id, "raw", "bare")
    assert stored.size == len(DISK) and await content(store, data_id, len(DISK)) == DISK
    if kind != "nothing":
        assert os.stat(store.root / "data" / data_id).st_blocks * 512 < 5 * MIB, "zeros are holes"


async def test_what_is_compressed_on_purpose_stays_so(store: FileStore) -> None:
    data_id = await staged(store, packed("gzip"))
    await store.prepare(data_id, "raw", "compressed", UNPACK)
    assert (await store.adopt(data_id, "raw", "compressed")).size == len(packed("gzip"))


@pytest.mark.parametrize("kind", ["gzip", "bzip2", "xz", "zip"])
async def test_a_bomb_ends_at_its_bound_and_leaves_nothing(store: FileStore, kind: str) -> None:
    assert len(bomb(kind)) < 200_000
    data_id = await staged(store, bomb(kind))
    with pytest.raises(TooLarge):
        await store.prepare(data_id, "raw", "bare", Preparation(True, "", 16 * MIB))
    assert os.listdir(store.root / "ready") == []


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "cut off": lambda data: data[: len(data) // 2],
    "changed": lambda data: data[: len(data) // 2] + os.urandom(64) + data[len(data) // 2 + 64 :],
    "only the beginning": lambda data: data[:6] + os.urandom(4096),
}
HEADER = b"\2\0!\1\x28\0\0\0"
BROKEN: dict[str, Callable[[], bytes]] = {
    "two files": lambda: zipped("one", "two", data=b"x"),
    "no file": lambda: zipped("folder/", data=b""),
    "xz that wants all memory": lambda: b"\xfd7zXZ\0\0\4\xe6\xd6\xb4F" + HEADER + zlib.crc32(HEADER).to_bytes(4, "little"),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("kind", ["gzip", "bzip2", "xz", "zip"])
async def test_what_is_damaged_is_refused(store: FileStore, kind: str, damage: str) -> None:
    await refused(store, DAMAGES[damage](packed(kind)))


@pytest.mark.parametrize("kind", BROKEN)
async def test_what_is_no_single_file_is_refused(store: FileStore, kind: str) -> None:
    await refused(store, BROKEN[kind]())


async def refused(store: FileStore, data: bytes) -> None:
    data_id = await staged(store, data)
    with pytest.raises(UnsupportedMedia):
        await store.prepare(data_id, "raw", "bare", UNPACK)
    assert os.listdir(store.root / "ready") == []


@pytest.mark.parametrize(
    ("name", "claim", "output"), [("qcow2", "qcow2", "raw"), ("vmdk", "vmdk", "raw"), ("vdi", "vdi", "qcow2"), ("raw", "raw", "qcow2")]
)
async def test_disks_are_converted_to_the_format_that_is_wanted(
    store: FileStore, tmp_path: Path, name: str, claim: str, output: str
) -> None:
    disk = disks.of_format(tmp_path / "disk", name)
    data_id = await staged(store, gzip.compress(disk.read_bytes()))
    await store.prepare(data_id, claim, "bare", Preparation(True, output, 1 << 30))
    stored = await store.adopt(data_id, output, "bare")
    assert stored.bootable and stored.virtual_size is not None and stored.virtual_size >= 2 * MIB
    assert (store.root / "base" / data_id).read_bytes().startswith(b"a disk\0")
    head = await content(store, data_id, 4)
    assert head == (b"QFI\xfb" if output == "qcow2" else b"a di")


async def test_a_disk_that_promises_a_mountain_is_not_converted(store: FileStore, tmp_path: Path) -> None:
    disks.qemu_img("create", "-f", "qcow2", tmp_path / "disk", "8G")
    data_id = await staged(store, (tmp_path / "disk").read_bytes())
    with pytest.raises(TooLarge):
        await store.prepare(data_id, "qcow2", "bare", Preparation(False, "raw", 1 << 30))


@pytest.mark.parametrize("kind", ["backing", "data-file", "flat"])
async def test_a_hostile_disk_is_refused_before_it_is_converted_also_when_it_is_packed(store: FileStore, tmp_path: Path, kind: str) -> None:
    make_it: Any = {"backing": disks.qcow2_with_backing, "data-file": disks.qcow2_with_data_file, "flat": disks.vmdk_descriptor}[kind]
    data_id = await staged(store, gzip.compress(make_it(tmp_path / "disk").read_bytes()))
    with pytest.raises(UnsupportedMedia):
        await store.prepare(data_id, "vmdk" if kind == "flat" else "qcow2", "bare", Preparation(True, "raw", 1 << 30))
    data_id = await staged(store, gzip.compress(make_it(tmp_path / "again").read_bytes()))
    await store.prepare(data_id, "raw", "bare", UNPACK)
    with pytest.raises(UnsupportedMedia):
        await store.adopt(data_id, "raw", "bare")


@pytest.fixture(scope="module")
def site() -> Iterator[WebSite]:
    with serving() as found:
        yield found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cloud(site: WebSite, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[AreaApi]:
    allow = [f"127.0.0.1:{site.port}"]
    settings = Settings(image=ImageSettings(import_unpack=True, import_format="raw", import_allow=allow))
    async with areas(tmp_path_factory.mktemp("preparing"), settings, [image_module.module(settings)]) as api:
        yield api


async def ended(cloud: AreaApi, client: httpx.AsyncClient, image: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    await cloud.settle()
    shown = (await client.get(image["self"])).json()
    (task,) = (await client.get(f"{image['self']}/tasks")).json()["tasks"]
    return shown, task


@pytest.mark.parametrize("method", ["glance-direct", "web-download"])
async def test_an_import_unpacks_and_converts_and_says_what_it_became(cloud: AreaApi, site: WebSite, tmp_path: Path, method: str) -> None:
    client = cloud.client("red/member", "/image")
    data = gzip.compress(disks.of_format(tmp_path / "disk", "qcow2").read_bytes())
    image = await make(client, disk_format="qcow2")
    if method == "glance-direct":
        assert (await client.put(f"{image['self']}/stage", content=data, headers=OCTETS)).status_code == 204
    body = {"method": {"name": method} | ({"uri": site.put("/disk.gz", data)} if method == "web-download" else {})}
    assert (await client.post(f"{image['self']}/import", json=body)).status_code == 202
    shown, task = await ended(cloud, client, image)
    assert (shown["status"], shown["disk_format"], shown["size"], task["status"]) == ("active", "raw", 2 * MIB, "success"), task
    assert (await client.get(image["file"])).content.startswith(b"a disk\0")
    await client.delete(image["self"])
    await cloud.settle()
    assert await cloud.doctor() == []


async def test_a_bomb_fails_its_import_at_the_quota_and_leaves_nothing(cloud: AreaApi) -> None:
    client = cloud.client("blue/member", "/image")
    await cloud.cloud.db.write(QUOTA.set_limits, "blue", {"image_size_total": 20})
    image = await make(client)
    assert (await client.put(f"{image['self']}/stage", content=bomb("gzip"), headers=OCTETS)).status_code == 204
    assert (await client.post(f"{image['self']}/import", json={"method": {"name": "glance-direct"}})).status_code == 202
    shown, task = await ended(cloud, client, image)
    assert (shown["status"], task["status"]) == ("queued", "failure") and "larger than" in task["message"], task
    await cloud.settle()
    held = await cloud.cloud.areas["image"].inventory()
    assert held.data == held.arriving == [] and await cloud.doctor() == []


async def test_signed_images_and_plain_uploads_stay_as_they_came(cloud: AreaApi) -> None:
    client = cloud.client("red/member", "/image")
    data = gzip.compress(DISK)
    plain = await make(client, data=data)
    assert plain["size"] == len(data)
    says = {f"img_signature{name}": "x" for name in ("", "_hash_method", "_key_type", "_certificate_uuid")}
    signed = await make(client, **says)
    assert (await client.put(f"{signed['self']}/stage", content=data, headers=OCTETS)).status_code == 204
    assert (await client.post(f"{signed['self']}/import", json={"method": {"name": "glance-direct"}})).status_code == 202
    shown, task = await ended(cloud, client, signed)
    assert shown["status"] == "queued" and "hash method" in task["message"], "it was looked at, and not made something else"
    for image in (plain, signed):
        await client.delete(image["self"])
    await cloud.settle()


async def test_a_format_that_is_none_is_refused(tmp_path: Path) -> None:
    settings = Settings(simulate=True, image=ImageSettings(import_format="vhdx"))
    with pytest.raises(Invalid, match="import_format"):
        async with areas(tmp_path, settings, [image_module.module(settings)]):
            pass
