"""Images' files among several controllers, each with a folder of its own."""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from tests import databases
from tests.image import disks
from tests.image.asking import OCTETS, make
from tests.image.controllers import One, Several, got

from moln.image.drivers.files import FileStore
from moln.image.drivers.peers import FILE
from moln.image.drivers.replicas import is_data
from moln.image.drivers.sandbox import Sandbox
from moln.image.model.images import Image, ImageStatus
from moln.image.model.replicas import COPIES, keeps
from moln.image.ops import data as ops
from moln.image.ops import images as image_ops
from moln.image.settings import ImageSettings
from moln.image.store import images as store
from moln.image.store import replicas
from moln.image.work.replicas import look
from moln.kernel.clock import Clock
from moln.kernel.errors import BackendUnreachable
from moln.kernel.nodes.gate import PORT_AFTER, GateClient

DATA = os.urandom(3 << 20) + bytes(2 << 20) + os.urandom(17)


@pytest.fixture
async def cloud(tmp_path: Path, database: str) -> AsyncIterator[Several]:
    db = await databases.opened(tmp_path)
    several = Several(tmp_path, db)
    await several.join("c1")
    await several.join("c2")
    yield several
    await several.close()
    await db.close()


async def data_id_of(cloud: Several, image: dict[str, Any]) -> str:
    found = await store.find(cloud.db, image["id"])
    assert found is not None and found.data_id is not None
    return found.data_id


def test_three_folders_keep_each_image_and_all_agree_which() -> None:
    folders = {f"f{n}" for n in range(7)}
    for number in range(50):
        name = f"data-{number}"
        first = {f for f in folders if keeps(f, name, folders, {"f3"})}
        assert "f3" in first and len(first) == COPIES
        assert {f for f in folders if keeps(f, name, folders, first)} == first, "once they have it, they are the ones"
        left = folders - {"f3"}
        again = {f for f in left if keeps(f, name, left, first - {"f3"})}
        assert len(again) == COPIES and first - {"f3"} < again, "one that goes is followed by one other"
    assert {f for f in ("a", "b", "c") if keeps(f, "x", {"a", "b", "c"}, {"a"})} == {"a", "b", "c"}
    assert len({tuple(sorted(f for f in folders if keeps(f, f"d{n}", folders, ()))) for n in range(50)}) > 10, "not always the same ones"


async def test_an_image_is_whole_at_both_before_and_after_it_came_and_when_the_first_is_dead(cloud: Several) -> None:
    one, two = cloud.all["c1"], cloud.all["c2"]
    image = await make(one.alice, data=DATA)
    assert image["status"] == "active" and two.files() == []
    assert await got(two.alice, image) == DATA, "streamed through"
    assert await got(two.alice, image, Range="bytes=3145700-3145800") == DATA[3145700:3145801]
    assert two.files() == [], "and not kept by that"
    await cloud.settle()
    name = await data_id_of(cloud, image)
    assert one.files() == two.files() == [f"base/{name}", f"data/{name}"]
    assert os.stat(two.store.root / "data" / name).st_blocks * 512 <= os.stat(one.store.root / "data" / name).st_blocks * 512
    assert await cloud.holders(name) == {"c1", "c2"}
    assert await one.wrong() == await two.wrong() == []
    await one.die()
    assert await got(two.alice, image) == DATA
    assert (two.store.root / "base" / name).read_bytes() == DATA
    assert (await two.alice.delete(image["self"])).status_code == 204
    await cloud.settle()
    assert one.files() == two.files() == []


@pytest.mark.skipif(not shutil.which("qemu-img"), reason="needs qemu-img")
async def test_what_was_converted_comes_as_it_boots(cloud: Several, tmp_path: Path) -> None:
    one, two = cloud.all["c1"], cloud.all["c2"]
    image = await make(one.alice, data=disks.of_format(tmp_path / "disk", "qcow2").read_bytes(), disk_format="qcow2")
    await cloud.settle()
    name = await data_id_of(cloud, image)
    base = two.store.root / "base" / name
    assert base.read_bytes() == (one.store.root / "base" / name).read_bytes() and base.read_bytes().startswith(b"a disk\0")
    assert base.stat().st_blocks * 512 < 1 << 20, "holes stay holes"


async def test_one_that_joins_fetches_what_is_there_and_a_fourth_only_when_one_goes(cloud: Several) -> None:
    made = [await make(cloud.all["c1"].alice, f"disk-{n}", data=DATA[:4096] + bytes([n])) for n in range(6)]
    names = [await data_id_of(cloud, image) for image in made]
    await cloud.settle()
    three = await cloud.join("c3")
    await cloud.settle()
    assert three.files() == cloud.all["c1"].files() and len(three.files()) == 12
    four = await cloud.join("c4")
    await cloud.settle()
    assert four.files() == [] and await got(four.alice, made[3]) == DATA[:4096] + b"\3"
    assert await four.wrong() == []
    await cloud.remove("c2")
    assert [await cloud.holders(name) for name in names] == [{"c1", "c3"}] * 6, "a removed one's are not counted on"
    await cloud.settle()
    assert [await cloud.holders(name) for name in names] == [{"c1", "c3", "c4"}] * 6
    late = await make(four.alice, "late", data=DATA)
    five = await cloud.join("c5")
    await cloud.settle()
    assert len(await cloud.holders(await data_id_of(cloud, late))) == COPIES
    assert await got(five.alice, late) == DATA


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


