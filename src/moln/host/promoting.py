"""The cloud of one machine that `moln up` made becomes one that others join: what must be so before, as nothing of it is asked again.

Its node stays beside its controller and is reached by a socket; its chassis, database, keys and addresses stay. Of guests' way to the
provider network only a card changes anything: it takes the place of the gateway that this machine is (host/provider.py).
"""

from __future__ import annotations

import json
from typing import Any

import msgspec

from moln.host import roles, setup
from moln.host.places import Places
from moln.host.processes import Choices
from moln.host.roles import ALONE, Machine, Provider
from moln.host.run import HostError, run

SHOWN = 3  # addresses in a message
START_FIRST = "Start the cloud first, so that guests and their networks can be looked at: moln up --detach"


def check(places: Places, machine: Machine, *, database: bool = False, replace: bool = False) -> None:
    """machine: what the home's is to be. database: whether another was named. replace: the gateway may go, with all that uses it.

    Raises: HostError, with the reason and what to do; nothing has changed then.
    """
    there = roles.read(places)
    if there == ALONE and places.choices.exists():
        check_alone(places, machine, database)
    if there.provider == Provider.GATEWAY and machine.provider == Provider.INTERFACE and not replace and (places.ovn / "nb.db").exists():
        if not setup.running(places):
            raise HostError(f"{START_FIRST}. Or say --replace-gateway.")
        check_gateway(places, machine.provider_interface)


def check_alone(places: Places, machine: Machine, database: bool) -> None:
    """Raises: HostError."""
    if msgspec.json.decode(places.choices.read_bytes(), type=Choices).simulate:
        raise HostError(f"{places.home} holds a simulated cloud; choose another --home.")
    if not machine.guests:
        raise HostError("The cloud here runs guests beside its controller, and goes on with that: leave out --no-guests and --ha.")
    if machine.called != ALONE.called:
        raise HostError(f"This machine is {ALONE.called} to its cloud, whose servers and networks know it by that: leave out --name.")
    if machine.ovn:
        raise HostError("The networks of this cloud are in OVN's databases here: leave out --ovn-nb and --ovn-sb.")
    if database:
        raise HostError("The cloud here has its rows already; a database is moved by itself: moln grow --to URL")
    if not has(machine.address, json.loads(run("ip", "-j", "address"))):
        raise HostError(f"This machine does not have the address {machine.address}.")
    if not setup.running(places):
        raise HostError(START_FIRST)


def has(address: str, links: list[dict[str, Any]]) -> bool:
    """links: of `ip -j address`."""
    return any(a["local"] == address for link in links for a in link.get("addr_info", []))


def check_gateway(places: Places, card: str) -> None:
    """Raises: HostError, while addresses are translated that are reached by this machine alone."""
    listed = run(places.bin / "ovn-nbctl", "--timeout=10", "--bare", "--no-headings", "--columns=external_ip", "list", "NAT")
    if used := sorted(set(listed.split())):
        more = f" and {len(used) - SHOWN} more" if len(used) > SHOWN else ""
        raise HostError(
            f"Guests go out and are reached by {', '.join(used[:SHOWN])}{more}, of which this machine is the router. With {card} in its place they are "
            "cut off, unless the network there has that range and a router at its gateway's address. Leave out --provider-interface: guests of "
            "nodes go out by this machine, too. Or say --replace-gateway.")  # fmt: skip
