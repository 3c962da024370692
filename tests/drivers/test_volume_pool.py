"""What only the pool of files promises: bytes, crash safety, and distrust of the images folder."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from moln.kernel import files
from moln.kernel.errors import BackendRefused, BackendUnreachable
from moln.volume.drivers.pool import GIB, PoolDriver

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def pool(tmp_path: Path) -> AsyncIterator[PoolDriver]:
    for name in ("base", "incoming"):
        (tmp_path / "images" / name).mkdir(parents=True)
    pool = PoolDriver(tmp_path / "pool", tmp_path / "images")
    await pool.start()
    yield pool
    await pool.stop()


def fresh() -> str:
    return str(uuid.uuid4())


async def test_bytes_survive_snapshot_clone_extend_and_revert(pool: PoolDriver) -> None:
    volume, snapshot, clone = fresh(), fresh(), fresh()
    await pool.ensure_volume(volume, 1)
    path = pool.volumes / volume
    with open(path, "r+b") as file:
        file.seek(GIB - 5)
        file.write(b"first")
    await pool.ensure_snapshot(snapshot, volume)
    with open(path, "r+b") as file:
        file.seek(GIB - 5)
        file.write(b"later")
    await pool.extend_volume(volume, 2)
    await pool.ensure_volume(clone, 1, "snapshot", snapshot)
    await pool.revert_volume(volume, snapshot)
    for name, size in ((clone, 1), (volume, 2)):
        with open(pool.volumes / name, "rb") as file:
            file.seek(GIB - 5)
            assert file.read(5) == b"first"
        stat = os.stat(pool.volumes / name)
        assert stat.st_size == size * GIB
        assert stat.st_blocks * 512 < 1 << 20, "holes stay holes"


async def test_a_volume_is_padded_beyond_its_image(pool: PoolDriver) -> None:
    image, volume = fresh(), fresh()
    (pool.bases / image).write_bytes(b"boot")
    await pool.ensure_volume(volume, 1, "image", image)
    with open(pool.volumes / volume, "rb") as file:
        assert file.read(8) == b"boot\0\0\0\0"
    assert (await pool.find_connection(volume)) is not None
    assert os.stat(pool.volumes / volume).st_mode & 0o777 == 0o600


async def test_an_image_that_is_a_link_or_a_pipe_is_refused(pool: PoolDriver, tmp_path: Path) -> None:
    secret, link, pipe = tmp_path / "shadow", fresh(), fresh()
    secret.write_text("root:*")
    (pool.bases / link).symlink_to(secret)
    os.mkfifo(pool.bases / pipe)
    for source in (link, pipe):
        with pytest.raises((BackendRefused, BackendUnreachable)):
            await pool.ensure_volume(fresh(), 1, "image", source)
    assert (await pool.inventory()).volumes == []


async def test_an_id_cannot_be_a_path(pool: PoolDriver) -> None:
    for wrong in ("../../etc/passwd", "", ".", "a" * 36, fresh() + "/x"):
        with pytest.raises(BackendRefused):
            await pool.ensure_volume(wrong, 1)
        with pytest.raises(BackendRefused):
            await pool.remove_volume(wrong)


async def test_what_a_crash_left_is_swept_at_start(pool: PoolDriver, tmp_path: Path) -> None:
    (pool.volumes / f"{files.TEMP_PREFIX}half").write_bytes(b"x")
    again = PoolDriver(tmp_path / "pool", tmp_path / "images")
    await again.start()
    assert os.listdir(pool.volumes) == []
    await again.stop()


async def test_two_at_once_make_one_volume_and_never_overwrite(pool: PoolDriver) -> None:
    volume = fresh()
    await asyncio.gather(*(pool.ensure_volume(volume, 1) for _ in range(6)))
    with open(pool.volumes / volume, "r+b") as file:
        file.write(b"guest data")
    await pool.ensure_volume(volume, 1)
    assert (pool.volumes / volume).read_bytes()[:10] == b"guest data"
    assert os.listdir(pool.volumes) == [volume]
    assert pool.turns == {}


async def test_a_copy_without_reflink_keeps_bytes_and_holes_and_can_be_stopped(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    with open(source, "wb") as file:
        file.seek(64 << 20)
        file.write(b"tail")
        file.truncate(GIB)
    with open(source, "rb") as a, open(target, "wb") as b:
        files.copy_sparse(a.fileno(), b.fileno())
    assert target.stat().st_size == GIB and target.stat().st_blocks * 512 < 1 << 20
    with open(target, "rb") as file:
        file.seek(64 << 20)
        assert file.read(4) == b"tail"
    with open(source, "rb") as a, open(target, "wb") as b, pytest.raises(InterruptedError):
        files.copy_sparse(a.fileno(), b.fileno(), stop=lambda: True)


async def test_an_exported_volume_lands_in_the_image_store_owned_by_its_user(pool: PoolDriver) -> None:
    volume, image = fresh(), fresh()
    await pool.ensure_volume(volume, 1)
    await pool.ensure_image_data(image, volume)
    await pool.ensure_image_data(image, volume)
    stat = os.stat(pool.incoming / image)
    assert stat.st_size == GIB and stat.st_uid == os.stat(pool.incoming).st_uid


def put(pool: PoolDriver, volume: str, at: int, content: bytes) -> None:
    with open(pool.volumes / volume, "r+b") as file:
        file.seek(at)
        file.write(content)


def read(pool: PoolDriver, volume: str, at: int, count: int) -> bytes:
    with open(pool.volumes / volume, "rb") as file:
        file.seek(at)
        return file.read(count)


async def test_a_backup_brings_the_bytes_back_and_keeps_holes(pool: PoolDriver) -> None:
    volume, backup, copy = fresh(), fresh(), fresh()
    await pool.ensure_volume(volume, 1)
    put(pool, volume, 0, b"head")
    put(pool, volume, GIB - 5, b"tail!")
    facts = await pool.ensure_backup(backup, "volume", volume)
    assert facts.objects == 2
    put(pool, volume, 0, b"lost")
    put(pool, volume, 100 << 20, b"lost")
    await pool.restore_backup(volume, backup)
    await pool.ensure_volume(copy, 2, "backup", backup)
    for name, size in ((volume, 1), (copy, 2)):
        assert read(pool, name, 0, 4) == b"head" and read(pool, name, GIB - 5, 5) == b"tail!"
        assert read(pool, name, 100 << 20, 4) == bytes(4)
        stat = os.stat(pool.volumes / name)
        assert stat.st_size == size * GIB and stat.st_blocks * 512 < 16 << 20


async def test_an_incremental_backup_keeps_only_what_changed_and_stands_alone(pool: PoolDriver) -> None:
    volume, first, second = fresh(), fresh(), fresh()
    await pool.ensure_volume(volume, 1)
    put(pool, volume, 0, b"same")
    put(pool, volume, 512 << 20, b"old")
    await pool.ensure_backup(first, "volume", volume)
    put(pool, volume, 512 << 20, b"new")
    await pool.ensure_backup(second, "volume", volume, first)
    links = {entry.name: entry.stat().st_nlink for entry in os.scandir(pool.backups / second) if entry.name.isdigit()}
    assert links == {"0": 2, "128": 1}
    await pool.remove_backup(first)
    put(pool, volume, 0, b"gone")
    await pool.restore_backup(volume, second)
    assert read(pool, volume, 0, 4) == b"same" and read(pool, volume, 512 << 20, 3) == b"new"


async def test_a_damaged_backup_is_refused_and_the_volume_is_as_it_was(pool: PoolDriver) -> None:
    volume, backup = fresh(), fresh()
    await pool.ensure_volume(volume, 1)
    put(pool, volume, 0, b"good")
    await pool.ensure_backup(backup, "volume", volume)
    put(pool, volume, 0, b"mine")
    with open(pool.backups / backup / "0", "r+b") as file:
        file.write(b"evil")
    with pytest.raises(BackendRefused, match="damaged: chunk 0"):
        await pool.restore_backup(volume, backup)
    os.unlink(pool.backups / backup / "0")
    with pytest.raises(BackendRefused, match="missing"):
        await pool.restore_backup(volume, backup)
    (pool.backups / backup / "manifest").write_bytes(b"{")
    with pytest.raises(BackendRefused, match="manifest"):
        await pool.find_backup(backup)
    assert read(pool, volume, 0, 4) == b"mine"


async def test_half_a_backup_is_swept_at_the_start(pool: PoolDriver, tmp_path: Path) -> None:
    half = pool.backups / f"{files.TEMP_PREFIX}{fresh()}"
    half.mkdir()
    (half / "0").write_bytes(b"half")
    again = PoolDriver(tmp_path / "pool", tmp_path / "images")
    await again.start()
    await again.stop()
    assert not half.exists() and (await pool.inventory()).backups == []
