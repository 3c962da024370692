"""Imports into a bucket whose process died anywhere: the next one ends them, and neither machine keeps what no row names."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from tests.image.asking import OCTETS, make
from tests.image.conftest import Settings
from tests.image.dying import Died, Dying
from tests.image.s3 import KEYS, Between, bucket_at
from tests.wire.areas import AreaApi, areas

import moln.image.module as image_module
from moln.image.drivers.uploads import FileUpload
from moln.image.settings import ImageSettings, S3Store
from moln.image.work import tasks as work
from moln.kernel.work import Work

pytestmark = pytest.mark.asyncio(loop_scope="module")
DATA = bytes(range(256)) * 4000


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cloud(server: Between, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[AreaApi]:
    home: Path = tmp_path_factory.mktemp("remote-faults")
    s3 = S3Store(server.endpoint, bucket_at(f"http://{server.behind}").name, *KEYS, timeout_s=5)
    settings = Settings(simulate=True, image=ImageSettings(stores={"s3": s3}, default_store="s3", import_unpack=True))
    async with areas(home, settings, [image_module.module(settings)]) as api:
        yield api


async def left_over(cloud: AreaApi) -> dict[str, Any]:
    held = await cloud.cloud.areas["image"].inventory()
    return {"stores": held.stores, "arriving": held.arriving, "bases": held.bases}


async def test_an_import_whose_process_died_is_ended_by_the_next(cloud: AreaApi, monkeypatch: pytest.MonkeyPatch) -> None:
    alice = cloud.client("red/member", "/image")
    here, db = cloud.cloud.areas["image"], cloud.cloud.db
    for point in range(1, 40):
        image = await make(alice)
        await alice.put(f"{image['self']}/stage", content=gzip.compress(DATA), headers=OCTETS)
        await alice.post(f"{image['self']}/import", json={"method": {"name": "glance-direct"}})
        dying = Dying(point)
        with monkeypatch.context() as patch:
            patch.setattr(db, "write", dying.around(db.write))
            for verb in ("prepare", "adopt", "settled"):
                patch.setattr(here, verb, dying.around(getattr(here, verb)))
            patch.setattr(here.remote["s3"], "put", dying.around(here.remote["s3"].put))
            for task in await work.find(db, 0):
                try:
                    await work.settle(Work(cloud.cloud), task)
                except Died:
                    break
        await cloud.settle()
        after = (await alice.get(image["self"])).json()
        assert (after["status"], after["size"]) == ("active", len(DATA)), point
        assert after["stores"] == "s3"
        held = await left_over(cloud)
        assert held["arriving"] == [] and [len(names) for names in held["stores"].values()] == [0, 1], point
        assert (await alice.get(image["file"])).content == DATA
        assert (await alice.delete(image["self"])).status_code == 204
        if dying.left > 0:
            break
    assert point >= 9, "it has so many steps at least"
    await cloud.settle()
    assert await left_over(cloud) == {"stores": {"pool": [], "s3": []}, "arriving": [], "bases": []}
    assert await cloud.doctor() == []


async def test_an_upload_whose_process_died_leaves_nothing_in_the_bucket(cloud: AreaApi, monkeypatch: pytest.MonkeyPatch) -> None:
    here = cloud.cloud.areas["image"]
    alice = cloud.client("red/member", "/image")

    async def nothing(upload: FileUpload) -> None:
        upload.close()

    for verb in ("put", "settled"):
        image = await make(alice)
        dying = Dying(2 if verb == "put" else 1)
        with monkeypatch.context() as patch:
            patch.setattr(FileUpload, "abandon", nothing)
            where = here.remote["s3"] if verb == "put" else here
            patch.setattr(where, verb, dying.around(getattr(where, verb)))
            with pytest.raises(Died):
                await alice.put(image["file"], content=DATA, headers=OCTETS)
        assert (await left_over(cloud))["arriving"], "bytes were left behind"
        await cloud.settle()
        after = (await alice.get(image["self"])).json()
        assert after["status"] == ("queued" if verb == "put" else "active")
        held = await left_over(cloud)
        assert held["arriving"] == [] and held["stores"] == {"pool": [], "s3": [] if verb == "put" else held["bases"]}
        await alice.delete(image["self"])
        await cloud.settle()
    assert await cloud.doctor() == []
