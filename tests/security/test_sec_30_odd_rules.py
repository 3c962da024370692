"""SEC-30 (OSSA-2014-014, 2019-001, -002; CVE-2014-0187, CVE-2019-9735, -10876): no rule, however odd, costs anybody else their firewall."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from msgspec import structs
from tests.network import cases, lab
from tests.wire.areas import AreaApi
from tests.wire.network.conftest import Client, Inside, Outside, inside, neutron, outside  # noqa: F401 (fixtures)
from tests.wire.network.conftest import admin as admin
from tests.wire.network.conftest import alice as alice
from tests.wire.network.conftest import bob as bob

from moln.kernel.errors import Invalid
from moln.network.drivers.base import EngineSettings
from moln.network.drivers.ovn import OvnDriver
from moln.network.model.security_groups import (
    PROTOCOLS,
    SecurityGroupRule,
    canonical,
    parse_ethertype,
    parse_port,
    parse_prefix,
    parse_protocol,
)
from moln.network.model.topology import Desired

ODD: list[dict[str, Any]] = [
    {"protocol": "vrrp", "port_range_min": 1, "port_range_max": 2},      # CVE-2019-9735: ports for what has none
    {"protocol": "112", "port_range_min": 1, "port_range_max": 2}, {"protocol": 0, "port_range_min": 80, "port_range_max": 80},
    {"protocol": "tcp", "port_range_min": 20, "port_range_max": 10}, {"protocol": "tcp", "port_range_min": 0, "port_range_max": 10},
    {"protocol": "tcp", "port_range_min": 1, "port_range_max": 65536}, {"protocol": "tcp", "port_range_min": -1, "port_range_max": -1},
    {"protocol": "tcp", "port_range_min": "1;", "port_range_max": "2"}, {"protocol": "icmp", "port_range_min": 256},
    {"protocol": "icmp", "port_range_max": 1}, {"protocol": "256"}, {"protocol": -1}, {"protocol": "tcp || ip"}, {"protocol": "TCP\n"},
    {"protocol": 6.0}, {"protocol": True}, {"protocol": ["tcp"]}, {"port_range_min": 1, "port_range_max": 2},
    {"remote_ip_prefix": "10.0.0.0/33"}, {"remote_ip_prefix": "10.0.0.0/255.0.255.0"}, {"remote_ip_prefix": "10.0.0.0/8 || ip4"},
    {"remote_ip_prefix": "::/0", "ethertype": "IPv4"},                   # CVE-2014-0187
    {"remote_ip_prefix": "10.0.0.0/8", "ethertype": "IPv6"}, {"remote_ip_prefix": "fe80::1%eth0/64", "ethertype": "IPv6"},
    {"remote_ip_prefix": "10.0.0.0\x0b/8"}, {"remote_ip_prefix": "\u0661\u0660.0.0.0/8"}, {"remote_ip_prefix": "010.0.0.1"},
    {"remote_ip_prefix": 1}, {"remote_ip_prefix": "10.0.0.0/8", "remote_group_id": cases.GROUP}, {"remote_group_id": "x\" || 1"},
    {"remote_group_id": cases.GROUP}, {"remote_address_group_id": cases.GROUP}, {"ethertype": "IPv5"}, {"ethertype": "IPv4", "protocol": "icmpv6"},
    {"direction": "both"}, {"direction": None}, {"security_group_id": "x"}, {"no_such": 1},
]  # fmt: skip
MATCH = re.compile(r"(out|in)port == @pg_[0-9a-f_]+( && (ip[46](\.(src|dst) == (\$[\w]+|[0-9a-f.:]+(/\d+)?))?|icmp[46](\.(type|code) == \d+)?"
                   r"|(tcp|udp|sctp)(\.dst (==|>=|<=) \d+)?|ip\.proto == \d+))+", re.ASCII)  # fmt: skip


def acls(neutron: AreaApi) -> dict[str, Any]:  # noqa: F811
    rows = neutron.cloud.areas["network"].driver.engine.rows
    return {key: row.columns for key, row in rows.items() if row.table == "ACL"}


async def test_an_odd_rule_is_refused_and_changes_nobodys_firewall(alice: Client, bob: Client, neutron: AreaApi, inside: Inside) -> None:  # noqa: F811
    group = await alice.make("security-groups", name="odd")
    await alice.make("ports", network_id=inside.network["id"], security_groups=[group["id"]])
    await bob.list("security-groups")
    await neutron.settle()
    before = acls(neutron)
    for odd in ODD:
        body = {"security_group_id": group["id"], "direction": "ingress"} | odd
        answer = await alice.http.post("/network/v2.0/security-group-rules", json={"security_group_rule": body})
        assert answer.status_code in (400, 404, 409), (odd, answer.status_code, answer.text)
    await neutron.settle()
    assert acls(neutron) == before


async def test_rules_in_one_request_are_made_all_or_none(alice: Client, neutron: AreaApi, inside: Inside) -> None:  # noqa: F811
    group = await alice.make("security-groups", name="many")
    good = [{"security_group_id": group["id"], "direction": "ingress", "protocol": "tcp", "port_range_min": n, "port_range_max": n} for n in range(1, 9)]
    before = await alice.show("security-groups", group["id"])
    for odd in ODD[:12]:
        rules = [*good, {"security_group_id": group["id"], "direction": "ingress"} | odd]
        answer = await alice.http.post("/network/v2.0/security-group-rules", json={"security_group_rules": rules})
        assert answer.status_code in (400, 404, 409), answer.text
    after = await alice.show("security-groups", group["id"])
    assert after["security_group_rules"] == before["security_group_rules"] and after["revision_number"] == before["revision_number"]
    answer = await alice.http.post("/network/v2.0/security-group-rules", json={"security_group_rules": good})
    assert answer.status_code == 201 and len(answer.json()["security_group_rules"]) == 8


async def test_every_rule_that_is_taken_is_a_match_of_our_own_grammar(alice: Client, neutron: AreaApi, inside: Inside) -> None:  # noqa: F811
    group = await alice.make("security-groups", name="all")
    taken = 0
    for protocol, ethertype in itertools.product([None, *sorted(PROTOCOLS), "0", "255", 6, "17"], ("IPv4", "IPv6")):
        body = {"security_group_id": group["id"], "direction": "ingress", "protocol": protocol, "ethertype": ethertype}
        answer = await alice.http.post("/network/v2.0/security-group-rules", json={"security_group_rule": body})
        assert answer.status_code in (201, 400, 409), answer.text
        taken += answer.status_code == 201
    await neutron.settle()
    found = [columns["match"] for columns in acls(neutron).values() if "pg_" + group["id"].replace("-", "_") in columns["match"]]
    assert len(found) == taken + 2, "and those that let everything out"
    assert all(MATCH.fullmatch(match) for match in found), [match for match in found if not MATCH.fullmatch(match)]


def every_rule() -> Iterator[SecurityGroupRule]:
    """All that the API would take of a product of protocols, ports and prefixes."""
    ports = [(None, None), (0, None), (1, 1), (8, 0), (1, 65535), (22, 80), (255, 255)]
    prefixes = [None, "10.0.0.5", "0.0.0.0/0", "10.1.2.3/9", "::/0", "2001:db8::1", "::ffff:10.0.0.1"]
    protocols = [None, *sorted(PROTOCOLS), "0", "1", "58", "255"]
    numbers = itertools.count(100)
    for protocol, (low, high), prefix, ethertype, direction in itertools.product(protocols, ports, prefixes, ("IPv4", "IPv6"), ("ingress", "egress")):
        try:
            yield canonical(cases.rule(
                next(numbers), direction=direction, protocol=parse_protocol(protocol), port_range_min=parse_port(low, "a"),
                port_range_max=parse_port(high, "b"), remote_ip_prefix=parse_prefix(prefix), ethertype=parse_ethertype(ethertype),
            ))  # fmt: skip
        except Invalid:
            continue


@pytest.mark.engines
@pytest.mark.skipif(not lab.available(), reason="needs root and OVN")
async def test_ovn_understands_every_rule_that_is_taken() -> None:
    """A real northd makes the flows, and a real parser reads them all: one that it did not would be left out, and its host's with it."""
    rules = {rule.id: rule for rule in every_rule()}
    assert len(rules) > 1000
    central = lab.Central()
    try:
        driver = OvnDriver(central.northbound, central.southbound, EngineSettings())
        await driver.start(1)
        await driver.apply(Desired(topology=structs.replace(cases.small_cloud(), rules=rules), complete=True))
        await driver.stop()
        central.nbctl("--wait=sb", "sync")
        assert central.nbctl("--bare", "--columns=_uuid", "list", "ACL").count("\n") > 1000
        assert complaints(central) == ""
        central.nbctl("acl-add", f"neutron-{cases.NET}", "to-lport", "1", "ip4.src == 10.0.0.0/99", "drop")
        central.nbctl("--wait=sb", "sync")
        assert "parsing" in complaints(central), "it would have been seen"
    finally:
        central.close()


def complaints(central: lab.Central) -> str:
    """What ovn-trace says of flows that it cannot read: it reads every one, as ovn-controller does."""
    packet = f'inport == "{cases.ONE}" && eth.src == {cases.MAC}1'
    command = ["ovn-trace", f"--db={central.southbound}", "--summary", f"neutron-{cases.NET}", packet]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env={**os.environ, **central.env})
    assert done.returncode == 0, done.stderr
    return done.stderr
