"""SEC-06 (OSSA-2016-001, -007; CVE-2015-7548, CVE-2016-2140): a guest writes an image's header into its own raw disk, and then has the
disk copied. No tool ever guesses a format, so nothing that the header names is read.
"""

from __future__ import annotations

import ast
import os
import shutil
import uuid
from pathlib import Path
from xml.etree.ElementTree import fromstring

import pytest
from tests.image import disks

from moln.compute.drivers.base import Disk, ServerSpec
from moln.compute.drivers.disks import DiskFolder
from moln.compute.drivers.domain_xml import Look, domain_xml
from moln.image.drivers.files import FileStore
from moln.image.drivers.sandbox import Sandbox
from moln.kernel.errors import UnsupportedMedia
from moln.volume.drivers.pool import PoolDriver

SOURCE = Path(__file__).parents[2] / "src/moln"
NEEDS_QEMU_IMG = pytest.mark.skipif(not shutil.which("qemu-img"), reason="needs qemu-img")
HEADERS = {"backing file": disks.qcow2_with_backing, "data file": disks.qcow2_with_data_file, "descriptor": disks.vmdk_descriptor}


def fresh() -> str:
    return str(uuid.uuid4())


def written_by_guest(path: Path, header: bytes) -> None:
    with open(path, "r+b") as disk:
        disk.write(header)


@NEEDS_QEMU_IMG
@pytest.mark.parametrize("kind", HEADERS)
async def test_copies_of_a_disk_with_a_header_are_its_bytes_and_nothing_else(tmp_path: Path, kind: str) -> None:
    """Volume, snapshot, volume of the snapshot, revert, image: each is what the guest wrote; the image is refused as what it is."""
    header = HEADERS[kind](tmp_path / "crafted").read_bytes()
    store = FileStore(tmp_path / "images", Sandbox())
    pool = PoolDriver(tmp_path / "pool", tmp_path / "images")
    await store.start()
    await pool.start()
    volume, snapshot, copy, clone, data = fresh(), fresh(), fresh(), fresh(), fresh()
    await pool.ensure_volume(volume, 1)
    written_by_guest(pool.volumes / volume, header)
    await pool.ensure_snapshot(snapshot, volume)
    await pool.ensure_volume(copy, 1, "snapshot", snapshot)
    await pool.ensure_volume(clone, 1, "volume", volume)
    await pool.revert_volume(volume, snapshot)
    await pool.ensure_image_data(data, volume)
    for path in (pool.volumes / copy, pool.volumes / clone, pool.volumes / volume, pool.snapshots / snapshot, store.root / "incoming" / data):
        assert os.stat(path).st_size == 1 << 30
        with open(path, "rb") as file:
            assert file.read(len(header)) == header
    os.truncate(store.root / "incoming" / data, 4 << 20)  # what follows hashes it all: the rest is zeros
    with pytest.raises(UnsupportedMedia):
        await store.adopt(data, "raw", "bare")
    held = await store.inventory()
    assert (held.data, held.bases) == ([], [])
    await pool.stop()
    await store.stop()


@NEEDS_QEMU_IMG
@pytest.mark.parametrize("kind", HEADERS)
async def test_an_image_of_a_root_disk_with_a_header_is_refused(tmp_path: Path, kind: str) -> None:
    header = HEADERS[kind](tmp_path / "crafted").read_bytes()
    store = FileStore(tmp_path / "images", Sandbox())
    await store.start()
    folder = DiskFolder(tmp_path / "pool", tmp_path / "images")
    folder.prepare()
    disk, data = fresh(), fresh()
    folder.ensure(disk, 0, None)
    written_by_guest(folder.path(disk), header)
    assert folder.export(data, disk, lambda copy: copy()) == len(header)
    with pytest.raises(UnsupportedMedia):
        await store.adopt(data, "raw", "bare")
    assert (store.root / "incoming" / data).read_bytes() == header
    await store.stop()


def test_every_disk_of_a_domain_is_said_to_be_raw() -> None:
    made = [Disk(fresh(), "/pool/disks/a", "vda"), Disk(fresh(), "/dev/vg/b", "vdb"), Disk(fresh(), "/pool/c", "sda", bus="scsi", medium="cdrom")]
    spec = ServerSpec(fresh(), "s", 1, 1, 64, disks=tuple(made), config_drive=True)
    domain = fromstring(domain_xml(spec, Look(kvm=False, emulator="/qemu"), Path("/run"), "/run/config"))
    drivers = domain.findall("devices/disk/driver")
    assert len(drivers) == len(domain.findall("devices/disk")) == 4
    assert {driver.get("type") for driver in drivers} == {"raw"}
    assert domain.find("devices/disk/backingStore") is None


def test_every_call_of_qemus_tools_names_its_formats() -> None:
    """Wherever a list of arguments holds `info` or `convert` for qemu-img, it holds -f, and -O for what it writes."""
    calls = []
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.List | ast.Tuple | ast.Call):
                said = [item.value for item in (node.args if isinstance(node, ast.Call) else node.elts) if isinstance(item, ast.Constant)]
                assert "qemu-nbd" not in said or any(str(word).startswith("--format=") for word in said), f"{path}:{node.lineno}"
            if not isinstance(node, ast.Call):
                continue
            words = [arg.value for arg in node.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)]
            named = "qemu-img" in words or any(isinstance(a, ast.Attribute) and a.attr == "qemu_img" for a in node.args)
            if named and len(words) > 1:
                calls.append((f"{path.relative_to(SOURCE)}:{node.lineno}", words))
    assert len(calls) >= 3, "sandbox.py has two, the guest's build one"
    for where, words in calls:
        assert "-f" in words, where
        assert "convert" not in words or "-O" in words, where
    tools = ("qemu-io", "guestmount", "virt-", "nbd-client", "losetup -P")
    assert not [str(p) for p in SOURCE.rglob("*.py") for tool in tools if f'"{tool}' in p.read_text()], "tools that guess what a disk holds"
