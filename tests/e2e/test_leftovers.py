"""Nothing is left of what was deleted, and `moln doctor` would see it if there were."""

from __future__ import annotations

import os
import socket
from uuid import uuid4

from tests.e2e.test_kills import domains, switch_ports
from tests.e2e.waiting import until
from tests.e2e.world import World, shell

from moln.network.drivers.rows import OWNER

DOMAIN = "<domain type='qemu'><name>{name}</name><uuid>{uuid}</uuid><memory>16384</memory><os><type>hvm</type></os></domain>"


def clear(world: World) -> None:
    """Delete all that anybody made through the APIs but projects, images and flavors."""
    admin = world.admin
    for server in admin.compute.servers(all_projects=True):
        admin.compute.delete_server(server.id)
    until(lambda: not list(admin.compute.servers(all_projects=True)), "no server", 90)
    for volume in admin.block_storage.volumes(all_projects=True):
        admin.block_storage.delete_volume(volume.id)
    until(lambda: not list(admin.block_storage.volumes(all_projects=True)), "no volume", 60)
    network = admin.network
    for address in network.ips():
        network.delete_ip(address.id)
    for router in network.routers():
        for port in network.ports(device_id=router.id):
            if port.device_owner == "network:router_interface":
                network.remove_interface_from_router(router.id, port_id=port.id)
        network.delete_router(router.id)
    for found in network.networks():
        network.delete_network(found.id)
    for group in network.security_groups():
        if group.name != "default":
            network.delete_security_group(group.id)


def taps() -> list[str]:
    return [name for _, name in socket.if_nameindex() if name.startswith(("tap", "md"))]


def test_the_last_server_volume_and_network_leave_nothing(world: World) -> None:
    clear(world)
    places, admin = world.places, world.admin
    assert domains(world) == []
    assert world.running_guests() == []
    until(lambda: not taps() and not switch_ports(world), "no tap and no port in the switch", 30)
    for folder in ("disks", "volumes", "snapshots"):
        assert os.listdir(places.pool / folder) == [], folder
    assert os.listdir(places.host / "node/servers") == []
    for table in ("Logical_Switch", "Logical_Switch_Port", "Logical_Router", "Logical_Router_Port", "NAT", "DHCP_Options", "DNS"):
        assert shell(places.bin / "ovn-nbctl", "--bare", "--columns=_uuid", "list", table).split() == [], table
    for provider in admin.placement.resource_providers():
        usages = admin.placement.get(f"/resource_providers/{provider.id}/usages").json()["usages"]
        assert set(usages.values()) <= {0}, usages
    for project in admin.identity.projects():
        used = admin.compute.get(f"/os-quota-sets/{project.id}/detail").json()["quota_set"]
        assert {k: used[k]["in_use"] for k in ("instances", "cores", "ram")} == {"instances": 0, "cores": 0, "ram": 0}
        used = admin.block_storage.get(f"/os-quota-sets/{project.id}?usage=True").json()["quota_set"]
        assert {k: used[k]["in_use"] for k in ("volumes", "snapshots", "gigabytes")} == {"volumes": 0, "snapshots": 0, "gigabytes": 0}
        used = admin.network.get(f"/quotas/{project.id}/details.json").json()["quota"]
        assert {k: used[k]["used"] for k in ("network", "subnet", "port", "router", "floatingip")} == dict.fromkeys(
            ("network", "subnet", "port", "router", "floatingip"), 0
        )
    world.healthy()


def test_the_doctor_sees_what_is_left_and_says_how_to_mend_it(world: World) -> None:
    places = world.places
    server, port, *files = (str(uuid4()) for _ in range(5))
    virsh = ("virsh", "-c", places.libvirt_uri)
    tap = "tapdeadbeef-ca"
    planted = {server: "servers", "intruder": "domain", f"{port}": "tap", tap: "tap", files[0]: "disk", files[1]: "volume",
               files[2]: "snapshot", "junk": "volume", "stray-switch": "switch"}  # fmt: skip
    for name, uuid in ((f"moln-{server}", server), ("intruder", str(uuid4()))):
        definition = places.home / f"{name}.xml"
        definition.write_text(DOMAIN.format(name=name, uuid=uuid))
        shell(*virsh, "define", definition)
        definition.unlink()
    shell("ip", "tuntap", "add", "dev", tap, "mode", "tap")
    vsctl, nbctl = places.bin / "ovs-vsctl", places.bin / "ovn-nbctl"
    ours = "tap" + port[:11]
    shell("ip", "tuntap", "add", "dev", ours, "mode", "tap")
    shell(vsctl, "add-port", "moln-int", ours, "--", "set", "Interface", ours, "external_ids:owner=moln", f"external_ids:iface-id={port}")
    for folder, name in (("disks", files[0]), ("volumes", files[1]), ("snapshots", files[2]), ("volumes", "junk")):
        (places.pool / folder / name).touch()
    shell(nbctl, "ls-add", "stray", "--", "set", "Logical_Switch", "stray", f"external_ids:{OWNER}=network:stray-switch")
    try:
        found = world.findings()
        for name in planted:
            told = [f for f in found if name in f["text"]]
            assert told, f"{name} is not told: {found}"
            assert all(f["mend"] for f in told), told
    finally:
        for name in (f"moln-{server}", "intruder"):
            shell(*virsh, "undefine", name)
        shell(vsctl, "del-port", "moln-int", ours)
        shell(nbctl, "--if-exists", "ls-del", "stray")
        for name in (tap, ours):
            shell("ip", "link", "delete", name)
        for folder, name in (("disks", files[0]), ("volumes", files[1]), ("snapshots", files[2]), ("volumes", "junk")):
            (places.pool / folder / name).unlink()
    world.healthy()
