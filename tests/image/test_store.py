"""The image store of files, with real disk images and a real qemu-img (SEC-01 to SEC-04, SEC-07)."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from moln.image.drivers.base import Stored
from moln.image.drivers.files import FileStore
from moln.image.drivers.sandbox import Sandbox
from moln.kernel.errors import NotFound, TooLarge, UnsupportedMedia

from . import disks

pytestmark = [pytest.mark.skipif(not shutil.which("qemu-img"), reason="needs qemu-img")]
MIB = 1 << 20


@pytest_asyncio.fixture
async def store(tmp_path: Path) -> AsyncIterator[FileStore]:
    store = FileStore(tmp_path / "images", Sandbox(max_virtual=1 << 40))
    await store.start()
    yield store
    await store.stop()


async def put(store: FileStore, path: Path, disk_format: str, container: str = "bare", step: int = 65536) -> tuple[str, Stored]:
    data_id = str(uuid.uuid4())
    upload = await store.begin(data_id, most=1 << 30)
    try:
        data = path.read_bytes()
        for at in range(0, len(data), step):
            await upload.write(data[at : at + step])
        return data_id, await upload.finish(disk_format, container)
    except BaseException:
        await upload.abandon()
        raise


def everything(store: FileStore) -> list[str]:
    return [name for _, _, names in os.walk(store.root) for name in names]


async def test_what_comes_out_is_what_went_in(store: FileStore, tmp_path: Path) -> None:
    path = tmp_path / "disk"
    path.write_bytes(os.urandom(9 * MIB + 17))
    data_id, stored = await put(store, path, "raw")
    data = path.read_bytes()
    assert stored == Stored(len(data), len(data), hashlib.md5(data).hexdigest(), hashlib.sha512(data).hexdigest(), bootable=True)
    assert b"".join([piece async for piece in store.read(data_id, 0, len(data))]) == data
    assert b"".join([piece async for piece in store.read(data_id, 5 * MIB, MIB + 1)]) == data[5 * MIB : 6 * MIB + 1]
    held = await store.inventory()
    assert (held.data, held.bases, held.arriving) == ([data_id], [data_id], [])
    await store.remove(data_id)
    await store.remove(data_id)
    assert everything(store) == []


@pytest.mark.parametrize(
    ("claim", "name", "options"),
    [("qcow2", "qcow2", ()), ("vmdk", "vmdk", ()), ("vmdk", "vmdk", ("-o", "subformat=streamOptimized")),
     ("vdi", "vdi", ()), ("vhdx", "vhdx", ()), ("vhd", "vpc", ())],
)  # fmt: skip
async def test_an_honest_image_boots_as_raw(store: FileStore, tmp_path: Path, claim: str, name: str, options: tuple[str, ...]) -> None:
    data_id, stored = await put(store, disks.of_format(tmp_path / "disk", name, *options), claim)
    base = (store.root / "base" / data_id).read_bytes()
    assert base.startswith(b"a disk\0") and stored.bootable
    assert stored.virtual_size == len(base) >= 2 * MIB
    assert os.stat(store.root / "base" / data_id).st_blocks * 512 < MIB, "the base is sparse"


HOSTILE = {
    "backing": disks.qcow2_with_backing,
    "data-file": disks.qcow2_with_data_file,
    "flat": disks.vmdk_descriptor,
    "vmfs": lambda path: disks.vmdk_descriptor(path, "vmfs"),
    "huge": disks.huge_qcow2,
}


@pytest.mark.parametrize("kind", HOSTILE)
async def test_a_hostile_image_is_refused_under_any_name(store: FileStore, tmp_path: Path, kind: str) -> None:
    path = HOSTILE[kind](tmp_path / kind)
    for claim in ("qcow2", "vmdk", "raw", "iso", "aki"):
        with pytest.raises(UnsupportedMedia):
            await put(store, path, claim)
        assert everything(store) == []


@pytest.mark.parametrize("name", ["qcow2", "vmdk", "vpc", "vdi", "vhdx"])
async def test_a_disk_format_is_never_accepted_as_raw(store: FileStore, tmp_path: Path, name: str) -> None:
    with pytest.raises(UnsupportedMedia):
        await put(store, disks.of_format(tmp_path / "disk", name), "raw")


async def test_garbage_is_not_a_qcow2(store: FileStore, tmp_path: Path) -> None:
    path = tmp_path / "garbage"
    for content in (b"", b"QFI\xfb", os.urandom(4096), b"QFI\xfb\0\0\0\3" + os.urandom(4096)):
        path.write_bytes(content)
        with pytest.raises(UnsupportedMedia):
            await put(store, path, "qcow2")
    assert everything(store) == []


async def test_a_child_that_never_ends_is_killed_and_others_go_on(store: FileStore, tmp_path: Path) -> None:
    slow = tmp_path / "qemu-img"
    slow.write_text("#!/bin/sh\nexec sleep 60\n")
    slow.chmod(0o755)
    os.chmod(tmp_path, 0o755)
    sandbox = Sandbox()
    status, _ = await sandbox.run({"cpu_s": 5, "memory": 1 << 30, "file_size": 0}, "exec", "sleep", "60", timeout_s=0.5)
    assert status == -9
    await put(store, disks.raw(tmp_path / "disk"), "raw")


async def test_the_child_holds_no_privilege_and_few_resources() -> None:
    limits = {"cpu_s": 5, "memory": 1 << 30, "file_size": 1 << 20}
    status, output = await Sandbox().run(
        limits, "exec", "sh", "-c", "id -u; ulimit -f; ulimit -c; grep NoNewPrivs /proc/self/status", timeout_s=10
    )
    assert output.count(b"\n") == 4, output
    uid, blocks, core, privileges = output.decode().split("\n")[:4]
    assert status == 0 and int(uid) != 0 and core == "0" and privileges.split()[1] == "1"
    assert int(blocks) * 512 == 1 << 20


async def test_an_upload_that_grows_too_large_leaves_nothing(store: FileStore) -> None:
    upload = await store.begin(str(uuid.uuid4()), most=MIB)
    with pytest.raises(TooLarge):
        for _ in range(3):
            await upload.write(bytes(MIB // 2))
    await upload.abandon()
    await upload.abandon()
    assert everything(store) == []


async def test_an_upload_cancelled_while_it_writes_leaves_nothing(store: FileStore) -> None:
    upload = await store.begin(str(uuid.uuid4()), most=1 << 30)

    async def feed() -> None:
        try:
            while True:
                await upload.write(bytes(MIB))
        except BaseException:
            await upload.abandon()
            raise

    task = asyncio.create_task(feed())
    while upload.received < 12 * MIB:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert everything(store) == []


async def test_data_of_containers_that_nothing_opens_is_kept_and_never_boots(store: FileStore, tmp_path: Path) -> None:
    data_id, stored = await put(store, disks.qcow2_with_backing(tmp_path / "disk"), "qcow2", "ova")
    assert not stored.bootable and stored.virtual_size is None
    assert (await store.inventory()).bases == []
    with pytest.raises(NotFound):
        [piece async for piece in store.read(str(uuid.uuid4()), 0, 1)]
    await store.remove(data_id)


async def test_a_disk_that_a_node_left_becomes_an_image_however_often_it_is_adopted(store: FileStore, tmp_path: Path) -> None:
    data_id = str(uuid.uuid4())
    disks.raw(store.root / "incoming" / data_id)
    first = await store.adopt(data_id, "raw", "bare")
    assert await store.adopt(data_id, "raw", "bare") == first
    assert first.size == 2 * MIB and first.bootable
    with pytest.raises(NotFound):
        await store.adopt(str(uuid.uuid4()), "raw", "bare")


async def test_a_disk_in_which_a_guest_wrote_a_header_never_becomes_an_image(store: FileStore, tmp_path: Path) -> None:
    data_id = str(uuid.uuid4())
    disks.qcow2_with_backing(store.root / "incoming" / data_id)
    with pytest.raises(UnsupportedMedia):
        await store.adopt(data_id, "raw", "bare")
    await store.remove(data_id)
    assert everything(store) == []