async def test_it_is_said_who_had_what_nobody_has_now(cloud: Several) -> None:
    one, two = cloud.all["c1"], cloud.all["c2"]
    image = await make(one.alice, data=DATA)
    await one.die()
    answer = await two.alice.get(image["file"])
    assert answer.status_code == 503 and "c1 had it. Start one of these" in answer.text, answer.text
    assert (await two.alice.get(image["self"])).json()["status"] == "active"


async def test_a_download_goes_on_at_another_controller_when_one_ends_in_the_middle(cloud: Several) -> None:
    three = await cloud.join("c3")
    content = os.urandom(1 << 20) * 48
    image = await make(cloud.all["c1"].alice, data=content)
    await cloud.all["c2"].settle()
    ctx = three.cloud.system_context()
    read = await ops.begin_read(ctx, await ops.download(ctx, image["id"]), 0, len(content))
    came = bytearray()
    async for piece in read:
        if not came:
            await cloud.all["c1"].die()
        came += piece
    assert bytes(came) == content


async def test_wrong_bytes_never_appear(cloud: Several) -> None:
    image = await make(cloud.all["c1"].alice, data=DATA)
    name = await data_id_of(cloud, image)
    two, three = cloud.all["c2"], await cloud.join("c3")
    await three.settle()
    file = cloud.all["c1"].store.root / "data" / name
    file.chmod(0o600)
    with open(file, "r+b") as out:
        out.write(b"evil")
    await two.settle()
    assert (two.store.root / "data" / name).read_bytes() == DATA, "the next one that has it was asked"
    await two.die()
    await three.die()
    four = await cloud.join("c4")
    await cloud.remove("c2")
    await cloud.remove("c3")
    await four.settle()
    assert four.files() == [], "rather nothing"


async def test_a_file_that_an_ended_import_left_is_not_taken_for_the_data(cloud: Several) -> None:
    two = cloud.all["c2"]
    image = await make(cloud.all["c1"].alice, data=DATA)
    name = await data_id_of(cloud, image)
    (two.store.root / "data" / name).write_bytes(DATA[:-1] + b"x")
    await two.settle()
    assert (two.store.root / "data" / name).read_bytes() == DATA


async def test_what_is_lost_at_one_is_told_and_comes_again(cloud: Several) -> None:
    two = cloud.all["c2"]
    image = await make(cloud.all["c1"].alice, data=DATA)
    await cloud.settle()
    name = await data_id_of(cloud, image)
    for folder in ("data", "base"):
        (two.store.root / folder / name).unlink()
    assert [m.replace(name, "N") for m in await two.wrong()] == [
        "An image's data N in the store pool is missing at this controller.", "An image's raw base N is missing at this controller.",
    ]  # fmt: skip
    assert await cloud.all["c1"].wrong() == []
    await two.settle()
    await two.settle()
    assert await two.wrong() == [] and (two.store.root / "base" / name).read_bytes() == DATA


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


async def test_nodes_may_not_read_what_controllers_may(cloud: Several) -> None:
    one = cloud.all["c1"]
    image = await make(one.alice, data=DATA)
    thief = GateClient("127.0.0.1", one.cloud.settings.port + PORT_AFTER, cloud.passport("node", "n1"), Clock().now_us)
    with pytest.raises(Exception, match=r"no peer\.image") as refused:
        await thief.open(FILE, "data", await data_id_of(cloud, image))
    assert not isinstance(refused.value, BackendUnreachable)
    peer = GateClient("127.0.0.1", one.cloud.settings.port + PORT_AFTER, cloud.passport("controller", "c2"), Clock().now_us)
    for kind, name in (("data", "../../tls/controller.pem"), ("../tls", "controller.pem"), ("base", ".."), ("data", ".folder")):
        with pytest.raises(Exception, match="There is no"):
            await peer.open(FILE, kind, name)


class Died(BaseException):
    pass


class Dying:
    """The nth beginning or end of what it is put around is the process's last."""

    def __init__(self, left: int) -> None:
        self.left = left

    def around(self, fn: Any) -> Any:
        async def call(*args: Any, **kwargs: Any) -> Any:
            self.step()
            found = await fn(*args, **kwargs)
            self.step()
            return found

        return call

    def step(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise Died


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


async def test_an_image_without_a_hash_is_never_right(tmp_path: Path) -> None:
    here = FileStore(tmp_path, Sandbox())
    (tmp_path / "x").write_bytes(b"abc")
    image = Image(
        "i", "p", "n", ImageStatus.ACTIVE, "shared", "bare", "raw", 0, 0, size=3, os_hash_value=hashlib.sha512(b"abc").hexdigest()
    )
    with open(tmp_path / "x", "rb") as file:
        assert await is_data(here, file.fileno(), image)
        assert not await is_data(here, file.fileno(), replace(image, os_hash_value=None))
        assert not await is_data(here, file.fileno(), replace(image, size=2))
    await here.stop()
