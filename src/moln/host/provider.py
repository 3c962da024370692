"""The host's end of the provider network: how it reaches floating IPs, and how guests get out.

A veth pair joins the provider bridge: unlike the bridge's own port it survives a restart of ovs-vswitchd, so that
address, routes and connections stay. A blackhole route with the worst metric lies below the range: while the gateway
is away, nothing for it ever leaves by the default route.
"""

from __future__ import annotations

import ipaddress
import json
import socket
from pathlib import Path
from typing import Any

from moln.host import made
from moln.host.places import GATEWAY_PORT, INTEGRATION_BRIDGE, PROVIDER_BRIDGE, Places
from moln.host.run import HostError, run, succeeds
from moln.host.settings import HostSettings

PEER = GATEWAY_PORT + "-p"
"""The end of the pair that is a port of the provider bridge."""

WORST_METRIC = 4294967295
FORWARD = Path("/proc/sys/net/ipv4/ip_forward")
TABLE = "moln"


def ensure_provider(places: Places, settings: HostSettings) -> None:
    """Route, veth, address, forwarding and NAT. Raises: HostError, when the range is in use already."""
    cidr = settings.provider
    check_free(cidr, json.loads(run("ip", "-j", "-4", "address")))
    record = made.read(places)
    record.blackholes = sorted({*record.blackholes, str(cidr)})
    note_links(record)
    if settings.provider_nat:
        record.nft = True
        if record.ip_forward is None and FORWARD.read_text().strip() == "0":
            record.ip_forward = 0
    made.write(places, record)
    run("ip", "-4", "route", "replace", "blackhole", str(cidr), "metric", str(WORST_METRIC))
    if not link_exists(GATEWAY_PORT):
        run("ip", "link", "add", GATEWAY_PORT, "type", "veth", "peer", "name", PEER)
    for end in (GATEWAY_PORT, PEER):
        # The userspace datapath does not finish checksums that the kernel left to a device (also right for the other).
        run("ethtool", "-K", end, "tx", "off")
        Path(f"/proc/sys/net/ipv6/conf/{end}/disable_ipv6").write_text("1")
        run("ip", "link", "set", end, "up")
    mine = f"{settings.gateway}/{cidr.prefixlen}"
    run("ip", "address", "replace", mine, "dev", GATEWAY_PORT)
    for old in addresses(json.loads(run("ip", "-j", "-4", "address", "show", "dev", GATEWAY_PORT))):
        if old != mine:      # of a range that the settings named before
            run("ip", "address", "delete", old, "dev", GATEWAY_PORT)
    if settings.provider_nat:
        FORWARD.write_text("1")
        run("nft", "-f", "-", input=rules(settings))


def note_bridges(places: Places) -> None:
    """The userspace datapath's outlast Open vSwitch, also on a machine that has no part in the provider network."""
    record = made.read(places)
    note_links(record)
    made.write(places, record)


def note_links(record: made.Made) -> None:
    """Those of every machine with guests' networks."""
    record.links += [link for link in (GATEWAY_PORT, INTEGRATION_BRIDGE, PROVIDER_BRIDGE) if link not in record.links]


def ensure_interface(places: Places, card: str, *, userspace: bool) -> None:
    """A card of the provider network becomes the bridge's: up, and without an address, for whatever it hears is guests'.

    userspace: of the datapath, for which the kernel must not join packets. Raises: HostError, when it is no card or somebody uses it.
    """
    check_card(card)
    remove_gateway(places)
    record = made.read(places)
    note_links(record)
    record.quiet.setdefault(card, _ipv6(card).read_text().strip())
    made.write(places, record)
    _ipv6(card).write_text("1")
    if userspace:
        succeeds("ethtool", "-K", card, "gro", "off", "lro", "off")
    run("ip", "link", "set", card, "up")


