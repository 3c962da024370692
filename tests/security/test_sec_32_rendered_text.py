"""SEC-32 (OSSA-2021-005, CVE-2021-40085; OSSA-2014-039): what a caller writes stays one value wherever it is written.

OVN pastes DHCP options into the actions of logical flows: a comma and a parenthesis are enough to add actions of one's own there.
"""

from __future__ import annotations

import re
from typing import Any
from xml.etree.ElementTree import fromstring

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec import structs
from tests.compute.world import World, world  # noqa: F401 (a fixture)
from tests.network import cases, lab
from tests.wire.areas import AreaApi
from tests.wire.network.conftest import Client, Inside, Outside, inside, neutron, outside  # noqa: F401 (fixtures)
from tests.wire.network.conftest import admin as admin
from tests.wire.network.conftest import alice as alice

from moln.compute.drivers.base import ServerSpec
from moln.compute.drivers.domain_xml import Look, domain_xml
from moln.network.drivers.base import EngineSettings
from moln.network.drivers.ovn import OvnDriver
from moln.network.drivers.rows import Row
from moln.network.model.dhcp_options import NAMES, rendered
from moln.network.model.ports import DhcpOption
from moln.network.model.topology import Desired

ESCAPES = [                                        # what an honest value never holds, and what it did to OVN's actions
    '8.8.8.8); outport = "victim"; output; reg0[3] = put_dhcp_opts(offerip = 10.0.0.5, mtu = 1400', "8.8.8.8, lease_time = 1", "1400); drop; ",
    "{8.8.8.8}; next;", "fe80::1%eth0); drop;", '"', "\\", 'a"', "a\\", '"; drop; "', "1\n2", "1\r2", "1\x002", "10.0.0.0/24,10.0.0.1}); drop;",
    "10.0.0.0/24", "${IFS}", "é", "\u202e", "", " ",
]  # fmt: skip
ADDRESS = r"[0-9a-f.:]+"
ONE_VALUE = re.compile(
    rf'\d+|{ADDRESS}|\{{{ADDRESS}(, {ADDRESS})*\}}|\{{[0-9.]+/\d+,[0-9.]+(, [0-9.]+/\d+,[0-9.]+)*\}}|"[ !#-\[\]-~]+"', re.ASCII
)
KNOWN = [(version, name) for version, names in NAMES.items() for name in names]
HOSTILE_NAMES = [
    "a\nb", "a\r\nX-Evil: 1", "\x1b[2J\x07", "a\tb", "\u2028\u2029", "</title><script>x</script>", "&amp;]]>", "'\"; drop", "$(id)`id`", "a" * 255,
    "%s%n{0}", "../../etc/passwd", "\ufeff\u202egnp", "--help", "\ufffe", "x y.z_w",
]  # fmt: skip


@given(st.sampled_from(KNOWN), st.one_of(st.sampled_from(ESCAPES), st.text(max_size=40), st.ip_addresses().map(str), st.integers().map(str)))
@example((4, "121"), "10.9.0.0/16,10.0.0.1,10.8.0.0/16,10.0.0.2")
@example((4, "dns-server"), "{8.8.8.8, 1.1.1.1}")
@example((6, "dns-server"), "2001:DB8::1,::1")
def test_an_option_is_one_value_or_refused(option: tuple[int, str], value: str) -> None:
    version, name = option
    try:
        found = rendered(name, value, version)
    except ValueError:
        return
    assert found is not None and ONE_VALUE.fullmatch(found[1]), found


async def test_the_api_refuses_what_would_be_more_than_a_value(alice: Client, neutron: AreaApi, inside: Inside) -> None:  # noqa: F811
    port = await alice.make("ports", network_id=inside.network["id"])
    for name in ("dns-server", "6", "mtu", "classless-static-route", "bootfile-name", "domain-search"):
        words = name in ("bootfile-name", "domain-search")
        for value in ESCAPES:
            if words and rendered_word(value):
                continue
            body = {"port": {"extra_dhcp_opts": [{"opt_name": name, "opt_value": value}]}}
            answer = await alice.http.put(f"/network/v2.0/ports/{port['id']}", json=body)
            assert answer.status_code == 400 and answer.json()["NeutronError"]["type"] == "HTTPBadRequest", (name, value, answer.text)
    refused = await alice.refused(400, "ports", port["id"], extra_dhcp_opts=[{"opt_name": "mtu", "opt_value": "1400, x"}])
    assert "extra_dhcp_opts" in refused["message"] and "'1400, x' is no value of option mtu" in refused["message"]
    await alice.change("ports", port["id"], extra_dhcp_opts=[{"opt_name": "bootfile-name", "opt_value": "8.8.8.8); drop;"}])
    await neutron.settle()
    rows: dict[str, Row] = neutron.cloud.areas["network"].driver.engine.rows
    options = [row.columns["options"] for row in rows.values() if row.table == "DHCP_Options"]
    assert len(options) == 2 and all(ONE_VALUE.fullmatch(text) for found in options for text in found.values()), options


def rendered_word(value: str) -> bool:
    """Whether it is an honest text, which in quotes does no harm."""
    return bool(re.fullmatch(r"[ !#-\[\]-~]+", value))


