"""A server goes only where its networks do."""

from __future__ import annotations

from msgspec import structs


async def network(api, name: str, **more: object) -> str:
    made = (await api.admin.post("/network/v2.0/networks", json={"network": {"name": name, "shared": True, **more}})).json()["network"]
    subnet = {"network_id": made["id"], "ip_version": 4, "cidr": "10.9.0.0/24"}
    await api.admin.post("/network/v2.0/subnets", json={"subnet": subnet})
    return made["id"]


async def boot(api, network_id: str) -> dict:
    flavors = (await api.admin.get("/compute/v2.1/flavors?is_public=None")).json()["flavors"]
    if not flavors:
        flavor = {"flavor": {"name": "f", "ram": 64, "vcpus": 1, "disk": 1}}
        flavors = [(await api.admin.post("/compute/v2.1/flavors", json=flavor)).json()["flavor"]]
    images = (await api.member.get("/image/v2/images")).json()["images"]
    if not images:
        images = [(await api.member.post("/image/v2/images", json={"name": "i", "disk_format": "raw", "container_format": "bare"})).json()]
        await api.member.put(f"/image/v2/images/{images[0]['id']}/file", content=b"x" * 9000, headers={"Content-Type": "application/octet-stream"})
    wanted = {"name": "s", "imageRef": images[0]["id"], "flavorRef": flavors[0]["id"], "networks": [{"uuid": network_id}]}
    made = (await api.member.post("/compute/v2.1/servers", json={"server": wanted})).json()["server"]
    await api.settle()
    return (await api.member.get(f"/compute/v2.1/servers/{made['id']}")).json()["server"]


async def test_a_server_on_a_provider_network_needs_a_node_that_reaches_it(api) -> None:
    await api.settle()
    flat = await network(api, "flat", **{"provider:network_type": "flat", "provider:physical_network": "public"})
    overlay = await network(api, "overlay")
    assert (await boot(api, flat))["status"] == "ACTIVE"
    driver = api.cloud.areas["network"].driver
    [node] = await driver.chassis()
    driver.add_chassis(structs.replace(node, physical_networks=()))
    await api.settle()
    lost = await boot(api, flat)
    assert lost["status"] == "ERROR"
    assert "1 does not reach a network asked for" in lost["fault"]["message"]
    assert (await boot(api, overlay))["status"] == "ACTIVE"
    driver.add_chassis(node)
    await api.settle()
    assert (await boot(api, flat))["status"] == "ACTIVE"
