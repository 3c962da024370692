"""Controllers that die among the fetching and importing of images: whoever goes on has all of it right."""

from __future__ import annotations

import pytest
from tests.image.asking import OCTETS, make
from tests.image.controllers import DATA, One, Several, cloud, data_id_of, got
from tests.image.dying import Died, Dying

__all__ = ["cloud"]


async def test_a_controller_killed_at_any_step_of_fetching_goes_on_when_it_is_back(cloud: Several, monkeypatch: pytest.MonkeyPatch) -> None:
    two: One = cloud.all["c2"]
    fetch = next(r for r in two.modules[0].reconcilers if r.name == "image-replicas")
    for point in range(1, 200):
        image = await make(cloud.all["c1"].alice, data=DATA[:70000])
        dying = Dying(point)
        with monkeypatch.context() as patch:
            patch.setattr(two.store, "run", dying.around(two.store.run))
            patch.setattr(two.store.peers, "fetch", dying.around(two.store.peers.fetch))  # type: ignore[union-attr]
            patch.setattr(cloud.db, "write", dying.around(cloud.db.write))
            try:
                for missing in await fetch.find(cloud.db, 0):
                    await fetch.settle(two.workers._work, missing)
            except Died:
                pass
        name = await data_id_of(cloud, image)
        if dying.left > 0:
            break
        (two.store.root / "base" / ".tmp-of-the-dead").write_bytes(b"x")
        await two.store.start()
        await two.settle()
        assert [p.name for folder in ("data", "base") for p in (two.store.root / folder).iterdir()] == [name, name], point
        assert (two.store.root / "data" / name).read_bytes() == DATA[:70000] and await two.wrong() == [], point
        assert (await two.alice.delete(image["self"])).status_code == 204
        await cloud.settle()
        assert two.files() == [], point
    assert point >= 10, "it has so many steps at least"


async def test_one_that_dies_among_an_import_is_followed_by_the_other(cloud: Several, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = cloud.all["c1"], cloud.all["c2"]
    for point in range(1, 60):
        image = await make(one.alice)
        await one.alice.put(f"{image['self']}/stage", content=DATA[:70000], headers=OCTETS)
        await two.alice.post(f"{image['self']}/import", json={"method": {"name": "glance-direct"}})
        dying = Dying(point)
        with monkeypatch.context() as patch:
            for verb in ("prepare", "adopt", "settled", "make_base", "arrive"):
                patch.setattr(two.store, verb, dying.around(getattr(two.store, verb)))
            patch.setattr(cloud.db, "write", dying.around(cloud.db.write))
            tasks = next(r for r in two.modules[0].reconcilers if r.name == "image-tasks")
            try:
                for task in await tasks.find(cloud.db, 0):
                    await tasks.settle(two.workers._work, task)
            except Died:
                pass
        await one.settle()  # it has the task now; the other is back later
        await cloud.settle()
        await cloud.settle()
        after = (await one.alice.get(image["self"])).json()
        assert after["status"] == "active", (point, after)
        name = await data_id_of(cloud, image)
        assert one.files() == two.files() == [f"base/{name}", f"data/{name}"], point
        assert await got(two.alice, image) == DATA[:70000]
        assert await one.wrong() == await two.wrong() == []
        assert (await two.alice.delete(image["self"])).status_code == 204
        await cloud.settle()
        if dying.left > 0:
            break
    assert point >= 8, "it has so many steps at least"
