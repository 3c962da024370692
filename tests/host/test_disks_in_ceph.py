"""A cloud whose disks lie in Ceph, from `moln up` to a guest's own words: a real Ceph, real engines, an emulated guest."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e import fixtures, namespace
from tests.e2e.waiting import until
from tests.e2e.world import REPO, World
from tests.image import ceph
from tests.node.turns import GUESTS, guests_alone, shared_stays

pytestmark = [pytest.mark.engines, GUESTS, pytest.mark.timeout(1500)]
NETNS = "moln-ceph-cloud"
SETTINGS = """
[host]
pool_size_gib = 4
[node]
disks = {{ pool = "{pool}", user = "{user}", conf = "{conf}", keyring = "{keyring}" }}
"""


class Cloud(World):
    """ceph: where its disks are."""

    ceph: ceph.Ceph

    def there(self) -> list[str]:
        """Kinds of what Moln has in the pool: disk, volume, base…"""
        return sorted(name.partition("-")[0] for name in self.ceph.run("rbd", "-c", self.ceph.conf, "ls", "vms").split())


@pytest.fixture(scope="module")
def cloud() -> Iterator[Cloud]:
    if not ceph.available() or shutil.which("ceph-mgr") is None:
        pytest.skip("needs root and Ceph's packages")
    top = Path(tempfile.mkdtemp(prefix="moln-c-", dir="/var/tmp"))
    top.chmod(0o755)
    found = Cloud(top / "h")
    with guests_alone(), shared_stays(top):
        image = fixtures.set_up_machine(top / "setup")
        (top / "ceph").mkdir(mode=0o755)
        with namespace.inside(NETNS):
            with ceph.ceph(top / "ceph") as found.ceph:
                found.ceph.manager()
                access = found.ceph.disks()
                (found.places.home / "demo").mkdir(mode=0o700, parents=True)
                shutil.copy(image, found.places.home / "demo/guest.qcow2")
                found.places.settings.write_text(
                    SETTINGS.format(pool=access.pool, user=access.user, conf=access.conf, keyring=access.keyring)
                )
                try:
                    found.story = found.moln("up", "--demo", "--detach", timeout_s=600, program=REPO / "moln")
                    found.connect()
                    yield found
                finally:
                    found.moln("down", "--purge")
    shutil.rmtree(top)


def test_the_demos_guest_boots_from_a_clone_of_its_image(cloud: Cloud) -> None:
    guest = cloud.demo_guest().wait()
    assert guest.run("hostname") == "demo"
    assert cloud.there() == ["base", "disk", "volume"], "the demo has a volume"
    disk = next(name for name in cloud.ceph.run("rbd", "-c", cloud.ceph.conf, "ls", "vms").split() if name.startswith("disk-"))
    parent = json.loads(cloud.ceph.run("rbd", "-c", cloud.ceph.conf, "info", "--format=json", f"vms/{disk}"))["parent"]
    assert parent["image"].startswith("base-")
    assert not list((cloud.places.pool / "disks").glob("*-*")), "nothing of it is a file of this host"
    cloud.healthy()


def test_a_volume_in_ceph_is_written_by_the_guest_grown_and_kept(cloud: Cloud) -> None:
    guest, storage = cloud.demo_guest(), cloud.admin.block_storage
    volume = storage.create_volume(size=1, name="data")
    storage.wait_for_status(volume, "available", failures=["error"], interval=0.2, wait=60)
    attached = cloud.admin.compute.create_volume_attachment(guest.id, volume_id=volume.id)
    until(lambda: storage.get_volume(volume.id).status == "in-use", "the volume in use", 60)
    device = attached.device
    guest.run(f"echo in-ceph | dd of={device} bs=512 conv=sync && sync")
    storage.extend_volume(volume.id, 2)
    until(lambda: guest.run(f"cat /sys/block/{Path(device).name}/size") == str(2 << 21), "the guest sees 2 GiB", 60)
    cloud.admin.compute.delete_volume_attachment(guest.id, volume.id)
    until(lambda: storage.get_volume(volume.id).status == "available", "the volume let go", 60)
    with subprocess.Popen(["rbd", "-c", str(cloud.ceph.conf), "export", f"vms/volume-{volume.id}", "-"], stdout=subprocess.PIPE) as export:
        assert export.stdout is not None and export.stdout.read(8) == b"in-ceph\n"
        export.kill()
    storage.delete_volume(volume.id)
    until(lambda: cloud.there() == ["base", "disk", "volume"], "the volume gone", 60)
    cloud.healthy()


def test_what_is_deleted_leaves_the_pool(cloud: Cloud) -> None:
    cloud.admin.compute.delete_server(cloud.demo_guest().id)
    until(lambda: cloud.there() == ["base", "volume"], "the disk gone", 60)
    cloud.healthy()
