"""What a guest learns at 169.254.169.254, and that it learns it of itself only (SEC-26)."""

from __future__ import annotations

import base64
import json

from tests.compute.world import World, world

from moln.compute.ops import metadata

__all__ = ["world"]


async def ask(world: World, address: str, path: str, network: str = "") -> tuple[int, str]:
    status, body, _ = await metadata.answer(world.cloud, network or world.network, address, path)
    return status, body.decode()


async def test_both_formats(world: World) -> None:
    key = {"keypair": {"name": "mine", "public_key": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPrvVGzM9jdJ4S3eQJ2Qe3cXb8x0u6oXQ3mYz7b0y1aB me"}}
    await world.call("POST", "/os-keypairs", None, key)
    text = base64.b64encode(b"#!/bin/sh\necho nonce\n").decode()
    server = await world.boot(name="My VM", key_name="mine", user_data=text, metadata={"role": "web"}, availability_zone="nova")
    me = server["addresses"]["net"][0]["addr"]
    assert (await ask(world, me, "/"))[1].splitlines()[-1] == "latest"
    assert await ask(world, me, "/latest") == (200, "meta-data\nuser-data") or (await ask(world, me, "/latest"))[1] == "meta-data/\nuser-data"
    assert await ask(world, me, "/latest/user-data") == (200, "#!/bin/sh\necho nonce\n")
    assert await ask(world, me, "/2009-04-04/meta-data/local-ipv4") == (200, me)
    assert await ask(world, me, "/latest/meta-data/hostname") == (200, "my-vm.novalocal")
    assert await ask(world, me, "/latest/meta-data/public-keys/") == (200, "0=mine")
    assert (await ask(world, me, "/latest/meta-data/public-keys/0/openssh-key"))[1].startswith("ssh-ed25519 ")
    assert await ask(world, me, "/latest/meta-data/placement/availability-zone") == (200, "nova")
    assert "instance-id" in (await ask(world, me, "/latest/meta-data/"))[1].splitlines()
    assert (await ask(world, me, "/openstack"))[1].splitlines()[-1] == "latest"
    assert "meta_data.json" in (await ask(world, me, "/openstack/latest/"))[1]
    seen = json.loads((await ask(world, me, "/openstack/latest/meta_data.json"))[1])
    assert (seen["uuid"], seen["name"], seen["meta"], seen["hostname"]) == (server["id"], "My VM", {"role": "web"}, "my-vm.novalocal")
    assert seen["public_keys"]["mine"].startswith("ssh-ed25519 ")
    assert len(base64.b64decode(seen["random_seed"])) == 512
    assert await ask(world, me, "/openstack/2018-08-27/user_data") == (200, "#!/bin/sh\necho nonce\n")
    wired = json.loads((await ask(world, me, "/openstack/latest/network_data.json"))[1])
    assert [n["type"] for n in wired["networks"]] == ["ipv4_dhcp"]
    assert wired["links"][0]["ethernet_mac_address"] == server["addresses"]["net"][0]["OS-EXT-IPS-MAC:mac_addr"]
    for nothing in ("/latest/none", "/openstack/latest/none", "/openstack/1999-01-01/meta_data.json", "/1999/meta-data", "/latest/meta-data/hostname/x"):
        assert (await ask(world, me, nothing))[0] == 404


async def test_nobody_learns_of_another_server(world: World) -> None:
    one, two = await world.boot(name="one"), await world.boot(name="two")
    addresses = [s["addresses"]["net"][0]["addr"] for s in (one, two)]
    for server, address in zip((one, two), addresses, strict=True):
        assert json.loads((await ask(world, address, "/openstack/latest/meta_data.json"))[1])["uuid"] == server["id"]
    other = (await world.neutron("POST", "/networks", {"network": {"name": "other"}}))["network"]["id"]
    assert (await ask(world, addresses[0], "/latest/meta-data/hostname", other))[0] == 404
    for stranger in ("10.1.0.1", "10.1.0.2", "10.1.0.250", "::1", "nonsense", ""):
        assert (await ask(world, stranger, "/latest/meta-data/hostname"))[0] == 404 or stranger in addresses
    await world.call("DELETE", f"/servers/{one['id']}", 204)
    await world.settle()
    assert (await ask(world, addresses[0], "/latest/meta-data/hostname"))[0] == 404
