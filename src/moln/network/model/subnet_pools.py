"""Subnet pools and address scopes: prefixes that subnets are cut from (network v2.0 api-ref, "Subnet pools", "Address scopes")."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator

from msgspec import Struct

from moln.kernel.errors import Invalid
from moln.network.model.addresses import Cidr, Version, parse_cidr

LOWEST = {4: 8, 6: 64}  # min_prefixlen of a pool that names none
HIGHEST = {4: 32, 6: 128}
QUOTA_UNIT = {4: 32, 6: 64}  # default_quota counts networks of this length


class AddressScope(Struct, frozen=True, kw_only=True):
    """Pools whose prefixes do not overlap, so that their subnets may be routed to each other without NAT."""

    id: str
    project_id: str
    ip_version: Version
    name: str = ""
    shared_with: tuple[str, ...] = ()
    created_at: int = 0
    updated_at: int = 0
    revision_number: int = 1


class SubnetPool(Struct, frozen=True, kw_only=True):
    """Prefixes of one IP version. default_quota: what one project may take, in networks of QUOTA_UNIT's length; None for all."""

    id: str
    project_id: str
    ip_version: Version
    prefixes: tuple[str, ...]
    min_prefixlen: int
    default_prefixlen: int
    max_prefixlen: int
    name: str = ""
    description: str = ""
    default_quota: int | None = None
    is_default: bool = False
    address_scope_id: str | None = None
    shared_with: tuple[str, ...] = ()
    created_at: int = 0
    updated_at: int = 0
    revision_number: int = 1


def compact(prefixes: Iterable[str]) -> tuple[str, ...]:
    """The same addresses in as few prefixes as can be, in order. Raises: Invalid for none, or of two IP versions."""
    networks = [parse_cidr(p, field="prefixes", host_bits=True) for p in prefixes]
    if not networks:
        raise Invalid("Empty subnet pool prefix list.", type="EmptySubnetPoolPrefixList")
    if len({n.version for n in networks}) > 1:
        raise Invalid("Cannot mix IPv4 and IPv6 prefixes in a subnet pool.", type="PrefixVersionMismatch")
    return tuple(str(n) for n in ipaddress.collapse_addresses(networks))  # type: ignore[type-var]


def check_bounds(version: Version, low: int, default: int, high: int) -> None:
    """min ≤ default ≤ max, all possible. Raises: Invalid."""
    if low < 0 or high > HIGHEST[version]:
        wrong = low if low < 0 else high
        raise Invalid(f"Prefix '{wrong}' not supported in IPv{version} pool.", type="UnsupportedMinSubnetPoolPrefix")
    for name, value, base, limit, wrong_way in (
        ("min_prefixlen", low, "max_prefixlen", high, low > high),
        ("default_prefixlen", default, "min_prefixlen", low, default < low),
        ("default_prefixlen", default, "max_prefixlen", high, default > high),
    ):
        if wrong_way:
            raise Invalid(f"Illegal prefix bounds: {name}={value}, {base}={limit}.", type="IllegalSubnetPoolPrefixBounds")


def holds(prefixes: Iterable[str], cidr: Cidr) -> bool:
    """Whether one of the prefixes contains the network."""
    networks = map(ipaddress.ip_network, prefixes)
    return any(n.version == cidr.version and cidr.subnet_of(n) for n in networks)  # type: ignore[arg-type]


def meets(one: Iterable[str], other: Iterable[str]) -> bool:
    """Whether two lists of prefixes share an address."""
    others = [ipaddress.ip_network(p) for p in other]
    return any(a.version == b.version and a.overlaps(b) for a in map(ipaddress.ip_network, one) for b in others)


def minus(prefixes: Iterable[str], gone: Iterable[str]) -> tuple[str, ...]:
    """The prefixes without the addresses of `gone`, in order."""
    left: list[Cidr] = [ipaddress.ip_network(p) for p in prefixes]
    for hole in map(ipaddress.ip_network, gone):
        rest: list[Cidr] = []
        for network in left:
            if network.version != hole.version or not network.overlaps(hole):
                rest.append(network)
            elif network.prefixlen < hole.prefixlen:
                rest += network.address_exclude(hole)  # type: ignore[arg-type]
        left = rest
    return tuple(str(n) for n in ipaddress.collapse_addresses(left))  # type: ignore[type-var]


def free(prefixes: Iterable[str], taken: Iterable[str]) -> Iterator[Cidr]:
    """What is left of the prefixes, the smallest pieces first (Neutron's order, which keeps large ones whole)."""
    yield from sorted(map(ipaddress.ip_network, minus(prefixes, taken)), key=lambda n: (-n.prefixlen, int(n.network_address)))


def cut(prefixes: Iterable[str], taken: Iterable[str], length: int) -> Cidr | None:
    """A free network of that prefix length, or None."""
    for piece in free(prefixes, taken):
        if piece.prefixlen <= length:
            first: Cidr = next(iter(piece.subnets(new_prefix=length)))  # type: ignore[assignment]
            return first
    return None


def quota_units(version: int, length: int) -> int:
    """What a network of this length costs of default_quota; smaller than a unit counts as one."""
    return max(1, 1 << max(0, QUOTA_UNIT[version] - length))
