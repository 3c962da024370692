"""From Neutron's API to packets: the whole area with its work running, on a real OVN."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from msgspec import field
from tests.network import lab
from tests.wire.areas import AreaApi, areas
from tests.wire.network.conftest import Client

import moln.network.module as network
from moln.kernel import config
from moln.network.settings import NetworkSettings

pytestmark = [pytest.mark.engines, pytest.mark.skipif(not lab.available(), reason="needs root and OVN")]


class Settings(config.Settings, frozen=True):
    network: NetworkSettings = field(default_factory=NetworkSettings)


class Bench:
    """A lab and the area on it."""

    def __init__(self, api: AreaApi, ovn: lab.Lab):
        self.api, self.lab = api, ovn
        self.alice, self.admin = Client(api.client("red/member", "")), Client(api.client("cloud/admin", ""))

    async def until(self, collection: str, id: str, **wanted: Any) -> Any:
        """The thing once it has these values; woken by the change feed."""
        changed = asyncio.Event()
        stop = self.api.cloud.db.feed.subscribe("ports", lambda _: changed.set())
        try:
            async with asyncio.timeout(15):
                while True:
                    changed.clear()
                    thing = await self.admin.show(collection, id)
                    if all(thing[key] == value for key, value in wanted.items()):
                        return thing
                    await changed.wait()
        finally:
            stop()


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    ovn = lab.Lab(nodes=1)
    try:
        own = NetworkSettings(northbound=ovn.northbound, southbound=ovn.southbound, physical_networks=("physnet1",))
        settings = Settings(network=own)
        async with areas(tmp_path, settings, [network.module(settings)]) as api:
            api.workers.start()
            yield Bench(api, ovn)
            await api.workers.stop()
    finally:
        ovn.close()


async def test_a_port_made_by_the_api_carries_a_guest(bench: Bench) -> None:
    alice, admin, host = bench.alice, bench.admin, bench.lab.nodes[0]
    outer = await admin.make("networks", router__external=True, provider__network_type="flat", provider__physical_network="physnet1")
    await admin.make("subnets", network_id=outer["id"], ip_version=4, cidr="203.0.113.0/24", enable_dhcp=False)
    net = await alice.make("networks")
    subnet = await alice.make("subnets", network_id=net["id"], ip_version=4, cidr="10.0.0.0/24", dns_nameservers=["192.0.2.53"])
    router = await alice.make("routers", external_gateway_info={"network_id": outer["id"]})
    await alice.call("PUT", f"/routers/{router['id']}/add_router_interface", 200, {"subnet_id": subnet["id"]})
    port = await alice.make("ports", network_id=net["id"])
    await admin.change("ports", port["id"], binding__host_id=host, device_owner="compute:nova", device_id="server")
    guest = await asyncio.to_thread(bench.lab.guest, host, "one", port["id"], port["mac_address"])
    await bench.until("ports", port["id"], status="ACTIVE")
    lease = await asyncio.to_thread(bench.lab.dhcp, guest)
    assert lease["ip"] == port["fixed_ips"][0]["ip_address"] and lease["dns"] == "192.0.2.53"
    await asyncio.to_thread(bench.lab.inside, guest, "ip", "route", "replace", "default", "via", "10.0.0.1")
    assert await asyncio.to_thread(bench.lab.reaches, guest, "198.51.100.1")

    fip = await alice.make("floatingips", floating_network_id=outer["id"], port_id=port["id"])
    group = port["security_groups"][0]
    await asyncio.to_thread(bench.lab.sync)
    assert not await asyncio.to_thread(bench.lab.pings, bench.lab.world, fip["floating_ip_address"])
    rule = await alice.make("security-group-rules", security_group_id=group, direction="ingress", protocol="icmp")
    assert await asyncio.to_thread(bench.lab.reaches, bench.lab.world, fip["floating_ip_address"])
    await alice.remove("security-group-rules", rule["id"])
    await asyncio.to_thread(bench.lab.sync)

    await asyncio.to_thread(bench.lab.vsctl, host, "del-port", f"{bench.lab.tag}tone")
    await bench.until("ports", port["id"], status="DOWN")

    await alice.remove("floatingips", fip["id"])
    await admin.remove("ports", port["id"])
    await alice.call("PUT", f"/routers/{router['id']}/remove_router_interface", 200, {"subnet_id": subnet["id"]})
    await alice.remove("routers", router["id"])
    await alice.remove("networks", net["id"])
    await admin.remove("networks", outer["id"])
    for _ in range(40):
        left = await asyncio.to_thread(bench.lab.nbctl, "--bare", "--columns=name", "list", "Logical_Switch")
        if not left:
            break
        await asyncio.sleep(0.1)
    assert [v.message for v in await bench.api.doctor()] == []
    for table in ("Logical_Switch", "Logical_Switch_Port", "Logical_Router", "Logical_Router_Port", "NAT", "DHCP_Options", "DNS"):
        assert await asyncio.to_thread(bench.lab.nbctl, "--bare", "--columns=_uuid", "list", table) == "", table
