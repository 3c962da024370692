"""SEC-07 (OSSA-2016-012, CVE-2015-5162): an image that costs more than it weighs costs a child of ours its limits, and nobody else."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import struct
import sys
import uuid
import zlib
from pathlib import Path

import pytest
from tests.conftest import Api
from tests.image import disks

from moln.image.drivers import sandbox as limits
from moln.image.drivers.files import FileStore
from moln.image.drivers.sandbox import Sandbox
from moln.kernel.errors import UnsupportedMedia

NEEDS_QEMU_IMG = pytest.mark.skipif(not shutil.which("qemu-img"), reason="needs qemu-img")
FEW = {"cpu_s": 1, "memory": 256 << 20, "file_size": 1 << 16}
OCTETS = {"Content-Type": "application/octet-stream"}


async def ended(program: str) -> tuple[int, bytes]:
    return await Sandbox().run(FEW, "exec", sys.executable, "-I", "-c", program, timeout_s=60)


async def test_memory_processor_and_files_are_bounded() -> None:
    status, said = await ended("bytearray(1 << 30)")
    assert status == 1 and b"MemoryError" in said
    status, _ = await ended("while True: pass")
    assert status == -signal.SIGKILL or status == -signal.SIGXCPU
    status, said = await ended("import tempfile\nwith tempfile.TemporaryFile() as f: f.write(bytes(1 << 20)); f.flush()")
    assert status == -signal.SIGXFSZ or b"File too large" in said
    status, said = await ended("import os\nfor n in range(200): os.open('/dev/null', 0)")
    assert status == 1 and b"Too many open files" in said


async def test_what_a_child_says_is_bounded() -> None:
    _, said = await ended("import sys\nfor n in range(64): sys.stdout.write('x' * (1 << 16))")
    assert len(said) == limits.OUTPUT


def huge_l1(path: Path) -> Path:
    """A table of 2^31 entries, in a file of 64 KiB."""
    disks.qemu_img("create", "-f", "qcow2", path, "1M")
    data = bytearray(path.read_bytes())
    data[36:40] = struct.pack(">I", 0x7FFFFFFF)
    path.write_bytes(data)
    return path


def huge_refcounts(path: Path) -> Path:
    disks.qemu_img("create", "-f", "qcow2", path, "1M")
    data = bytearray(path.read_bytes())
    data[56:60] = struct.pack(">I", 0xFFFFFFFF)
    path.write_bytes(data)
    return path


def many_snapshots(path: Path) -> Path:
    disks.qemu_img("create", "-f", "qcow2", path, "1M")
    data = bytearray(path.read_bytes())
    data[60:64] = struct.pack(">I", 0xFFFFFFFF)
    path.write_bytes(data)
    return path


def endless_text(path: Path) -> Path:
    """A VMDK whose descriptor never says what it is."""
    path.write_bytes(b"# Disk DescriptorFile\n" + b"version=1\n" * (1 << 18))
    return path


def deflated(path: Path) -> Path:
    """A stream-optimised VMDK's magic before a hundred MiB of zeros, deflated."""
    path.write_bytes(b"KDMV" + struct.pack("<II", 3, 0x30001) + zlib.compress(bytes(100 << 20), 9))
    return path


BOMBS = {made.__name__: made for made in (disks.huge_qcow2, huge_l1, huge_refcounts, many_snapshots, endless_text, deflated)}


@NEEDS_QEMU_IMG
@pytest.mark.parametrize("kind", BOMBS)
async def test_a_bomb_is_refused_and_leaves_nothing(tmp_path: Path, kind: str) -> None:
    store = FileStore(tmp_path / "images", Sandbox(max_virtual=1 << 40))
    await store.start()
    content = BOMBS[kind](tmp_path / "bomb").read_bytes()
    for claim in ("qcow2", "vmdk"):
        upload = await store.begin(str(uuid.uuid4()), most=1 << 30)
        await upload.write(content)
        with pytest.raises(UnsupportedMedia):
            await upload.finish(claim, "bare")
        await upload.abandon()
    held = await store.inventory()
    assert (held.data, held.bases, held.arriving) == ([], [], [])
    await store.stop()


async def test_the_service_answers_while_images_are_looked_into(api: Api) -> None:
    """Every turn of the sandbox is taken by a child that waits for us; others ask, list and even upload what needs no look."""
    sandbox = api.cloud.areas["image"].sandbox
    read, write = os.pipe()
    wait = ("exec", sys.executable, "-I", "-c", "import sys; sys.stdin.read()")
    busy = [asyncio.create_task(sandbox.run(FEW, *wait, stdin=read, timeout_s=60)) for _ in range(2)]
    body = {"name": "x", "disk_format": "qcow2", "container_format": "bare"}
    image = (await api.member.post("/image/v2/images", json=body)).json()
    upload = asyncio.create_task(api.member.put(f"/image{image['file']}", content=b"QFI\xfb", headers=OCTETS))
    async with asyncio.timeout(30):
        for path in ("/image/v2/images", f"/image/v2/images/{image['id']}", "/compute/v2.1/flavors", "/healthz"):
            assert (await api.member.get(path)).status_code == 200
        opaque = (await api.member.post("/image/v2/images", json=body | {"container_format": "ova"})).json()
        assert (await api.member.put(f"/image{opaque['file']}", content=b"x", headers=OCTETS)).status_code == 204
        assert not upload.done()
        os.close(write)
        assert (await upload).status_code == 415
        assert await asyncio.gather(*busy) == [(0, b"")] * 2
    os.close(read)
