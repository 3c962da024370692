"""One guest on a real host, end to end below the controller: DHCP, metadata, ssh over a floating IP, plugging, and its node's death."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
import pytest_asyncio
from msgspec import Struct
from msgspec.structs import replace
from tests.node import bench
from tests.node.turns import GUESTS

from moln.compute.drivers.base import Card, ComputeDriver, Disk, ServerSpec, ServerState
from moln.guest import GUEST_LOGIN
from moln.host.places import PHYSICAL_NETWORK
from moln.kernel.errors import StaleGeneration
from moln.kernel.link.frames import unpack
from moln.network.drivers.node import MetadataPort, NodeNetworkDriver
from moln.volume.drivers.base import VolumeDriver

pytestmark = [pytest.mark.engines, GUESTS, pytest.mark.asyncio(loop_scope="module")]

IMAGE = "11111111-1111-4111-8111-111111111111"
NETWORK, PORT, METADATA = (f"{digit * 8}-0000-4000-8000-000000000000" for digit in "abc")
MAC, ADDRESS, FLOATING = "fa:16:3e:00:00:51", "10.1.0.51", "172.24.4.104"
BOOT_S = 180


@pytest.fixture(scope="module")
def host() -> Iterator[bench.Host]:
    if not bench.available():
        pytest.skip("needs root and engines")
    with bench.guests_alone(), bench.real_host("moln-one") as made:
        (made.places.home / "moln.toml").write_text('[node]\ndisks = { cache = "unsafe" }\n')
        made.add_image(IMAGE)
        network_rows(made)
        yield made


def network_rows(host: bench.Host) -> None:
    """A network with DHCP and metadata, a router with a floating IP: as Neutron would write them."""
    nb = host.nb
    chassis = host.vsctl("get", "open_vswitch", ".", "external_ids:system-id").strip('"')
    routes = "{169.254.169.254/32,10.1.0.2, 0.0.0.0/0,10.1.0.1}"
    options = nb(
        "--", "create", "dhcp_options", "cidr=10.1.0.0/24",
        'options="server_id"="10.1.0.1" "server_mac"="fa:16:3e:00:00:01" "lease_time"="43200" "router"="10.1.0.1"'
        f' "mtu"="1442" "classless_static_route"="{routes}"',
    )  # fmt: skip
    nb("ls-add", "net")
    nb("lsp-add", "net", PORT, "--", "lsp-set-addresses", PORT, f"{MAC} {ADDRESS}",
       "--", "lsp-set-port-security", PORT, f"{MAC} {ADDRESS}", "--", "lsp-set-dhcpv4-options", PORT, options)  # fmt: skip
    nb("lsp-add", "net", METADATA, "--", "lsp-set-type", METADATA, "localport",
       "--", "lsp-set-addresses", METADATA, "fa:16:3e:00:fe:02 10.1.0.2")  # fmt: skip
    nb("lr-add", "router", "--", "lrp-add", "router", "inner", "fa:16:3e:00:00:01", "10.1.0.1/24")
    nb("lsp-add", "net", "net-router", "--", "lsp-set-type", "net-router", "router", "--", "lsp-set-addresses",
       "net-router", "router", "--", "lsp-set-options", "net-router", "router-port=inner")  # fmt: skip
    nb("ls-add", "public", "--", "lsp-add", "public", "local", "--", "lsp-set-type", "local", "localnet", "--",
       "lsp-set-addresses", "local", "unknown", "--", "lsp-set-options", "local", f"network_name={PHYSICAL_NETWORK}")  # fmt: skip
    nb("lrp-add", "router", "outer", "fa:16:3e:00:03:01", "172.24.4.10/24", "--", "lrp-set-gateway-chassis", "outer",
       chassis, "20")  # fmt: skip
    nb("lsp-add", "public", "public-router", "--", "lsp-set-type", "public-router", "router", "--",
       "lsp-set-addresses", "public-router", "router", "--", "lsp-set-options", "public-router", "router-port=outer")  # fmt: skip
    nb("lr-route-add", "router", "0.0.0.0/0", "172.24.4.1")
    nb("lr-nat-add", "router", "snat", "172.24.4.10", "10.1.0.0/24")
    nb("lr-nat-add", "router", "dnat_and_snat", FLOATING, ADDRESS)


class Guest(Struct):
    """The guest, its key, and the ways to it. node: its name on the links."""

    host: bench.Host
    controller: bench.Controller
    node: str
    process: bench.NodeProcess
    key: Path
    spec: ServerSpec
    nonce: str

    def compute(self, generation: int) -> ComputeDriver:
        links = self.controller.links
        resource = f"server:{self.spec.id}"
        return links.driver(self.node, "compute", ComputeDriver, resource=resource, generation=generation, deadline_s=200)

    async def ssh(self, command: str, timeout_s: float = 120) -> str:
        arguments = ["-i", str(self.key), "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
                     "-o", "LogLevel=ERROR", "-o", "BatchMode=yes", "-o", "ConnectTimeout=20"]  # fmt: skip
        line = [*self.host.inside, "ssh", *arguments, f"{GUEST_LOGIN}@{FLOATING}", command]
        async with asyncio.timeout(timeout_s):
            while True:
                done = await asyncio.to_thread(
                    subprocess.run, line, capture_output=True, text=True, timeout=timeout_s, check=False
                )
                if done.returncode != 255:  # 255: ssh itself failed, the guest is not there yet
                    return done.stdout
                await asyncio.sleep(1)

    async def console_says(self, text: str, count: int = 1) -> None:
        async with asyncio.timeout(BOOT_S):
            while (await self.compute(self.spec.generation).console_output(self.spec.id)).count(text) < count:
                await asyncio.sleep(1)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def guest(host: bench.Host, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Guest]:
    key = tmp_path_factory.mktemp("key") / "id"
    bench.shell("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key))
    controller = bench.Controller(host.places)
    await controller.start()
    process = bench.NodeProcess(host)
    process.start()
    try:
        await asyncio.wait_for(controller.up.wait(), 60)
        (node,) = controller.links.nodes
        nonce = os.urandom(8).hex()
        server = str(uuid4())
        script = f"#!/bin/sh\necho {nonce} > /tmp/nonce\n"
        metadata = {"uuid": server, "hostname": "one.novalocal", "public_keys": {"k": key.with_suffix(".pub").read_text()}}
        who = f"{NETWORK}/{ADDRESS}"
        controller.answers[who, "/openstack/latest/meta_data.json"] = json.dumps(metadata).encode()
        controller.answers[who, "/openstack/latest/user_data"] = script.encode()
        network = controller.links.driver(node, "network", NodeNetworkDriver)
        await network.sync_metadata((MetadataPort(NETWORK, METADATA, "fa:16:3e:00:fe:02", ("10.1.0.2/24",), 1442),))
        compute = controller.links.driver(node, "compute", ComputeDriver, deadline_s=200)
        disk = await compute.ensure_disk(str(uuid4()), 1, IMAGE)
        spec = ServerSpec(
            server, "one", 1, vcpus=1, ram_mib=128,
            disks=(Disk(disk.id, disk.path, "vda", boot_index=0),),
            cards=(Card(PORT, MAC, NETWORK, 1442),),
        )  # fmt: skip
        made = Guest(host, controller, node, process, key, spec, nonce)
        await made.compute(1).ensure_server(spec, "running")
        await made.console_says("READY")
        yield made
        await compute.remove_server(server)
        await compute.remove_disk(disk.id)
        await network.sync_metadata(())
        left = await compute.inventory()
        assert (left.servers, left.disks, left.ports) == ((), (), ())
        assert not {name for name in host.links() if name.startswith(("tap", "md"))}
        assert "tap" not in host.vsctl("list-ports", "moln-int")
    finally:
        process.stop()
        await controller.stop()


async def test_ssh_over_the_floating_ip_reads_the_nonce_of_its_user_data(guest: Guest) -> None:
    answer = await guest.ssh("hostname; uptime; cat /tmp/nonce")
    assert answer.startswith("one\n")
    assert guest.nonce in answer


async def test_metadata_tells_the_controller_network_and_address_and_nothing_else_the_guest_sent(guest: Guest) -> None:
    del guest.controller.asked[:]
    forged = r"printf 'GET /latest/meta-data/x HTTP/1.0\r\nX-Instance-ID: other\r\nX-Forwarded-For: 9.9.9.9\r\n\r\n'"
    answer = await guest.ssh(f"{forged} | nc -w 5 169.254.169.254 80; ip -o addr show eth0")
    assert "404" in answer
    (head,) = guest.controller.asked
    assert head.startswith(f"GET /{NETWORK}/{ADDRESS}/latest/meta-data/x HTTP/1.1\r\n".encode())
    assert b"other" not in head
    assert b"9.9.9.9" not in head


async def test_a_volume_comes_grows_and_goes_while_the_guest_runs(guest: Guest) -> None:
    volumes = guest.controller.links.driver(guest.node, "volume", VolumeDriver)
    id = str(uuid4())
    await volumes.ensure_volume(id, 1)
    connection = await volumes.find_connection(id)
    assert connection is not None
    compute = guest.compute(guest.spec.generation)
    await compute.attach_disk(guest.spec.id, Disk(id, connection.path, "vdb", serial=id))
    seen = "for i in 1 2 3 4 5 6 7 8 9; do cat /sys/block/vdb/serial 2>/dev/null && break; sleep 1; done"
    assert (await guest.ssh(seen)).strip() == id[:20]
    await volumes.extend_volume(id, 2)
    await compute.resize_attached_disk(guest.spec.id, id, 2 << 30)
    grown = "for i in 1 2 3 4 5 6 7 8 9; do [ $(cat /sys/block/vdb/size) = 4194304 ] && break; sleep 1; done; cat /sys/block/vdb/size"
    assert (await guest.ssh(grown)).strip() == "4194304"
    await compute.detach_disk(guest.spec.id, id)
    assert "vdb" not in await guest.ssh("ls /sys/block")
    await volumes.remove_volume(id)


async def test_a_delayed_older_command_is_refused(guest: Guest) -> None:
    guest.spec = replace(guest.spec, generation=7)
    await guest.compute(7).ensure_server(guest.spec, "running")
    with pytest.raises(StaleGeneration):
        await guest.compute(6).ensure_server(replace(guest.spec, generation=6), "stopped")


async def test_a_killed_node_comes_back_and_its_guest_noticed_nothing(guest: Guest) -> None:
    before = await guest.ssh("cat /proc/sys/kernel/random/boot_id")
    guest.process.kill()
    assert await guest.ssh("cat /proc/sys/kernel/random/boot_id") == before
    guest.process.start()
    async with asyncio.timeout(60):
        while guest.node not in guest.controller.links.nodes:
            await asyncio.sleep(0.2)
    with pytest.raises(StaleGeneration):
        await guest.compute(6).ensure_server(replace(guest.spec, generation=6), "stopped")
    fetch = "for i in 1 2 3 4 5; do timeout 5 wget -q -O - http://169.254.169.254/openstack/latest/user_data && break; sleep 1; done"
    assert guest.nonce in await guest.ssh(fetch)


async def test_a_guest_that_shuts_itself_down_is_reported_in_seconds(guest: Guest) -> None:
    heard: asyncio.Queue[ServerState] = asyncio.Queue()

    async def power(node: str, raw: bytes) -> None:
        for state in unpack(raw, list[ServerState]):
            heard.put_nowait(state)

    guest.controller.links.on_report("compute.power", power)
    await guest.compute(7).ensure_server(guest.spec, "stopped", grace_s=60)
    async with asyncio.timeout(10):
        while (await heard.get()).power != "stopped":
            pass
