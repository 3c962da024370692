"""What `moln node` does with nodes that are there: lists, drains, maintenance, leaving."""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import time
from typing import Any
from urllib.parse import urlsplit

import msgspec

from moln.cli import admin
from moln.cli.progress import Progress
from moln.host import engines, roles
from moln.host.control import NotRunning
from moln.host.libvirt import guests
from moln.host.places import Places
from moln.host.roles import Role
from moln.host.run import HostError
from moln.kernel.errors import BackendRefused, BackendUnreachable

LOOK_S = 1.0
HERE = "here"
DIGEST_S = 600  # seconds that a controller may take to read the whole image once
PREFETCHES = 8  # nodes at the same time: later ones take it from earlier ones
LEAVE = "node.leave"


def show(args: argparse.Namespace) -> int:
    for node in admin.ask(Places(args.home), "nodes"):
        print("\t".join(filter(None, [node["name"], "up" if node["up"] else "down", *described(node)])))
    return 0


def described(node: dict[str, Any]) -> list[str]:
    """What is to be said of a node beside its name and whether it is up."""
    said = []
    if "servers" in node:
        said.append(f"{node['servers']} server{'' if node['servers'] == 1 else 's'}")
        said.append(f"takes no new ones: {node['reason'] or 'disabled'}" if node["disabled"] else "")
        said.append(clock(node))
    if "expires" in node:
        said.append(f"certificate until {node['expires']}")
    return said


def clock(node: dict[str, Any]) -> str:
    """How far off it is, where the node says."""
    if node["astray"]:
        return f"clock off by {node['astray']}: takes no new servers"
    return "clock not told" if node["clock_off_ms"] is None else f"clock {node['clock_off_ms']:.3f} ms off"


def drain(args: argparse.Namespace) -> int:
    """Until nothing more can be moved. Status 0: the node has no server left."""
    places, seen = Places(args.home), dict[str, str]()
    told: dict[str, Any] = {"since": 0}
    while True:
        told = admin.ask(places, "nodes", args.name, "drain", method="POST", since=told["since"], cold=str(args.cold).lower(), at_once=args.at_once)
        for guest in told["guests"]:
            line = f"{guest['name']} ({guest['id']}): {guest['state']}{' to ' if guest['state'] in ('moving', 'moved') and guest['why'] else ''}"
            line += guest["why"] if guest["state"] in ("moving", "moved") else f", {guest['why']}" if guest["why"] else ""
            if seen.get(guest["id"]) != line:
                seen[guest["id"]] = line
                print(line, flush=True)
        if all(guest["state"] in ("moved", "staying") for guest in told["guests"]):
            break
        time.sleep(LOOK_S)  # each look also begins what there is room for
    staying = [guest for guest in told["guests"] if guest["state"] == "staying"]
    moved = len(seen.keys() - {guest["id"] for guest in staying})
    print(f"Node {args.name} takes no new servers; {moved} moved away, {len(staying)} stay."
          + (f" To have it take servers again: moln node maintenance {args.name} --end"))  # fmt: skip
    return 1 if staying else 0


def maintenance(args: argparse.Namespace) -> int:
    places = Places(args.home)
    if args.end:
        admin.ask(places, "nodes", args.name, "maintenance", method="DELETE")
        print(f"Node {args.name} takes new servers again.")
        return 0
    admin.ask(places, "nodes", args.name, "maintenance", method="PUT", reason=args.reason)
    print(f"Node {args.name} takes no new servers, and checks are silent about it, until: moln node maintenance {args.name} --end\n"
          f"Those that it has go on; to move them: moln node drain {args.name}")  # fmt: skip
    return 0


def prefetch(args: argparse.Namespace) -> int:
    """Until each has it, or cannot. Status 0: all have."""
    places = Places(args.home)
    waiting = args.names or [node["name"] for node in admin.ask(places, "nodes") if node["up"] and "certificate" in node]
    coming, told = list[str](), dict[str, str]()
    while waiting or coming:
        asked = dict.fromkeys(coming, "GET") | dict.fromkeys(waiting[: PREFETCHES - len(coming)], "PUT")
        waiting, coming = [name for name in waiting if name not in asked], []
        for name, method in asked.items():
            said = fetching(places, args.image, name, method)
            if said == "coming":
                coming.append(name)
            else:
                told[name] = said
                print(f"{name}: {said}", flush=True)
        if coming:
            time.sleep(LOOK_S)
    return 0 if all(said == HERE for said in told.values()) else 1


def fetching(places: Places, image: str, node: str, method: str) -> str:
    """"here", "coming", or why neither."""
    try:
        state = str(admin.ask(places, "images", image, "nodes", node, method=method, timeout_s=DIGEST_S)["state"])
    except NotRunning as refused:
        return str(refused)
    return state if state != "absent" else f"it did not come; on {node}: moln logs node"


def leave(args: argparse.Namespace) -> int:
    """First nobody listens to this machine any more, then what was set up is taken away. Raises: HostError."""
    from moln.kernel.nodes import joining

    places = Places(args.home)
    folder = places.host / "node" / joining.FOLDER
    joined = joining.Member(folder).joined()
    if joined is None:
        raise HostError(f"{places.home} is no node of a cloud.")
    if os.geteuid() != 0 and roles.read(places).role == Role.NODE:
        raise HostError("Only root can take a node down.")
    if (running := guests(places)) and not args.force:
        raise HostError(f"Guests run here: {len(running)}. On the controller: moln node drain {joined.name}; or say --force: they end.")
    try:
        told = asyncio.run(ask_to_leave(folder, joined, args.force))
        print(f"{joined.controller} refuses node {joined.name} from now on{'' if told else '; NATS hangs up on it when it is reached again'}.")
    except BackendRefused as refused:
        raise HostError(str(refused)) from None
    except BackendUnreachable as lost:
        if not args.force:
            raise HostError(f"{lost} If the cloud does not know this machine any more or is gone, say --force.") from None
        print(f"{lost} If that cloud is still there, run on its controller: moln node remove {joined.name} --force")
    if roles.read(places).role == Role.NODE:
        engines.purge(places, Progress())
    else:
        shutil.rmtree(folder)
    print("This machine is no node any more.")
    return 0


async def ask_to_leave(folder: Any, joined: Any, force: bool) -> bool:
    """Whether NATS was told. Raises: BackendRefused, while the cloud has servers here; BackendUnreachable."""
    from moln.kernel.nodes.gate import GateClient, address_of
    from moln.kernel.nodes.joining import Member

    where = urlsplit(joined.controller)
    host, port = address_of(where.hostname or "", where.port or 443)
    client = GateClient(host, port, Member(folder).passport, lambda: time.time_ns() // 1000)
    answer: bool = msgspec.msgpack.decode(await client.read(LEAVE, force, most=64), type=bool)
    return answer
