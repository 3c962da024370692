"""Nodes: how machines join and leave, and how one is emptied and worked on."""

from __future__ import annotations

import argparse
import os
import re
import socket
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from moln.cli import admin
from moln.cli.commands import up
from moln.host import provider, roles
from moln.host.places import Places
from moln.host.roles import ALONE, Machine, Role, Tls
from moln.host.run import HostError
from moln.host.setup import make_directories
from moln.kernel import files

if TYPE_CHECKING:
    from moln.kernel.nodes.joining import Joined, Member

HELP = "have machines join as nodes; list, drain, remove them"
UNITS = {"m": 60, "h": 3600, "d": 24 * 3600}


def arguments(parser: argparse.ArgumentParser) -> None:
    doing = parser.add_subparsers(dest="doing", required=True, metavar="WHAT")
    token = doing.add_parser("token", help="print a token with which one machine may join, once")
    token.add_argument("--expires", metavar="TIME", default="24h", help="how long it is good: 30m, 24h, 7d (default: %(default)s)")
    join = doing.add_parser("join", help="make this machine a node of a cloud")
    join.add_argument("url", help="where the cloud's APIs are: https://ADDRESS:5000")
    join.add_argument("--token", required=True, help="what `moln node token` printed on the controller")
    join.add_argument("--name", default=socket.gethostname(), help="what the cloud calls this machine (default: %(default)s)")
    join.add_argument("--address", metavar="ADDRESS[:PORT]", default="",
                      help="where controllers reach this machine for streams (default: the address that reaches them, port 5010)")
    join.add_argument("--provider-interface", metavar="CARD", default="", help="a card without an address, on the provider network")
    join.add_argument("--join-only", action="store_true", help="do not set up the machine: no hypervisor, no networks, nothing is started")
    join.add_argument("--detach", action="store_true", help="return once the node runs")
    drain = doing.add_parser("drain", help="have a node take no new servers, and move those that it has to others")
    drain.add_argument("name")
    drain.add_argument("--cold", action="store_true", help="turn off and move what runs and cannot move otherwise")
    drain.add_argument("--at-once", type=int, metavar="N", default=4, help="moves at the same time (default: %(default)s)")
    maintenance = doing.add_parser("maintenance", help="have a node take no new servers, and the checks say nothing of it, while you work on it")
    maintenance.add_argument("name")
    maintenance.add_argument("--reason", default="", help="what others are told")
    maintenance.add_argument("--end", action="store_true", help="it takes new servers again, also after a drain")
    leave = doing.add_parser("leave", help="have this machine be a node no longer, and take away what was set up on it")
    leave.add_argument("--force", action="store_true", help="even with guests, which end; even if no controller can be told")
    remove = doing.add_parser("remove", help="refuse a node from now on")
    remove.add_argument("name")
    remove.add_argument("--force", action="store_true", help="even with servers on it: they go on running there, out of reach")
    doing.add_parser("list", help="the nodes, and how they are")
    prefetch = doing.add_parser("prefetch", help="have nodes fetch an image before a server there needs it")
    prefetch.add_argument("image", help="its id")
    prefetch.add_argument("names", nargs="*", metavar="NODE", help="default: every node that joined and is up")
    for each in doing.choices.values():
        each.add_argument("--home", type=Path, default=argparse.SUPPRESS, help=argparse.SUPPRESS)


def run(args: argparse.Namespace) -> int:
    from moln.cli import nodes

    doing = {"token": token, "join": join, "remove": remove, "list": nodes.show, "drain": nodes.drain, "maintenance": nodes.maintenance,
             "leave": nodes.leave, "prefetch": nodes.prefetch}  # fmt: skip
    return doing[args.doing](args)


def token(args: argparse.Namespace) -> int:
    print(admin.ask(Places(args.home), "nodes", method="POST", expires_s=seconds(args.expires))["token"])
    return 0


def join(args: argparse.Namespace) -> int:
    from moln.kernel.nodes import joining  # its library costs time that no other command should take

    places = Places(args.home)
    folder = places.host / "node" / joining.FOLDER
    joined = None
    if not args.join_only:
        check_machine(places, args.provider_interface)
        make_directories(places)
        joined = joining.Member(folder).joined()
    if joined is None or (joined.name, joined.controller) != (args.name, args.url):
        with files.private():
            joined = joining.join(args.url, args.token, folder, name=args.name, streams=args.address)
    print(f"This machine is node {joined.name} of {joined.controller}; its certificate and settings are in {folder}.")
    if args.join_only:
        return 0
    roles.write(places, machine(joining.Member(folder), joined, args.provider_interface))
    asked = {"listen": None, "port": None, "tls": None, "demo": False, "simulate": None, "nodes": None, "detach": args.detach}
    return up.run(argparse.Namespace(home=args.home, **asked))


def check_machine(places: Places, provider_interface: str) -> None:
    """Before the token is used: whether the machine can become a node. Raises: HostError."""
    if os.geteuid() != 0:
        raise HostError("Only root can set up a node.")
    there = roles.read(places)
    if there.role == Role.CONTROLLER or (there == ALONE and places.choices.exists()):
        raise HostError(f"{places.home} holds a cloud of its own; choose another --home, or: moln down --purge")
    if provider_interface:
        provider.check_card(provider_interface)


def machine(member: Member, joined: Joined, provider_interface: str) -> Machine:
    """What a machine that joined is: its tunnels begin where controllers reach it. Raises: HostError."""
    host = urlsplit(joined.controller).hostname or ""
    try:
        controller = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][4][0]
    except OSError as error:
        raise HostError(f"{host} has no address ({error.strerror})") from None
    address = joined.streams.rpartition(":")[0].strip("[]")
    proof = str(member.certificate)
    return Machine(Role.NODE, joined.name, address, provider_interface, controllers=(str(controller),),
                   ovn=("", joined.southbound) if joined.southbound else None, tls=Tls(proof, proof, str(member.ca)))


def remove(args: argparse.Namespace) -> int:
    told = admin.ask(Places(args.home), "nodes", args.name, method="DELETE", force=str(args.force).lower())["told"]
    print(f"Node {args.name} is refused from now on{'' if told else '; NATS cannot be reached, and hangs up on it when it is back'}.")
    return 0


def seconds(text: str) -> int:
    """Raises: HostError, for what is no time."""
    found = re.fullmatch(r"(\d{1,6})([mhd])", text)
    if not found:
        raise HostError(f"{text} is no time: write 30m, 24h or 7d")
    return int(found[1]) * UNITS[found[2]]
