"""SEC-20 (OSSA-2017-005, -006): a rebuild with another image is checked as a boot is, and takes nothing more of its host."""

from __future__ import annotations

from typing import Any

import pytest
from tests.compute.world import World, make_image, world

__all__ = ["world"]


async def placement(world: World, path: str) -> Any:
    return (await world.api.admin.get(f"/placement{path}", headers={"OpenStack-API-Version": "placement 1.39"})).json()


async def test_allocations_stay_as_they_are(world: World) -> None:
    server = await world.boot(networks="none")
    (provider,) = (await placement(world, "/resource_providers"))["resource_providers"]
    used = await placement(world, f"/resource_providers/{provider['uuid']}/usages")
    held = await placement(world, f"/allocations/{server['id']}")
    for _ in range(3):
        await world.act(server, {"rebuild": {"imageRef": await make_image(world)}})
        assert await placement(world, f"/allocations/{server['id']}") == held
        await world.settle()
    assert await placement(world, f"/resource_providers/{provider['uuid']}/usages") == used
    assert await placement(world, f"/allocations/{server['id']}") == held
    assert await world.violations() == []


@pytest.mark.parametrize(
    ("image", "words"),
    [
        ({"min_ram": 4096}, "Flavor's memory is too small for requested image."),
        ({"min_disk": 2}, "smaller than the minimum size specified in image metadata"),
        ({"hw_architecture": "s390x"}, "No valid host was found. 1 host looked at: 1 has another architecture"),
        ({"img_hv_type": "hyperv"}, "No valid host was found. 1 host looked at: 1 runs another hypervisor"),
        ({"trait:CUSTOM_GOLD": "required"}, "No valid host was found. 1 host looked at: 1 lacks traits"),
    ],
)
async def test_an_image_that_could_not_be_booted_here_is_refused(world: World, image: dict[str, Any], words: str) -> None:
    server = await world.boot(networks="none")
    answer = await world.act(server, {"rebuild": {"imageRef": await make_image(world, **image)}}, 400)
    assert words in answer["badRequest"]["message"]
    seen = await world.show(server)
    assert (seen["status"], seen["image"]["id"]) == ("ACTIVE", world.image)


async def test_a_larger_image_does_not_fit_where_the_flavor_names_no_disk(world: World) -> None:
    """The disk that was claimed is as large as the first image was."""
    free = await world.flavor("free", disk=0)
    big = {"name": "big", "disk_format": "raw", "container_format": "bare"}
    made = (await world.api.admin.post("/image/v2/images", json=big | {"visibility": "public"})).json()["id"]
    from moln.image.store import images

    async def grow(tx: Any) -> None:  # its data would have to be larger than a GiB
        image = await images.find(tx, made)
        image = await images.save(tx, image, status="saving")  # type: ignore[arg-type]
        await images.save(tx, image, status="active", data_id=made, bootable=True, size=2 << 30, virtual_size=2 << 30)

    body = {"server": {"name": "vm", "flavorRef": free, "imageRef": world.image, "networks": "none"}}
    server = (await world.call("POST", "/servers", 202, body, admin=True))["server"]
    await world.settle()
    await world.cloud.db.write(grow)
    answer = await world.act(server, {"rebuild": {"imageRef": made}}, 400, admin=True)
    assert "Flavor's disk is too small for requested image." in answer["badRequest"]["message"]


async def test_another_projects_image_is_not_found(world: World) -> None:
    server = await world.boot(networks="none")
    private = {"name": "private", "disk_format": "raw", "container_format": "bare", "visibility": "private"}
    made = (await world.api.admin.post("/image/v2/images", json=private)).json()["id"]
    answer = await world.act(server, {"rebuild": {"imageRef": made}}, 400)
    assert answer["badRequest"]["message"] == "Cannot find image for rebuild"
