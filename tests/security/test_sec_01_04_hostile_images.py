"""SEC-01, -02, -03, -04, -07 (OSSA-2024-001, 2024-002, 2023-002, 2015-014, 2016-012): an image never reaches a file of the host.

Here through the whole API, with headers written byte by byte; tests/image/test_store.py does it with qemu-img's own files.
"""

from __future__ import annotations

import struct

import pytest
from tests.conftest import Api

OCTETS = {"Content-Type": "application/octet-stream"}
CANARY = b"/etc/passwd"


def qcow2(*, backing: bytes = b"", data_file: bytes = b"", size: int = 1 << 20) -> bytes:
    """The header of a version 3 qcow2 (docs/interop/qcow2.txt of QEMU)."""
    extensions = b""
    if data_file:
        extensions += struct.pack(">II", 0x44415441, len(data_file)) + data_file + bytes(-len(data_file) % 8)
    extensions += struct.pack(">II", 0, 0)
    at = 104 + len(extensions) if backing else 0
    header = struct.pack(">4sIQIIQIIQQIIQ", b"QFI\xfb", 3, at, len(backing), 16, size, 0, 1, 196608, 65536, 1, 0, 0)
    header += struct.pack(">QQQII", 4 if data_file else 0, 0, 0, 4, 104)
    return (header + extensions + backing).ljust(1 << 18, b"\0")


def vmdk(kind: str) -> bytes:
    text = f'# Disk DescriptorFile\nversion=1\ncreateType="{kind}"\nRW 2048 FLAT "{CANARY.decode()}" 0\n' + "# \n" * 400
    return text.encode()


HOSTILE = {
    "SEC-01 data file": ("qcow2", qcow2(data_file=CANARY)),
    "SEC-03 monolithicFlat": ("vmdk", vmdk("monolithicFlat")),
    "SEC-03 vmfs": ("vmdk", vmdk("vmfs")),
    "SEC-03 custom": ("vmdk", vmdk("custom")),
    "SEC-04 backing file": ("qcow2", qcow2(backing=CANARY)),
    "SEC-07 promises 4 EiB": ("qcow2", qcow2(size=1 << 62)),
}


@pytest.mark.parametrize("case", HOSTILE)
async def test_a_hostile_image_is_refused_and_boots_nothing(api: Api, case: str) -> None:
    """SEC-02: whatever it is called."""
    own, data = HOSTILE[case]
    for claim in {own, "raw", "iso", "ami", "vdi"}:
        body = {"name": "evil", "disk_format": claim, "container_format": "bare"}
        image = (await api.member.post("/image/v2/images", json=body)).json()
        put = await api.member.put(f"/image{image['file']}", content=data, headers=OCTETS)
        assert put.status_code == 415, (claim, put.text)
        assert CANARY not in put.content
        shown = (await api.member.get(f"/image/v2/images/{image['id']}")).json()
        assert (shown["status"], shown["size"]) == ("queued", None)
        volume = {"volume": {"size": 1, "imageRef": image["id"]}}
        assert (await api.member.post("/volume/v3/volumes", json=volume)).status_code == 400
    held = await api.cloud.areas["image"].inventory()
    assert (held.data, held.bases, held.arriving) == ([], [], [])


async def test_sec_10_no_location_is_ever_taken(api: Api) -> None:
    """OSSA-2014-041, 2015-002: no image is ever what a file of the host holds, and none is left where somebody could swap it."""
    image = (await api.admin.post("/image/v2/images", json={"name": "x", "disk_format": "raw", "container_format": "bare"})).json()
    patch = {"Content-Type": "application/openstack-images-v2.1-json-patch"}
    for url in ("file:///etc/passwd", "filesystem:///etc/passwd", "swift+config://x", "https://127.0.0.1/", "FILE:/etc/passwd"):
        change = [{"op": "add", "path": "/locations/-", "value": {"url": url, "metadata": {}}}]
        answer = await api.admin.patch(f"/image/v2/images/{image['id']}", json=change, headers=patch)
        assert answer.status_code in (400, 403)
        assert (await api.admin.post("/image/v2/images", json={"name": "x", "locations": [{"url": url}]})).status_code == 403
        assert (await api.admin.post(f"/image/v2/images/{image['id']}/locations", json={"url": url})).status_code == 400
        task = {"import_from": url, "import_from_format": "raw", "image_properties": {"disk_format": "raw", "container_format": "bare"}}
        assert (await api.admin.post("/image/v2/tasks", json={"type": "import", "input": task})).status_code == 400
    for path in ("../../etc/passwd", "..%2f..%2fetc%2fpasswd", "%2e%2e/%2e%2e", "a/../../b"):
        assert (await api.admin.get(f"/image/v2/images/{path}/file")).status_code == 404


async def test_sec_13_a_private_image_stays_private_however_it_is_used(api: Api) -> None:
    """OSSA-2013-027: not by downloading, not by booting or a volume, though its base lies ready."""
    body = {"name": "mine", "disk_format": "raw", "container_format": "bare", "visibility": "private"}
    image = (await api.member.post("/image/v2/images", json=body)).json()
    assert (await api.member.put(f"/image{image['file']}", content=b"secret", headers=OCTETS)).status_code == 204
    assert (await api.member.get(f"/image{image['file']}")).content == b"secret"
    other = await api.add_user("mallory", project="other")
    assert (await other.get(f"/image{image['file']}")).status_code == 404
    volume = {"volume": {"size": 1, "imageRef": image["id"]}}
    assert (await other.post("/volume/v3/volumes", json=volume)).status_code == 400
    server = {"server": {"name": "s", "imageRef": image["id"], "flavorRef": "1", "networks": "none"}}
    assert (await other.post("/compute/v2.1/servers", json=server)).status_code in (400, 404)
