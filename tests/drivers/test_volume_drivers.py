"""The one suite that every volume driver passes (drivers/base.py says what is promised)."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from moln.kernel.errors import BackendRefused
from moln.kernel.rbd import RbdPool
from moln.volume.drivers.base import Backups, ImageExport, Reimages, Snapshots, VolumeDriver
from moln.volume.drivers.fake import FakeVolumes
from moln.volume.drivers.pool import PoolDriver
from moln.volume.drivers.rbd import RbdVolumes

pytestmark = pytest.mark.asyncio
IMAGE = str(uuid.UUID(int=1))


@pytest_asyncio.fixture(params=["fake", "pool", pytest.param("rbd", marks=pytest.mark.engines)])
async def driver(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[VolumeDriver]:
    if request.param == "fake":
        yield FakeVolumes(images={IMAGE: 1})
        return
    for name in ("base", "incoming"):
        (tmp_path / "images" / name).mkdir(parents=True)
    with open(tmp_path / "images" / "base" / IMAGE, "wb") as file:
        file.write(b"image!")
        file.truncate(1 << 20)
    rbd = RbdPool(request.getfixturevalue("in_ceph")) if request.param == "rbd" else None
    pool = RbdVolumes(rbd, tmp_path / "pool", tmp_path / "images") if rbd else PoolDriver(tmp_path / "pool", tmp_path / "images")
    await pool.start()
    yield pool
    if rbd:
        await leave_nothing(pool)
        assert [name for name in rbd.ask("names") if not name.startswith("base-")] == []
    await pool.stop()


async def leave_nothing(driver: VolumeDriver) -> None:
    """The cluster is there for a module of tests."""
    held = await driver.inventory()
    for volume in held.volumes:
        await driver.remove_volume(volume)
    for snapshot in held.snapshots:
        await driver.remove_snapshot(snapshot)


def fresh() -> str:
    return str(uuid.uuid4())


async def test_a_volume_is_made_once_however_often_it_is_asked_for(driver: VolumeDriver) -> None:
    volume = fresh()
    await driver.ensure_volume(volume, 1)
    await driver.ensure_volume(volume, 1)
    assert (await driver.inventory()).volumes == [volume]
    assert await driver.find_connection(volume) is not None


async def test_removing_twice_is_as_good_as_once(driver: VolumeDriver) -> None:
    volume = fresh()
    await driver.ensure_volume(volume, 1)
    await driver.remove_volume(volume)
    await driver.remove_volume(volume)
    assert (await driver.inventory()).volumes == []
    assert await driver.find_connection(volume) is None


async def test_a_volume_begins_as_its_image(driver: VolumeDriver) -> None:
    volume = fresh()
    await driver.ensure_volume(volume, 2, "image", IMAGE)
    assert (await driver.inventory()).volumes == [volume]


async def test_an_unknown_source_is_refused_and_leaves_nothing(driver: VolumeDriver) -> None:
    for kind in ("image", "snapshot", "volume"):
        with pytest.raises(BackendRefused):
            await driver.ensure_volume(fresh(), 1, kind, fresh())
    assert (await driver.inventory()).volumes == []


async def test_a_source_must_fit(driver: VolumeDriver) -> None:
    big = fresh()
    await driver.ensure_volume(big, 2)
    with pytest.raises(BackendRefused):
        await driver.ensure_volume(fresh(), 1, "volume", big)
    assert (await driver.inventory()).volumes == [big]


async def test_extending_never_shrinks(driver: VolumeDriver) -> None:
    volume = fresh()
    await driver.ensure_volume(volume, 2)
    await driver.extend_volume(volume, 1)
    with pytest.raises(BackendRefused):
        await driver.ensure_volume(fresh(), 1, "volume", volume)
    await driver.extend_volume(volume, 3)
    with pytest.raises(BackendRefused):
        await driver.ensure_volume(fresh(), 2, "volume", volume)


async def test_extending_what_is_not_there_is_refused(driver: VolumeDriver) -> None:
    with pytest.raises(BackendRefused):
        await driver.extend_volume(fresh(), 2)


async def test_a_snapshot_outlives_its_volume_and_makes_volumes(driver: VolumeDriver) -> None:
    assert isinstance(driver, Snapshots)
    volume, snapshot, copy = fresh(), fresh(), fresh()
    await driver.ensure_volume(volume, 1)
    await driver.ensure_snapshot(snapshot, volume)
    await driver.remove_volume(volume)
    await driver.ensure_snapshot(snapshot, volume)  # it is there: nothing to do
    await driver.ensure_volume(copy, 1, "snapshot", snapshot)
    await driver.remove_snapshot(snapshot)
    await driver.remove_snapshot(snapshot)
    held = await driver.inventory()
    assert (held.volumes, held.snapshots) == ([copy], [])


async def test_a_snapshot_of_nothing_is_refused(driver: VolumeDriver) -> None:
    assert isinstance(driver, Snapshots)
    with pytest.raises(BackendRefused):
        await driver.ensure_snapshot(fresh(), fresh())


async def test_a_volume_begins_anew_at_its_size(driver: VolumeDriver) -> None:
    assert isinstance(driver, Reimages)
    volume = fresh()
    await driver.ensure_volume(volume, 3)
    for _ in range(2):
        await driver.reimage_volume(volume, IMAGE)
    with pytest.raises(BackendRefused):
        await driver.ensure_volume(fresh(), 2, "volume", volume)  # it has still 3 GiB
    with pytest.raises(BackendRefused):
        await driver.reimage_volume(fresh(), IMAGE)
    with pytest.raises(BackendRefused):
        await driver.reimage_volume(volume, fresh())
    assert (await driver.inventory()).volumes == [volume]


async def test_export_of_nothing_is_refused(driver: VolumeDriver) -> None:
    assert isinstance(driver, ImageExport)
    with pytest.raises(BackendRefused):
        await driver.ensure_image_data(fresh(), fresh())


async def test_the_pool_tells_how_full_it_is(driver: VolumeDriver) -> None:
    pool = await driver.pool()
    assert 0 <= pool.free_gib <= pool.total_gib


async def test_a_backup_is_made_once_outlives_its_volume_and_comes_back(driver: VolumeDriver) -> None:
    assert isinstance(driver, Backups)
    volume, backup, again, other = fresh(), fresh(), fresh(), fresh()
    await driver.ensure_volume(volume, 1)
    facts = await driver.ensure_backup(backup, "volume", volume)
    assert facts.size_bytes == 1 << 30
    assert await driver.ensure_backup(backup, "volume", volume) == facts == await driver.find_backup(backup)
    await driver.remove_volume(volume)
    await driver.ensure_volume(again, 2, "backup", backup)
    await driver.ensure_volume(other, 1)
    await driver.restore_backup(other, backup)
    await driver.restore_backup(other, backup)
    held = await driver.inventory()
    assert held.volumes == sorted([again, other]) and held.backups == [backup]


async def test_a_backup_that_others_were_made_upon_goes_and_they_stay(driver: VolumeDriver) -> None:
    volume, first, second = fresh(), fresh(), fresh()
    await driver.ensure_volume(volume, 1)
    await driver.ensure_backup(first, "volume", volume)
    await driver.ensure_backup(second, "volume", volume, first)
    for _ in range(2):
        await driver.remove_backup(first)
    assert await driver.find_backup(first) is None
    await driver.restore_backup(volume, second)
    assert (await driver.inventory()).backups == [second]


async def test_what_is_not_there_or_does_not_fit_is_refused_of_backups(driver: VolumeDriver) -> None:
    small, large, backup, snapshot = fresh(), fresh(), fresh(), fresh()
    await driver.ensure_volume(small, 1)
    await driver.ensure_volume(large, 2)
    for source in ("volume", "snapshot"):
        with pytest.raises(BackendRefused):
            await driver.ensure_backup(fresh(), source, fresh())
    with pytest.raises(BackendRefused):
        await driver.restore_backup(small, fresh())
    await driver.ensure_snapshot(snapshot, large)
    await driver.ensure_backup(backup, "snapshot", snapshot)
    with pytest.raises(BackendRefused):
        await driver.restore_backup(small, backup)
    with pytest.raises(BackendRefused):
        await driver.ensure_volume(fresh(), 1, "backup", backup)
