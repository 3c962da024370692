"""What disks and volumes in Ceph promise besides the contracts, on a real Ceph: their bytes, crashes, a cluster that does not move, whose key is read."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from moln.compute.drivers.rbd_disks import RbdDisks
from moln.host.settings import Disks
from moln.kernel.errors import BackendRefused, BackendUnreachable, Invalid
from moln.kernel.rbd import GIB, Access, RbdPool, name_of
from moln.kernel.rbd.pool import CHILD
from moln.node.settings import rbd_pool
from moln.volume.drivers.rbd import RbdVolumes

engines = pytest.mark.engines
MIB = 1 << 20
LONG_MIB = 640  # of an image that takes seconds to bring in
DATA = os.urandom(5 * MIB) + bytes(20 * MIB) + os.urandom(MIB) + b"the end"

OTHER_HOST = """
import sys, rados
sys.path.insert(0, "%s")
import child
conf, user, keyring, pool, name = sys.argv[1:]
with rados.Rados(conffile=conf, name=f"client.{user}", conf={"keyring": keyring}) as cluster, cluster.open_ioctx(pool) as opened:
    with child.Images(cluster, opened).turn(name):
        print("has its turn", flush=True)
        sys.stdin.read()
""" % CHILD.parent


def fresh() -> str:
    return str(uuid.uuid4())


def protected(access: Access, name: str) -> bool:
    """Whether clones may stand on it, the last that is done for a base."""
    with contextlib.suppress(subprocess.CalledProcessError):  # it is being made
        return "yes" in rbd(access, "snap", "ls", name)
    return False


@pytest.fixture
def pool(in_ceph: Access) -> Iterator[RbdPool]:
    made = RbdPool(in_ceph)
    yield made
    for name in made.ask("names"):
        made.ask("remove", name=name)
    assert listed(in_ceph, "ls") == [] and listed(in_ceph, "trash", "ls") == [], "each test leaves nothing"
    made.stop()


@pytest.fixture
def images(tmp_path: Path) -> Path:
    for name in ("base", "incoming"):
        (tmp_path / "images" / name).mkdir(parents=True)
    return tmp_path / "images"


@pytest.fixture
def image(images: Path) -> str:
    (images / "base" / (id := fresh())).write_bytes(DATA)
    return id


def rbd(access: Access, *args: str) -> str:
    command = ["rbd", "-c", access.conf, "--id", access.user, "--keyring", access.keyring, "-p", access.pool, *args]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


def listed(access: Access, *args: str) -> list[str]:
    return rbd(access, *args).split()


def contents(disks: RbdDisks, images: Path, disk: str) -> bytes:
    """Of a disk, as it would become an image."""
    disks.export(image := fresh(), disk, lambda copy: copy())
    return (images / "incoming" / image).read_bytes()


def remove_in_time(pool: RbdPool, name: str) -> None:
    """Ceph takes it for open until who died has not been heard of for 30 s."""
    end = time.monotonic() + 90
    while True:
        try:
            return pool.ask("remove", name=name)
        except BackendUnreachable:
            assert time.monotonic() < end
            time.sleep(0.5)


@engines
def test_a_disk_holds_its_image_and_zeros_beyond_it_and_shares_its_blocks(pool: RbdPool, images: Path, image: str) -> None:
    disks = RbdDisks(pool, images)
    made = disks.ensure(disk := fresh(), 1, image)
    assert (made.path, made.protocol, made.size_bytes) == (f"vms/disk-{disk}", "rbd", GIB)
    found = contents(disks, images, disk)
    assert found[: len(DATA)] == DATA and not found[len(DATA) :].strip(b"\0") and len(found) == GIB
    assert f"parent: vms/base-{image}@snap" in rbd(pool.access, "info", f"disk-{disk}")
    os.remove(images / "base" / image)
    disks.ensure(fresh(), 1, image)  # the base is in the pool: nobody needs the file any more


@engines
def test_a_copy_keeps_what_was_and_comes_back(pool: RbdPool, images: Path, image: str) -> None:
    disks = RbdDisks(pool, images)
    disks.ensure(disk := fresh(), 1, image)
    disks.copy(copy := fresh(), disk)
    (images / "other").write_bytes(b"written since")
    pool.ask("replace", name=name_of("disk", disk), by="none")  # nothing to do
    pool.ask("take", name=name_of("disk", other := fresh()), path=str(images / "other"), snap=False)
    pool.ask("replace", name=name_of("disk", disk), by=name_of("disk", other))
    assert contents(disks, images, disk) == b"written since"
    for _ in range(2):
        disks.restore(disk, copy)
    assert contents(disks, images, disk)[: len(DATA)] == DATA
    assert disks.ids() == (disk,)


@engines
def test_who_replaces_a_disk_twice_at_once_loses_none(pool: RbdPool, images: Path, image: str) -> None:
    disks = RbdDisks(pool, images)
    for _ in range(3):
        disks.ensure(disk := fresh(), 0, image)
        (images / "other").write_bytes(b"written since")
        pool.ask("take", name=(other := name_of("disk", fresh())), path=str(images / "other"), snap=False)
        with ThreadPoolExecutor(2) as threads:
            list(threads.map(lambda _, disk=disk, other=other: pool.ask("replace", name=name_of("disk", disk), by=other), range(2)))
        assert contents(disks, images, disk) == b"written since"
        disks.remove(disk)


@engines
def test_clones_upon_clones_end_at_a_depth_and_leave_nothing(pool: RbdPool, images: Path, image: str) -> None:
    disks = RbdDisks(pool, images)
    disks.ensure(last := fresh(), 0, image)
    for _ in range(8):
        disks.copy(copy := fresh(), last)
        disks.remove(last)
        last = copy
    assert contents(disks, images, last) == DATA
    assert len(listed(pool.access, "trash", "ls")) < 2 * 8


@engines
def test_two_nodes_that_need_an_image_at_once_both_have_it(pool: RbdPool, images: Path, image: str) -> None:
    pools = [RbdPool(pool.access) for _ in range(3)]
    made = [fresh() for _ in pools]
    with ThreadPoolExecutor(len(pools)) as threads:
        done = threads.map(lambda p, disk: RbdDisks(p, images).ensure(disk, 1, image).id, pools, made)
    assert list(done) == made
    assert sorted(listed(pool.access, "ls")) == sorted([f"base-{image}", *(f"disk-{disk}" for disk in made)])
    assert contents(RbdDisks(pool, images), images, made[2])[: len(DATA)] == DATA
    for p in pools:
        p.stop()


@engines
def test_an_image_is_given_its_name_while_no_other_host_gives_that(pool: RbdPool, images: Path, image: str) -> None:
    """librbd lets two renames to one name both succeed; what lost is found by nobody any more, nor by a sweep."""
    access, base = pool.access, name_of("base", image)
    other = subprocess.Popen(["/usr/bin/python3", "-c", OTHER_HOST, access.conf, access.user, access.keyring, access.pool, base],
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # fmt: skip
    try:
        assert other.stdout and other.stdout.readline() == "has its turn\n"
        with ThreadPoolExecutor(1) as threads:
            made = threads.submit(RbdDisks(pool, images).ensure, fresh(), 1, image)
            end = time.monotonic() + 30
            while not (hidden := [name for name in listed(access, "ls") if name.startswith("new-")]) or not protected(access, hidden[0]):
                assert time.monotonic() < end and base not in listed(access, "ls")
            assert not made.done() and base not in listed(access, "ls"), "it is whole, and waits"
            other.communicate(timeout=30)
            made.result(30)
        assert base in listed(access, "ls") and hidden[0] not in listed(access, "ls")
    finally:
        other.kill()
        other.wait(10)


@engines
def test_an_import_that_is_killed_leaves_no_base_and_is_begun_anew(pool: RbdPool, images: Path) -> None:
    image, some = fresh(), os.urandom(MIB)
    with open(images / "base" / image, "wb") as file:
        for _ in range(LONG_MIB):
            file.write(some)
    killed = RbdPool(pool.access)
    failed = threading.Event()

    def ensure() -> None:
        with pytest.raises(BackendUnreachable):
            RbdDisks(killed, images).ensure(fresh(), 1, image)
        failed.set()

    thread = threading.Thread(target=ensure)
    thread.start()
    end = time.monotonic() + 30
    while not any(name.startswith("new-") for name in listed(pool.access, "ls")) and time.monotonic() < end:
        pass
    killed.stop()
    thread.join(30)
    assert failed.is_set()
    left = [name for name in listed(pool.access, "ls") if not name.startswith("new-")]
    assert left == []
    disks = RbdDisks(pool, images)
    disks.ensure(disk := fresh(), 1, image)
    assert contents(disks, images, disk)[: LONG_MIB * MIB] == (images / "base" / image).read_bytes()
    for name in listed(pool.access, "ls"):
        if name.startswith("new-"):
            remove_in_time(pool, name)  # as a sweep does, an hour later


@engines
def test_a_disk_that_somebody_has_open_is_not_taken_away(pool: RbdPool, images: Path) -> None:
    disks = RbdDisks(pool, images)
    path = disks.ensure(disk := fresh(), 1, None).path
    access = pool.access
    reached = f"rbd:{path}:id={access.user}:conf={access.conf}:keyring={access.keyring}"
    with subprocess.Popen(["qemu-io", "-f", "raw", reached], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as opened:
        assert opened.stdin and opened.stdout
        opened.stdin.write("write 0 4k\n")
        opened.stdin.flush()
        while "wrote" not in opened.stdout.readline():
            pass
        with pytest.raises(BackendUnreachable, match="in use"):
            disks.remove(disk)
        assert disks.ids() == (disk,)
        opened.stdin.write("quit\n")
    disks.remove(disk)
    assert disks.ids() == ()


@engines
def test_a_cluster_that_does_not_move_is_said_to_be_away_in_time(in_ceph: Access) -> None:
    still = RbdPool(Access(in_ceph.conf, in_ceph.user, in_ceph.keyring, in_ceph.pool, timeout_s=1))
    assert still.ask("names") == []
    osds = [
        int(pid)
        for pid in subprocess.run(
            ["pgrep", "-f", f"ceph-(mon|osd).*{in_ceph.conf}"], capture_output=True, text=True, check=True
        ).stdout.split()
    ]
    for pid in osds:
        os.kill(pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        with pytest.raises(BackendUnreachable):
            still.ask("blank", name=name_of("disk", fresh()), size=GIB)
        assert time.monotonic() - began < 30
    finally:
        for pid in osds:
            os.kill(pid, signal.SIGCONT)
    end = time.monotonic() + 60
    while True:
        try:
            assert still.ask("names") == []
            break
        except BackendUnreachable:
            assert time.monotonic() < end
    still.stop()


@engines
def test_a_volume_that_dies_between_two_names_is_what_it_was_to_become(pool: RbdPool, images: Path, image: str, tmp_path: Path) -> None:
    async def run() -> None:
        volumes = RbdVolumes(pool, tmp_path / "pool", images)
        await volumes.start()
        volume, snapshot = fresh(), fresh()
        await volumes.ensure_volume(volume, 1, "image", image)
        await volumes.ensure_snapshot(snapshot, volume)
        await volumes.extend_volume(volume, 2)
        pool.ask("copy", name=f"next-{volume}", source=f"snapshot-{snapshot}", size=2 * GIB)
        pool.ask("remove", name=f"volume-{volume}")  # as far as it came
        assert await volumes.find_connection(volume) is None
        await volumes.revert_volume(volume, snapshot)
        found = await volumes.find_connection(volume)
        assert found is not None and (found.kind, found.protocol, found.path) == ("shared", "rbd", f"vms/volume-{volume}")
        assert pool.ask("size", name=f"volume-{volume}") == 2 * GIB
        await volumes.ensure_image_data(out := fresh(), volume)
        assert (images / "incoming" / out).read_bytes()[: len(DATA)] == DATA
        assert (await volumes.pool()).shared == pool.access.name

    asyncio.run(run())


@engines
def test_a_link_among_the_images_is_followed_nowhere(pool: RbdPool, images: Path) -> None:
    image = fresh()
    (images / "base" / image).symlink_to("/etc/shadow")
    with pytest.raises(BackendRefused):
        RbdDisks(pool, images).ensure(fresh(), 1, image)
    assert listed(pool.access, "ls") == []


def keyring(folder: Path, text: str = "[client.moln]\n\tkey = QUJD\n", mode: int = 0o600) -> Path:
    path = folder / "ceph.client.moln.keyring"
    path.write_text(text)
    path.chmod(mode)
    (folder / "ceph.conf").write_text("[global]\nfsid = 4bb6dd9c-5e4b-4d0c-8d0e-0d6c1d3e7a11\n")
    return path


def test_the_key_is_read_where_only_its_owner_may(tmp_path: Path) -> None:
    path = keyring(tmp_path)
    chosen = Disks(pool="vms", user="moln", conf=str(tmp_path / "ceph.conf"))
    found = rbd_pool(chosen)
    assert found is not None and found.access.key == "QUJD" and found.access.name == "rbd:4bb6dd9c-5e4b-4d0c-8d0e-0d6c1d3e7a11/vms"
    path.chmod(0o640)
    with pytest.raises(Invalid, match="chmod 600"):
        rbd_pool(chosen)


@pytest.mark.parametrize(
    "text", ["", "[client.other]\nkey = QUJD\n", "[client.moln]\n[client.other]\nkey = QUJD\n", "[client.moln]\nkey = $(x)\n"]
)
def test_a_keyring_without_the_users_key_is_said(tmp_path: Path, text: str) -> None:
    keyring(tmp_path, text)
    with pytest.raises(Invalid, match=r"no key of client\.moln"):
        rbd_pool(Disks(pool="vms", user="moln", conf=str(tmp_path / "ceph.conf")))


@pytest.mark.parametrize("wrong", [{"pool": "vms/x"}, {"pool": "-c"}, {"user": "a b"}, {"user": ""}])
def test_what_is_no_name_is_refused(tmp_path: Path, wrong: dict[str, str]) -> None:
    keyring(tmp_path)
    with pytest.raises(Invalid, match="no name"):
        rbd_pool(Disks(**{"pool": "vms", "user": "moln", "conf": str(tmp_path / "ceph.conf"), **wrong}))


def test_nothing_of_ceph_is_there_unless_it_is_asked_for() -> None:
    assert rbd_pool(Disks()) is None
