"""Imports among several controllers, each with a folder of its own: what one has becomes an image at another."""

from __future__ import annotations

import gzip
import hashlib

import pytest
from tests.image.asking import OCTETS, make
from tests.image.controllers import DATA, Several, cloud, data_id_of, got

from moln.image.model.images import ImageStatus
from moln.image.ops import data as ops
from moln.image.ops import images as image_ops
from moln.image.settings import ImageSettings
from moln.image.store import images as store
from moln.image.store import replicas

__all__ = ["cloud"]


@pytest.mark.parametrize("packed", [False, True])
async def test_what_was_staged_at_one_is_imported_at_the_other(cloud: Several, packed: bool) -> None:
    one, two = [await cloud.join(f"i{n}", image=ImageSettings(import_unpack=packed)) for n in (1, 2)]
    image = await make(one.alice)
    staged = gzip.compress(DATA) if packed else DATA
    assert (await one.alice.put(f"{image['self']}/stage", content=staged, headers=OCTETS)).status_code == 204
    assert (await two.alice.post(f"{image['self']}/import", json={"method": {"name": "glance-direct"}})).status_code == 202
    await two.settle()
    after = (await two.alice.get(image["self"])).json()
    assert (after["status"], after["os_hash_value"]) == ("active", hashlib.sha512(DATA).hexdigest()), after
    await cloud.settle()
    name = await data_id_of(cloud, image)
    for each in (one, two):
        assert await got(each.alice, image) == DATA
        assert [f for f in each.files() if not f.startswith(("data/", "base/"))] == [], name


async def test_an_import_waits_for_whoever_has_what_was_staged(cloud: Several) -> None:
    one, two = cloud.all["c1"], cloud.all["c2"]
    image = await make(one.alice)
    assert (await one.alice.put(f"{image['self']}/stage", content=DATA, headers=OCTETS)).status_code == 204
    assert (await two.alice.post(f"{image['self']}/import", json={"method": {"name": "glance-direct"}})).status_code == 202
    gate = one.gate
    assert gate is not None
    await gate.close()
    await two.settle()
    assert (await two.alice.get(image["self"])).json()["status"] == "importing"
    await gate.start()
    await two.settle()
    assert (await two.alice.get(image["self"])).json()["status"] == "active"


async def test_what_a_node_brought_to_one_is_adopted_at_the_other(cloud: Several) -> None:
    one, two = cloud.all["c1"], cloud.all["c2"]
    ctx = two.cloud.system_context()
    spec = image_ops.ImageSpec(name="snapshot", disk_format="raw", container_format="bare", owner="red")
    made = await cloud.db.write(image_ops.create_in, ctx, spec)
    made = await cloud.db.write(lambda tx: ops.arrive_in(tx, ctx, made, ImageStatus.SAVING, ctx.new_id()))
    made = await cloud.db.write(lambda tx: store.save(tx, made, from_node=True))
    (one.store.root / "incoming" / (made.data_id or "")).write_bytes(DATA)
    await cloud.db.write(lambda tx: replicas.put(tx, made.data_id or "", one.cloud.areas["image-replicas"].folder, None))
    after = await ops.adopt(ctx, made.id)
    assert after.size == len(DATA) and after.os_hash_value == hashlib.sha512(DATA).hexdigest()
    await cloud.settle()
    assert one.files() == two.files() == [f"base/{made.data_id}", f"data/{made.data_id}"]


async def test_a_copy_into_another_store_is_made_where_the_data_is_not_yet(cloud: Several) -> None:
    several = [await cloud.join(f"s{n}", image=ImageSettings(stores={"slow": "slow"})) for n in (1, 2)]
    image = await make(several[0].alice, data=DATA)
    asked = {"method": {"name": "copy-image"}, "stores": ["slow"]}
    assert (await several[1].admin.post(f"{image['self']}/import", json=asked)).status_code == 202
    await several[1].settle()
    after = (await several[1].alice.get(image["self"])).json()
    assert sorted(after["stores"].split(",")) == ["pool", "slow"], after
    for one in several:
        await one.settle()
        await one.settle()
        assert (one.store.folders["slow"] / await data_id_of(cloud, image)).read_bytes() == DATA
        assert await one.wrong() == []
