"""Rules and addresses: what holds for every input."""

from __future__ import annotations

import ipaddress
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moln.kernel.errors import Conflict, Invalid
from moln.network.drivers.ovn_groups import match
from moln.network.model import addresses
from moln.network.model.addresses import Pool
from moln.network.model.security_groups import (
    PROTOCOLS,
    SecurityGroupRule,
    canonical,
    parse_ethertype,
    parse_port,
    parse_prefix,
    parse_protocol,
)
from moln.network.model.topology import Chassis, gateway_candidates

ODD = st.one_of(
    st.none(), st.text(max_size=20), st.integers(-5, 70000), st.sampled_from([*PROTOCOLS, "any", "IPv4", "IPv6", "10.0.0.0/8", "::/0"])
)
settings.register_profile("network", deadline=None)  # a busy machine is no failure
settings.load_profile("network")
SAFE = re.compile(r"[\w@$.:/<>=&! ]+")


@given(protocol=ODD, low=ODD, high=ODD, prefix=ODD, ethertype=ODD, direction=st.sampled_from(["ingress", "egress"]))
def test_a_rule_is_refused_or_becomes_a_match_without_surprises(
    protocol: object, low: object, high: object, prefix: object, ethertype: object, direction: str
) -> None:
    """SEC-30, SEC-32: whatever a user writes, the engine sees only addresses, numbers and names of its own grammar."""
    try:
        rule = canonical(
            SecurityGroupRule(
                id="r", security_group_id="0-1", project_id="p", direction=direction, ethertype=parse_ethertype(ethertype),
                protocol=parse_protocol(protocol), port_range_min=parse_port(low, "a"), port_range_max=parse_port(high, "b"),
                remote_ip_prefix=parse_prefix(prefix),
            )  # type: ignore[arg-type]
        )  # fmt: skip
    except Invalid:
        return
    assert SAFE.fullmatch(match(rule)), match(rule)
    assert canonical(rule) == rule, "a rule that is kept would be kept again"


@given(net=st.ip_addresses(v=4), length=st.integers(1, 32), gateway=st.booleans())
def test_default_pools_hold_every_address_but_the_gateway(net: ipaddress.IPv4Address, length: int, gateway: bool) -> None:
    cidr = ipaddress.ip_network((net, length), strict=False)
    first = str(cidr.network_address + 1) if gateway and length < 31 else None
    pools = addresses.default_pools(cidr, first)
    usable = cidr.num_addresses - (2 if length < 31 else 0) - (1 if first else 0)
    assert addresses.size(pools) == usable
    addresses.check_pools(cidr, pools, first)


def test_every_place_of_the_pools_is_one_of_their_addresses() -> None:
    for pools in ([Pool("10.0.0.2", "10.0.0.4"), Pool("10.0.0.9", "10.0.0.9")], [Pool("fd00::fffe", "fd00::1:1")]):
        places = [addresses.nth(pools, place) for place in range(addresses.size(pools))]
        assert places == list(addresses.free_addresses(pools, set()))
        with pytest.raises(ValueError, match="0"):
            addresses.nth(pools, len(places))


def test_pools_that_overlap_or_hold_the_gateway_are_refused() -> None:
    cidr = ipaddress.ip_network("10.0.0.0/24")
    for pools, gateway in (
        ([Pool("10.0.0.2", "10.0.0.9"), Pool("10.0.0.9", "10.0.0.20")], None),
        ([Pool("10.0.0.1", "10.0.0.9")], "10.0.0.5"),
    ):
        with pytest.raises(Conflict):
            addresses.check_pools(cidr, pools, gateway)


@given(st.binary(min_size=3, max_size=8))
def test_macs_made_are_macs(random: bytes) -> None:
    assert addresses.parse_mac(addresses.mac_from(random)) == addresses.mac_from(random)


@pytest.mark.parametrize(
    "text", ["", "fa:16:3e:00:00", "01:00:5e:00:00:01", "00:00:00:00:00:00", "fa:16:3e:00:00:0g", "fa163e00:0001", None, 5]
)
def test_what_is_no_guests_mac_is_refused(text: object) -> None:
    with pytest.raises(Invalid):
        addresses.parse_mac(text)


@given(st.sets(st.integers(0, 50), min_size=2, max_size=20), st.uuids())
def test_a_chassis_that_leaves_moves_only_its_own_gateways(numbers: set[int], router: object) -> None:
    nodes = [Chassis(name=f"n{n}", hostname=f"n{n}", physical_networks=("public",)) for n in sorted(numbers)]
    before = gateway_candidates(str(router), "public", nodes)
    gone = nodes[0].name
    after = gateway_candidates(str(router), "public", nodes[1:])
    assert after[0] == before[0] or before[0] == gone


def test_only_chassis_on_the_physical_network_carry_gateways() -> None:
    nodes = [
        Chassis(name="a", hostname="a", physical_networks=("public",)), Chassis(name="b", hostname="b"),
        Chassis(name="c", hostname="c", physical_networks=("public",), gateway=False),
    ]  # fmt: skip
    assert gateway_candidates("r", "public", nodes) == ["a"]
