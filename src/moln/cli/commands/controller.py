"""A controller of a cloud of several machines: the APIs, the database and OVN's databases, for nodes that join."""

from __future__ import annotations

import argparse
import os
import socket
from ipaddress import ip_address
from pathlib import Path

from moln.cli.commands import up
from moln.host import proofs, provider, roles
from moln.host.places import Places
from moln.host.roles import ALONE, Machine, Role
from moln.host.run import HostError
from moln.host.setup import make_directories

HELP = "make this machine the controller of a cloud of several"


def arguments(parser: argparse.ArgumentParser) -> None:
    doing = parser.add_subparsers(dest="doing", required=True, metavar="WHAT")
    init = doing.add_parser("init", help="begin a cloud here")
    init.add_argument("--listen", metavar="ADDRESS", required=True, help="this machine's address on the management network: of the APIs, and for nodes")
    init.add_argument("--port", type=int, help="the APIs' port (default: what it was, or 5000)")
    init.add_argument("--provider-interface", metavar="CARD", default="", help="a card without an address, on the provider network")
    init.add_argument("--no-guests", dest="guests", action="store_false", help="run no guests here")
    init.add_argument("--name", default="", help="what the cloud calls this machine (default: its host name)")
    init.add_argument("--nats", metavar="URL", action="append", default=[], help="a server of NATS to use instead of one of the cloud's own")
    init.add_argument("--detach", action="store_true", help="return once the cloud answers")
    init.add_argument("--home", type=Path, default=argparse.SUPPRESS, help=argparse.SUPPRESS)


def run(args: argparse.Namespace) -> int:
    if os.geteuid() != 0:
        raise HostError("Only root can set up a controller.")
    places = Places(args.home)
    if args.provider_interface:
        provider.check_card(args.provider_interface)
    begin(places, controller(args))
    wanted = {"listen": args.listen, "port": args.port, "tls": True, "detach": args.detach, "demo": False, "simulate": None, "nodes": None}
    return up.run(argparse.Namespace(home=args.home, **wanted))


def controller(args: argparse.Namespace) -> Machine:
    """What the machine is to be. Raises: HostError."""
    try:
        address = ip_address(args.listen)
    except ValueError:
        raise HostError(f"{args.listen} is no address; nodes and clients reach this machine by --listen.") from None
    if address.is_unspecified or address.is_loopback:
        raise HostError(f"{address} reaches no other machine; --listen wants this machine's address on the management network.")
    return Machine(Role.CONTROLLER, args.name or socket.gethostname(), str(address), args.provider_interface, guests=args.guests,
                   nats=tuple(args.nats), tls=proofs.tls(Places(args.home)))  # fmt: skip


def begin(places: Places, machine: Machine) -> None:
    """Write down what the machine is. Raises: HostError, when it is something else already."""
    there = roles.read(places)
    if there != ALONE and (there.role, there.name, there.address) != (machine.role, machine.name, machine.address):
        raise HostError(f"{places.home} is {there.role} {there.called} at {there.address} already; choose another --home, or: moln down --purge")
    if there == ALONE and places.choices.exists():
        raise HostError(f"{places.home} holds a cloud of one machine, which cannot grow yet; choose another --home.")
    make_directories(places)
    roles.write(places, machine)
