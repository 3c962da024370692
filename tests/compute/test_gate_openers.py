"""What a node of another machine is told of images and metadata: of its own servers, and no other's."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

from moln.compute.ops import needed_images
from moln.compute.store import servers as store
from moln.gate import BASE, BRING, METADATA, openers
from moln.image.ops import images
from moln.kernel.errors import NotFound
from moln.kernel.nodes import sparse
from moln.kernel.nodes.lending import LOAN, Loan
from moln.lenders import Lenders


async def boot(api) -> tuple[str, str]:
    """A server of alice's on sim-1: its network, its address."""
    image = (await api.member.post("/image/v2/images", json={"name": "i", "disk_format": "raw", "container_format": "bare"})).json()
    await api.member.put(f"/image/v2/images/{image['id']}/file", content=os.urandom(9000), headers={"Content-Type": "application/octet-stream"})
    flavor = (await api.admin.post("/compute/v2.1/flavors", json={"flavor": {"name": "f", "ram": 64, "vcpus": 1, "disk": 1}})).json()["flavor"]
    network = (await api.member.post("/network/v2.0/networks", json={"network": {"name": "n"}})).json()["network"]
    subnet = {"network_id": network["id"], "ip_version": 4, "cidr": "10.9.0.0/24"}
    await api.member.post("/network/v2.0/subnets", json={"subnet": subnet})
    wanted = {"name": "s", "imageRef": image["id"], "flavorRef": flavor["id"], "networks": [{"uuid": network["id"]}]}
    made = (await api.member.post("/compute/v2.1/servers", json={"server": wanted})).json()["server"]
    await api.settle()
    server = (await api.member.get(f"/compute/v2.1/servers/{made['id']}")).json()["server"]
    assert server["status"] == "ACTIVE", server
    return network["id"], server["addresses"]["n"][0]["addr"]


async def test_a_node_is_told_of_its_own_servers_alone(api, tmp_path: Path) -> None:
    network, address = await boot(api)
    [server] = await store.on_host(api.cloud.db, "sim-1")
    [base] = {disk.image for disk in server.disks if disk.image}
    own, other = (openers(api.cloud, node, lenders=Lenders(api.cloud)) for node in ("sim-1", "thief"))

    async def said(of, path: str) -> int:
        stream = await of[METADATA][0](network, address, path, None)
        status, body, _ = msgspec.msgpack.decode(await stream.reader.read(), type=tuple[int, bytes, str])
        stream.close()
        assert (server.id.encode() in body) == (status == 200)
        return status

    path = "/openstack/latest/meta_data.json"
    assert await said(own, path) == 200 and await said(other, path) == 404
    stream = await own[BASE][0](base)
    with (tmp_path / "copy").open("wb") as file:
        await sparse.take(stream.reader, file.fileno())
    stream.close()
    assert (tmp_path / "copy").read_bytes() == (api.cloud.home / api.cloud.settings.image.folder / "base" / base).read_bytes()
    stream = await own[LOAN][0](base)
    assert msgspec.msgpack.decode(await stream.reader.read(), type=Loan).size == (tmp_path / "copy").stat().st_size
    stream.close()
    for of, name in ((other, base), (own, "aaaaaaaa-0000-4000-8000-000000000001"), (own, "../../cloud.db")):
        for verb in (BASE, LOAN):
            with pytest.raises(NotFound):
                await of[verb][0](name)
    assert not await needed_images.on_host(api.cloud, "thief", base)


async def test_a_node_brings_what_an_image_of_its_own_servers_waits_for(api, tmp_path: Path) -> None:
    await boot(api)
    [server] = await store.on_host(api.cloud.db, "sim-1")
    asked = await api.member.post(f"/compute/v2.1/servers/{server.id}/action", json={"createImage": {"name": "snap"}})
    image = await images.find(api.cloud.db, asked.headers["location"].rpartition("/")[2])
    assert image is not None and image.data_id
    for of, name in (("thief", image.data_id), ("sim-1", "aaaaaaaa-0000-4000-8000-000000000001"), ("sim-1", "../../cloud.db")):
        with pytest.raises(NotFound):
            await openers(api.cloud, of)[BRING][0](name)
    (tmp_path / "disk").write_bytes(b"from afar".ljust(4096, b"\0"))
    stream = await openers(api.cloud, "sim-1")[BRING][0](image.data_id)
    with (tmp_path / "disk").open("rb") as file:
        await sparse.send(file.fileno(), stream.writer)
    assert sparse.SIZE.unpack(await stream.reader.read()) == (4096,)
    stream.close()
    await api.settle()
    made = (await api.member.get(f"/image/v2/images/{image.id}/file")).content
    assert made.startswith(b"from afar") and len(made) == 4096
    with pytest.raises(NotFound):
        await openers(api.cloud, "sim-1")[BRING][0](image.data_id)


async def test_a_node_brings_what_an_image_of_its_own_volumes_waits_for(api) -> None:
    made = (await api.member.post("/volume/v3/volumes", json={"volume": {"size": 1}})).json()["volume"]
    await api.settle()
    asked = {"os-volume_upload_image": {"image_name": "i", "disk_format": "raw"}}
    told = (await api.member.post(f"/volume/v3/volumes/{made['id']}/action", json=asked)).json()["os-volume_upload_image"]
    image = await images.find(api.cloud.db, told["image_id"])
    assert image is not None and image.data_id
    with pytest.raises(NotFound):
        await openers(api.cloud, "thief")[BRING][0](image.data_id)
    (await openers(api.cloud, "sim-1")[BRING][0](image.data_id)).close()
    await api.settle()
    with pytest.raises(NotFound):
        await openers(api.cloud, "sim-1")[BRING][0](image.data_id)