def check_card(card: str, links: list[dict[str, Any]] | None = None) -> None:
    """links: of `ip -j -d address`, here and now unless given. Raises: HostError, which tells which cards there are or who uses this one."""
    links = json.loads(run("ip", "-j", "-d", "address")) if links is None else links
    found = next((link for link in links if link["ifname"] == card), None)
    if found is None:
        free = [link["ifname"] for link in links if link.get("link_type") == "ether" and not _used(link)]
        raise HostError(f"There is no interface {card} here; without an address there are: {', '.join(free) or 'none'}.")
    if why := _used(found):
        raise HostError(f"The provider network's interface must be free, but {card} {why}.")


def _used(link: dict[str, Any]) -> str:
    """Why a card is no bridge's to take; empty: it may be. An IPv6 address that it gave itself does not count."""
    own = [a for a in link.get("addr_info", []) if a["family"] != "inet6" or not (a.get("scope") == "link" or a.get("dynamic"))]
    if own:
        return f"has the address {own[0]['local']}"
    if link.get("master") not in (None, "ovs-system"):
        return f"belongs to {link['master']}"
    return "is the loopback" if link.get("link_type") == "loopback" else ""


def _ipv6(card: str) -> Path:
    return Path(f"/proc/sys/net/ipv6/conf/{card}/disable_ipv6")


def link_exists(name: str) -> bool:
    """In this process's network namespace; /sys/class/net may show another's."""
    return name in {found for _, found in socket.if_nameindex()}


def addresses(links: list[dict[str, object]]) -> list[str]:
    """ADDRESS/LENGTH of each, out of `ip -j address`."""
    return [f"{a['local']}/{a['prefixlen']}" for link in links for a in link.get("addr_info", [])]  # type: ignore[attr-defined]


def check_free(cidr: ipaddress.IPv4Network, links: list[dict[str, object]]) -> None:
    """links: of `ip -j address`. Raises: HostError, when another interface's network overlaps the range."""
    for link in links:
        if link["ifname"] in (GATEWAY_PORT, PEER):
            continue
        for address in addresses([link]):
            found = ipaddress.ip_interface(address).network
            if found.version == 4 and found.overlaps(cidr):
                raise HostError(f"The floating range {cidr} overlaps {found} on {link['ifname']}; choose another "
                                "provider_cidr under [host] in moln.toml.")


def rules(settings: HostSettings) -> str:
    """Our nftables table, whole: what leaves the range for elsewhere takes the host's address; only guests' traffic
    and its answers are forwarded on the gateway's behalf."""
    cidr = settings.provider
    return f"""
table ip {TABLE} {{}}
delete table ip {TABLE}
table ip {TABLE} {{
  chain postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr {cidr} ip daddr != {cidr} oifname != "{GATEWAY_PORT}" masquerade
  }}
  chain forward {{
    type filter hook forward priority filter; policy accept;
    oifname "{GATEWAY_PORT}" ct state established,related accept
    oifname "{GATEWAY_PORT}" iifname != "{GATEWAY_PORT}" drop
    iifname "{GATEWAY_PORT}" ip saddr != {cidr} drop
  }}
}}
"""


def remove_gateway(places: Places) -> None:
    """This machine is the provider network's router no longer; forwarding stays as it is."""
    record = made.read(places)
    if record.nft:
        succeeds("nft", "delete", "table", "ip", TABLE)
    if link_exists(GATEWAY_PORT):
        succeeds("ip", "link", "delete", GATEWAY_PORT)
    for cidr in record.blackholes:
        succeeds("ip", "-4", "route", "delete", "blackhole", cidr, "metric", str(WORST_METRIC))
    record.nft, record.blackholes = False, []
    made.write(places, record)


def remove_provider(places: Places) -> None:
    """Put back what ensure_provider changed."""
    record = made.read(places)
    for card, before in record.quiet.items():
        if link_exists(card):
            _ipv6(card).write_text(before)
    remove_gateway(places)
    for link in record.links:
        if link_exists(link):
            succeeds("ip", "link", "delete", link)
    if record.ip_forward is not None:
        FORWARD.write_text(str(record.ip_forward))