async def test_honest_options_arrive(alice: Client, neutron: AreaApi, inside: Inside) -> None:  # noqa: F811
    given = {
        "bootfile-name": ("pxelinux.0", '"pxelinux.0"'), "tftp-server": ("192.0.2.1", '"192.0.2.1"'), "server-ip-address": ("192.0.2.2", "192.0.2.2"),
        "dns-server": ("192.0.2.3,192.0.2.4", "{192.0.2.3, 192.0.2.4}"), "mtu": ("1400", "1400"), "wpad": ("http://x/wpad.dat?a=(b);c", '"http://x/wpad.dat?a=(b);c"'),
        "121": ("198.51.100.0/24,10.0.0.9", "{198.51.100.0/24,10.0.0.9}"), "no-such-option": ("any); thing", None),
    }  # fmt: skip
    options = [{"opt_name": name, "opt_value": value} for name, (value, _) in given.items()]
    port = await alice.make("ports", network_id=inside.network["id"], extra_dhcp_opts=options)
    assert {(o["opt_name"], o["opt_value"]) for o in port["extra_dhcp_opts"]} == {(name, value) for name, (value, _) in given.items()}
    await neutron.settle()
    row = neutron.cloud.areas["network"].driver.engine.rows[f"port:{port['id']}/dhcpv4"]
    for name, (_, text) in given.items():
        if text is not None:
            assert row.columns["options"][NAMES[4][name]] == text
    assert not any("thing" in text for text in row.columns["options"].values())


@pytest.mark.engines
@pytest.mark.skipif(not lab.available(), reason="needs root and OVN")
async def test_what_an_older_release_kept_adds_no_action_to_a_flow() -> None:
    """Rows with such values, through a real northd: its flows name no port of another."""
    central = lab.Central()
    try:
        cloud = cases.small_cloud()
        options = tuple(DhcpOption(name, value) for name in ("dns-server", "bootfile-name", "hostname", "mtu") for value in ESCAPES)
        port = structs.replace(cloud.ports[cases.ONE], extra_dhcp_opts=(*options, DhcpOption("wpad", "http://x/);drop;")))
        driver = OvnDriver(central.northbound, central.southbound, EngineSettings())
        await driver.start(1)
        await driver.apply(Desired(topology=structs.replace(cloud, ports={**cloud.ports, cases.ONE: port}), complete=True))
        await driver.stop()
        central.nbctl("--wait=sb", "sync")
        flows = [f for f in central.sbctl("--bare", "--columns=actions", "list", "Logical_Flow").splitlines() if "put_dhcp_opts" in f]
    finally:
        central.close()
    assert any('wpad = "http://x/);drop;"' in flow for flow in flows), "an honest word with a parenthesis is one"
    for flow in flows:
        outside_words = re.sub(r'"[^"\\]*"', '""', flow)
        assert re.fullmatch(r"reg0\[3\] = put_dhcp(v6)?_opts\([^()]*\); next;", outside_words), flow
        assert "victim" not in flow


async def test_names_of_servers_reach_guests_domains_and_dns_as_one_value(world: World) -> None:  # noqa: F811
    """A server may be called anything; its host name, its domain's title and its answers in DNS are labels and lines of ours."""
    for name in HOSTILE_NAMES:
        answer = await world.api.member.post(
            "/compute/v2.1/servers", headers={"OpenStack-API-Version": "compute 2.90"},
            json={"server": {"name": name, "flavorRef": world.small, "imageRef": world.image, "networks": [{"uuid": world.network}]}},
        )  # fmt: skip
        assert answer.status_code in (202, 400), (name, answer.text)
    await world.settle()
    found = (await world.call("GET", "/servers/detail", 200))["servers"]
    assert len(found) >= 8, "most may be had"
    assert all(re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", server["OS-EXT-SRV-ATTR:hostname"]) for server in found)
    rows: dict[str, Any] = world.cloud.areas["network"].driver.engine.rows
    names = {name for row in rows.values() if row.table == "DNS" for name in row.columns["records"]}
    assert names and all(re.fullmatch(r"[a-z0-9.:-]+", name) for name in names), names


@given(st.one_of(st.sampled_from(HOSTILE_NAMES), st.text(max_size=60)))
def test_a_domain_is_well_formed_whatever_its_server_is_called(name: str) -> None:
    spec = ServerSpec(id="11111111-1111-4111-8111-111111111111", generation=1, name=name, vcpus=1, ram_mib=64)
    domain = fromstring(domain_xml(spec, Look(kvm=False, emulator="/usr/bin/qemu-system-x86_64"), lab.OVN_SCHEMAS, None))
    assert domain.findtext("name") == "moln-11111111-1111-4111-8111-111111111111"
    title = domain.findtext("title") or ""
    assert title.isprintable() and len(domain.findall("devices/emulator")) == 1


async def test_names_that_dns_cannot_have_are_refused(alice: Client, inside: Inside) -> None:  # noqa: F811
    for name in ('a"; drop', "a\nb", "a b", "a_b", "-", "é", "a" * 64, "a..b", "x;y", "$(x)"):
        for body in ({"dns_name": name}, {"dns_domain": name + "."}):
            if name == "-" and "dns_name" in body:
                continue
            answer = await alice.http.post("/network/v2.0/ports", json={"port": {"network_id": inside.network["id"], **body}})
            assert answer.status_code == 400, (name, body)
        answer = await alice.http.put(f"/network/v2.0/networks/{inside.network['id']}", json={"network": {"dns_domain": name + "."}})
        assert answer.status_code == 400, name
