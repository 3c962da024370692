"""Which folder a controller's images lie in: one that it shares with another, one that was unmounted."""

from __future__ import annotations

import os
import shutil
from typing import Any

import pytest
from tests.image.asking import make
from tests.image.controllers import DATA, Several, cloud, data_id_of, got

from moln.image.work.replicas import look

__all__ = ["cloud"]


async def test_controllers_that_share_a_folder_copy_nothing(cloud: Several, monkeypatch: pytest.MonkeyPatch) -> None:
    one = cloud.all["c1"]
    both = await cloud.join("c3", shares=one)
    assert both.cloud.areas["image-replicas"].folder == one.cloud.areas["image-replicas"].folder

    async def never(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("something is copied")

    monkeypatch.setattr(both.store.peers, "fetch", never)
    image = await make(one.alice, data=DATA)
    await both.settle()
    assert await got(both.alice, image) == DATA and await both.wrong() == []
    await cloud.settle()
    assert await cloud.holders(await data_id_of(cloud, image)) == {"c1", "c2", "c3"}
    await one.die()
    await both.die()
    await cloud.remove("c3")
    assert "c1" in await cloud.holders(await data_id_of(cloud, image))
    assert (await cloud.all["c2"].alice.delete(image["self"])).status_code == 204
    await cloud.settle()
    assert one.files() == []


async def test_who_begins_leaves_alone_what_another_one_writes_in_the_same_folder(cloud: Several) -> None:
    one, two = cloud.all["c1"], cloud.all["c2"]
    for each in (one.store, two.store):
        for folder, name in (("base", "now"), ("data", "now"), ("data", "long-ago")):
            (each.root / folder / f".tmp-{name}").write_bytes(b"x")
        os.utime(each.root / "data/.tmp-long-ago", (1, 1))
    await cloud.join("c3", shares=one)
    assert [p.name for folder in ("base", "data") for p in (one.store.root / folder).iterdir()] == [".tmp-now", ".tmp-now"]
    here = two.cloud.areas["image-replicas"]
    here.folder = ""  # as after its start
    await look(two.cloud)
    assert here.folder and [*(two.store.root / "base").iterdir(), *(two.store.root / "data").iterdir()] == [], "it is nobody else's"


async def test_a_mount_that_went_is_another_folder_and_is_known_when_it_is_back(cloud: Several) -> None:
    two, here = cloud.all["c2"], cloud.all["c2"].cloud.areas["image-replicas"]
    image = await make(cloud.all["c1"].alice, data=DATA)
    await cloud.settle()
    root, before, files = two.store.root, here.folder, two.files()
    root.rename(root.with_name("unmounted"))
    for _ in range(2):
        await two.settle()
    assert here.folder != before and two.files() == files, "all of it came into the folder that is seen now"
    shutil.rmtree(root)
    root.with_name("unmounted").rename(root)
    await two.settle()
    assert here.folder == before and two.files() == files and await two.wrong() == []
    assert await cloud.holders(await data_id_of(cloud, image)) == {"c1", "c2"}
