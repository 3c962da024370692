"""Guests' traffic between machines where Open vSwitch forwards in user space.

With the kernel's datapath the kernel carries the tunnels, and nothing is to be set up. In user space they begin and end in Open
vSwitch, which would have to own the card of the management network, and with it the machine's address: gone whenever ovs-vswitchd is.
Here the kernel keeps both. A veth pair joins it to a bridge: what OVS sends from the machine's address the kernel routes as its own, and
what comes for the tunnels' port is led there: nftables lends it another destination for as long as it is routed, without tracking it.
"""

from __future__ import annotations

import json
import shlex
from ipaddress import IPv4Address, ip_address
from pathlib import Path
from typing import Any, NamedTuple

from moln.host import made
from moln.host.places import Places
from moln.host.provider import FORWARD, link_exists
from moln.host.run import HostError, run, succeeds

BRIDGE = "moln-tun"
NEAR, FAR = "moln-tun-k", "moln-tun-p"
"""The pair: the kernel's end, and the one that is a port of the bridge."""

KERNEL, SWITCH = "169.254.77.1", "169.254.77.2"
"""The ends of the pair as routes name them; no packet leaves the machine with either."""

PREFIX = 30

PORT = 6081  # geneve
TABLE = "moln-tun"
TRIES = 100


def ensure_tunnels(places: Places, address: str) -> None:
    """address: this machine's, on the management network. Raises: HostError, when it is not."""
    card = underlay(address)
    record = made.read(places)
    record.tunnels = True
    if record.ip_forward is None and FORWARD.read_text().strip() == "0":
        record.ip_forward = 0
    record.links += [link for link in (NEAR, BRIDGE) if link not in record.links]
    made.write(places, record)
    if not link_exists(NEAR):
        run("ip", "link", "add", NEAR, "type", "veth", "peer", "name", FAR)
    for end in (NEAR, FAR):
        Path(f"/proc/sys/net/ipv6/conf/{end}/disable_ipv6").write_text("1")
        run("ip", "link", "set", end, "mtu", str(card.mtu), "up")
    # What OVS sends comes from an address that is the machine's own: the kernel takes that for forged otherwise.
    Path(f"/proc/sys/net/ipv4/conf/{NEAR}/accept_local").write_text("1")
    run("ip", "address", "replace", f"{KERNEL}/{PREFIX}", "dev", NEAR)
    run("ip", "neighbour", "replace", address, "lladdr", card.mac, "dev", NEAR, "nud", "permanent")
    FORWARD.write_text("1")
    run("nft", "-f", "-", input=rules(address))


class Card(NamedTuple):
    """What has the machine's address. mtu: bytes."""

    mac: str
    mtu: int


def underlay(address: str) -> Card:
    """Raises: HostError, when nothing here has the address."""
    return card_of(address, json.loads(run("ip", "-j", "address")))


def card_of(address: str, links: list[dict[str, Any]]) -> Card:
    """links: of `ip -j address`. Raises: HostError."""
    for link in links:
        if link["ifname"] != BRIDGE and any(a["local"] == address for a in link.get("addr_info", [])):
            if not isinstance(ip_address(address), IPv4Address):
                raise HostError("Where the kernel has no openvswitch, the management network must be one of IPv4.")
            return Card(link["address"], int(link["mtu"]))
    raise HostError(f"This machine does not have the address {address}.")


def rules(address: str) -> str:
    """Our nftables table, whole."""
    return f"""
table ip {TABLE} {{}}
delete table ip {TABLE}
table ip {TABLE} {{
  chain in {{
    type filter hook prerouting priority raw; policy accept;
    iifname "{NEAR}" notrack
    iifname != "{NEAR}" ip daddr {address} udp dport {PORT} notrack ip daddr set {SWITCH}
  }}
  chain out {{
    type filter hook postrouting priority mangle; policy accept;
    oifname "{NEAR}" ip daddr {SWITCH} ip daddr set {address}
  }}
}}
"""


def bridge_setup(mac: str) -> list[str]:
    """More words for the ovs-vsctl that makes bridges. mac: of the card, for OVS takes what comes for that and the machine's address."""
    return ["--", "--may-exist", "add-br", BRIDGE, "--", "set", "bridge", BRIDGE, "datapath_type=netdev",
            f'other_config:hwaddr="{mac}"', "--", "--may-exist", "add-port", BRIDGE, FAR]  # fmt: skip


def after_start(appctl: str, control: str) -> list[str]:
    """What each start of ovs-vswitchd needs, for its bridges' own ports are new then, and its routes forgotten.

    The address is on the bridge because OVS looks for it there; it is not a local one for the kernel, which is to forward to it.
    """
    script = f"""
once() {{
  ip address replace {SWITCH}/{PREFIX} dev {BRIDGE} noprefixroute || return
  ip link set {BRIDGE} up
  ip route delete local {SWITCH} dev {BRIDGE} table local 2>/dev/null
  {shlex.quote(appctl)} --timeout=5 -t {shlex.quote(control)} ovs/route/add 0.0.0.0/0 {BRIDGE} {KERNEL}
}}
for _ in $(seq {TRIES}); do
  said=$(once 2>&1) && exit 0
  sleep 0.1  # the bridge appears, and OVS hears of its address, when they do: nobody tells
done
echo "$said" >&2
exit 1
"""
    return ["/bin/sh", "-c", script]


def remove_tunnels(places: Places) -> None:
    """Put back what is not a link (provider.remove_provider takes those away)."""
    if made.read(places).tunnels:
        succeeds("nft", "delete", "table", "ip", TABLE)
