"""Copies of images' files at several controllers, each with a folder of its own: where they are, how they come, what is wrong with them."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.image import disks
from tests.image.asking import make
from tests.image.controllers import DATA, Several, cloud, data_id_of, got

from moln.image.drivers.files import FileStore
from moln.image.drivers.peers import FILE
from moln.image.drivers.replicas import is_data
from moln.image.drivers.sandbox import Sandbox
from moln.image.model.images import Image, ImageStatus
from moln.image.model.replicas import COPIES, keeps
from moln.image.ops import data as ops
from moln.kernel.clock import Clock
from moln.kernel.errors import BackendUnreachable
from moln.kernel.nodes.gate import PORT_AFTER, GateClient

__all__ = ["cloud"]


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
