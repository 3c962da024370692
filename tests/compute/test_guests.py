"""What is learnt of a running guest, and said to it: diagnostics, passwords, topology."""

from __future__ import annotations

from typing import Any

from tests.compute.world import World, world  # noqa: F401 (a fixture)

from moln.compute.ops import metadata


async def test_diagnostics_in_both_shapes(world: World) -> None:  # noqa: F811
    server = await world.boot(config_drive=True)
    path = f"/servers/{server['id']}/diagnostics"
    await world.call("GET", path, 403)
    old = await world.call("GET", path, 200, None, "2.47", admin=True)
    (card,) = (await world.call("GET", f"/servers/{server['id']}/os-interface", 200))["interfaceAttachments"]
    tap = f"tap{card['port_id'][:11]}"
    assert old["memory"] == 128 * 1024 and old["cpu0_time"] > 0 and old["vda_read"] > 0 and old["memory-actual"] == old["memory"]
    assert {f"{tap}_rx", f"{tap}_rx_packets", f"{tap}_tx_drop", f"{tap}_tx_errors", "vda_errors", "vda_write_req"} <= set(old)
    new = await world.call("GET", path, 200, None, "2.48", admin=True)
    assert (new["state"], new["driver"], new["hypervisor_os"], new["config_drive"]) == ("running", "libvirt", "linux", True)
    assert (new["num_cpus"], new["num_nics"], new["num_disks"]) == (1, 1, 1)
    assert new["memory_details"] == {"maximum": 128, "used": 128} and new["uptime"] >= 0
    assert new["nic_details"][0]["mac_address"] == card["mac_addr"] and new["nic_details"][0]["rx_rate"] is None
    assert set(new["disk_details"][0]) == {"read_bytes", "read_requests", "write_bytes", "write_requests", "errors_count"}
    assert set(new["cpu_details"][0]) == {"id", "time", "utilisation"}
    await world.act(server, {"os-stop": None})
    await world.settle()
    refused = await world.call("GET", path, 409, admin=True)
    said = f"Cannot 'get_diagnostics' instance {server['id']} while it is in power state shutdown"
    assert refused["conflictingRequest"]["message"] == said
    await world.call("GET", "/servers/11111111-1111-4111-8111-111111111111/diagnostics", 404, admin=True)


async def test_a_server_without_numa_shows_no_nodes(world: World) -> None:  # noqa: F811
    server = await world.boot(networks="none")
    assert await world.call("GET", f"/servers/{server['id']}/topology", 200) == {"nodes": [], "pagesize_kb": None}
    await world.call("GET", f"/servers/{server['id']}/topology", 404, None, "2.77")


async def post(world: World, address: str, path: str, body: bytes) -> int:  # noqa: F811
    return (await metadata.answer(world.cloud, world.network, address, path, body))[0]


async def test_a_guest_tells_its_password_once(world: World) -> None:  # noqa: F811
    server = await world.boot()
    me, path, where = server["addresses"]["net"][0]["addr"], f"/servers/{server['id']}/os-server-password", "/openstack/latest/password"
    assert await world.call("GET", path, 200) == {"password": ""}
    for wrong in (b"x" * 1021, b"\xff", b"a\0b"):
        assert await post(world, me, where, wrong) == 400
    assert await post(world, me, "/openstack/2012-08-10/password", b"x") == 405
    assert await post(world, "10.1.0.250", where, b"x") == 404
    assert await post(world, me, where, b"x" * 1020) == 200
    assert await post(world, me, "/openstack/2013-04-04/password", b"y") == 409
    assert await world.call("GET", path, 200) == {"password": "x" * 1020}
    assert (await metadata.answer(world.cloud, world.network, me, where))[1] == b"x" * 1020
    reader = await world.api.add_user("rita", project="demo", role="reader")
    assert (await reader.delete(f"/compute/v2.1{path}")).status_code == 403
    await world.call("DELETE", path, 204)
    assert await world.call("GET", path, 200) == {"password": ""}
    assert await post(world, me, where, b"z") == 200
    await world.call("DELETE", f"/servers/{server['id']}", 204)
    await world.settle()
    await world.call("GET", path, 404)


async def change(world: World, server: dict[str, Any], status: int) -> str:  # noqa: F811
    said = await world.act(server, {"changePassword": {"adminPass": "n3w"}}, status)
    return next(iter(said.values()))["message"] if said else ""


async def test_an_administrators_password_is_set_by_the_agent(world: World) -> None:  # noqa: F811
    headers = {"Content-Type": "application/openstack-images-v2.1-json-patch"}
    patch = [{"op": "add", "path": "/hw_qemu_guest_agent", "value": "yes"}]
    assert (await world.api.admin.patch(f"/image/v2/images/{world.image}", json=patch, headers=headers)).status_code == 200
    server, node = await world.boot(networks="none"), world.api.nodes["sim-1"]
    assert await change(world, server, 202) == ""
    assert node.passwords == {(server["id"], "root"): "n3w"}
    node.deaf.add(server["id"])
    assert "is not implemented" in await change(world, server, 501)
    done = (await world.call("GET", f"/servers/{server['id']}/os-instance-actions", 200))["instanceActions"]
    assert [(a["action"], a["message"]) for a in done if a["action"] != "create"] == [("changePassword", "Error"), ("changePassword", None)]
    await world.act(server, {"lock": None})
    assert await change(world, server, 409) == f"Instance {server['id']} is locked"
    await world.act(server, {"unlock": None})
    await world.act(server, {"changePassword": {}}, 400)
    await world.act(server, {"os-stop": None})
    await world.settle()
    assert "vm_state stopped" in await change(world, server, 409)


async def test_without_an_agent_in_the_image_there_is_no_way(world: World) -> None:  # noqa: F811
    server = await world.boot(networks="none")
    assert await change(world, server, 409) == "QEMU guest agent is not enabled"
    assert world.api.nodes["sim-1"].passwords == {}


async def test_what_changes_nothing_is_checked_all_the_same(world: World) -> None:  # noqa: F811
    server = await world.boot(networks="none")
    await world.act(server, {"injectNetworkInfo": None}, 403)
    await world.act(server, {"injectNetworkInfo": None}, 202, admin=True)
