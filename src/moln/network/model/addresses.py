"""Arithmetic of IP and MAC addresses, on the canonical texts that rows keep."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Literal

from msgspec import Struct

from moln.kernel.errors import Conflict, Invalid

Version = Literal[4, 6]
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Cidr = ipaddress.IPv4Network | ipaddress.IPv6Network

BASE_MAC = "fa:16:3e"  # Neutron's default base_mac: its guests and Moln's look alike
METADATA_V4 = "169.254.169.254"


class Pool(Struct, frozen=True):
    """An inclusive range of addresses, `{"start": ..., "end": ...}` on the wire."""

    start: str
    end: str


def parse_address(text: object, *, field: str = "ip_address") -> Address:
    """An IP address. Raises: Invalid. Zone ids and IPv4 octets with leading zeros are refused."""
    try:
        if not isinstance(text, str) or "%" in text:
            raise ValueError(text)
        return ipaddress.ip_address(text)
    except ValueError:
        raise Invalid(f"Invalid input for {field}. Reason: '{text}' is not a valid IP address.", field=field) from None


def parse_cidr(text: object, *, field: str = "cidr", host_bits: bool = False) -> Cidr:
    """A network. host_bits: clear them (True) or refuse them (False). Raises: Invalid."""
    try:
        if not isinstance(text, str) or "%" in text or "/" not in text and not host_bits:
            raise ValueError(text)
        address, _, length = text.partition("/")
        if length and not length.isdecimal():  # a netmask or hostmask is not a CIDR
            raise ValueError(text)
        return ipaddress.ip_network(text, strict=not host_bits)
    except ValueError as problem:
        if not host_bits and "host bits" in str(problem):
            right = ipaddress.ip_network(str(text), strict=False)
            raise Invalid(
                f"Invalid input for {field}. Reason: '{text}' isn't a recognized IP subnet cidr, '{right}' is recommended.",
                field=field,
            ) from None
        raise Invalid(f"Invalid input for {field}. Reason: '{text}' is not a valid IP subnet.", field=field) from None


def parse_mac(text: object, *, field: str = "mac_address") -> str:
    """A MAC as six lower-case pairs with colons. Raises: Invalid, for multicast and all-zero ones too."""
    if isinstance(text, str):
        digits = text.replace(":", "").replace("-", "").lower()
        if len(digits) == 12 and len(text) in (12, 17) and all(c in "0123456789abcdef" for c in digits):
            if digits != "0" * 12 and not int(digits[:2], 16) & 1:
                return ":".join(digits[i : i + 2] for i in range(0, 12, 2))
    raise Invalid(f"Invalid input for {field}. Reason: '{text}' is not a valid MAC address.", field=field)


def mac_from(random: bytes) -> str:
    """A MAC of Neutron's vendor prefix; its last three bytes are `random`'s first three."""
    return ":".join([BASE_MAC, *(f"{byte:02x}" for byte in random[:3])])


def mac_of(identity: str, salt: str = "") -> str:
    """A MAC that stays the same for the same identity, for servers that exist in flows only (DHCP)."""
    import hashlib

    return mac_from(hashlib.blake2s((salt + identity).encode(), digest_size=3).digest())


def eui64(cidr: str, mac: str) -> str:
    """The address a host with this MAC takes by SLAAC in a /64 (RFC 4862, RFC 4291 appendix A)."""
    network = ipaddress.IPv6Network(cidr)
    raw = bytes.fromhex(mac.replace(":", ""))
    host = bytes([raw[0] ^ 2]) + raw[1:3] + b"\xff\xfe" + raw[3:]
    return str(network.network_address + int.from_bytes(host, "big"))


def default_pools(cidr: Cidr, gateway: str | None) -> tuple[Pool, ...]:
    """Every usable address but the gateway, as at most two ranges (Neutron's generate_pools).

    The network and broadcast addresses are left out, except in /31, /32, /127 and /128 (RFC 3021).
    """
    first, last = int(cidr.network_address), int(cidr.broadcast_address)
    if cidr.version == 4 and cidr.prefixlen < 31:
        first, last = first + 1, last - 1
    elif cidr.version == 6 and cidr.prefixlen < 127:
        first += 1
    kind = type(cidr.network_address)
    holes = [(first, last)]
    if gateway is not None and first <= (middle := int(ipaddress.ip_address(gateway))) <= last:
        holes = [(first, middle - 1), (middle + 1, last)]
    return tuple(Pool(str(kind(a)), str(kind(b))) for a, b in holes if a <= b)


def check_pools(cidr: Cidr, pools: Sequence[Pool], gateway: str | None) -> None:
    """Refuse ranges that are reversed, outside the CIDR, overlapping, or that hold the gateway. Raises: Invalid, Conflict."""
    spans: list[tuple[int, int, Pool]] = []
    for pool in pools:
        first, last = parse_address(pool.start, field="allocation_pools"), parse_address(pool.end, field="allocation_pools")
        if first.version != cidr.version or last.version != cidr.version or int(first) > int(last):
            raise Invalid(f"The allocation pool {pool.start}-{pool.end} is not valid.", type="InvalidAllocationPool")
        low, high = int(cidr.network_address), int(cidr.broadcast_address)
        if cidr.version == 4 and cidr.prefixlen < 31:
            low, high = low + 1, high - 1
        if int(first) < low or int(last) > high:
            raise Invalid(
                f"The allocation pool {pool.start}-{pool.end} spans beyond the subnet cidr {cidr}.", type="OutOfBoundsAllocationPool"
            )
        spans.append((int(first), int(last), pool))
    spans.sort(key=lambda span: span[:2])
    for (_, end, left), (begin, _, right) in zip(spans, spans[1:], strict=False):
        if begin <= end:
            raise Conflict(
                f"Found overlapping allocation pools: {left.start}-{left.end} {right.start}-{right.end} for subnet {cidr}.",
                type="OverlappingAllocationPools",
            )
    if gateway is not None:
        place = int(ipaddress.ip_address(gateway))
        for begin, end, pool in spans:
            if begin <= place <= end:
                raise Conflict(
                    f"Gateway ip {gateway} conflicts with allocation pool {pool.start}-{pool.end}.",
                    type="GatewayConflictWithAllocationPools",
                )


def size(pools: Iterable[Pool]) -> int:
    """How many addresses the ranges hold."""
    return sum(_size(p) for p in pools)


@lru_cache(4096)
def _size(pool: Pool) -> int:
    return int(ipaddress.ip_address(pool.end)) - int(ipaddress.ip_address(pool.start)) + 1


def nth(pools: Iterable[Pool], place: int) -> str:
    """The address at a place of the ranges together, from 0. Raises ValueError, beyond them."""
    for pool in pools:
        if place < (length := _size(pool)):
            return str(_first(pool) + place)
        place -= length
    raise ValueError(place)


@lru_cache(4096)
def _first(pool: Pool) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    return ipaddress.ip_address(pool.start)


def free_addresses(pools: Sequence[Pool], taken: frozenset[str] | set[str]) -> Iterator[str]:
    """Addresses of the ranges in order, without those taken."""
    for pool in pools:
        kind = type(ipaddress.ip_address(pool.start))
        for number in range(int(ipaddress.ip_address(pool.start)), int(ipaddress.ip_address(pool.end)) + 1):
            text = str(kind(number))
            if text not in taken:
                yield text


def sort_key(text: str) -> tuple[int, int]:
    """Orders addresses as numbers, IPv4 first."""
    address = ipaddress.ip_address(text)
    return address.version, int(address)


def in_cidr(address: str, cidr: str) -> bool:
    """Whether the address lies in the network (of its own version)."""
    place, network = ipaddress.ip_address(address), ipaddress.ip_network(cidr)
    return place.version == network.version and place in network


def overlap(a: str, b: str) -> bool:
    """Whether two networks of one version share an address."""
    one, other = ipaddress.ip_network(a), ipaddress.ip_network(b)
    return one.version == other.version and one.overlaps(other)
