"""The certificates of the cloud's own authority: how long they last, and others in their place."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from moln.cli import admin, rotation
from moln.host.places import Places
from moln.host.run import HostError

HELP = "list the cloud's certificates, or have one replaced"
WAIT_S = 30.0


def arguments(parser: argparse.ArgumentParser) -> None:
    doing = parser.add_subparsers(dest="doing", metavar="WHAT")
    renew = doing.add_parser("renew", help="replace a certificate now, however long it lasts")
    renew.add_argument("name", help="apis, this controller, or a node, as the list has them")
    rotate = doing.add_parser("rotate", help="have another authority in the place of the cloud's own, while everything works")
    rotate.add_argument("--end", action="store_true", help="the old one counts no more, once every member has a certificate of the new one")
    rotate.add_argument("--force", action="store_true", help="with --end: whoever is on the old one is cut off")
    rotate.add_argument("--status", action="store_true", help="only tell how far it is")
    for each in (renew, rotate):
        each.add_argument("--home", type=Path, default=argparse.SUPPRESS, help=argparse.SUPPRESS)


def run(args: argparse.Namespace) -> int:
    places = Places(args.home)
    if args.doing == "rotate":
        return rotation.rotate(args)
    if args.doing == "renew":
        return renew(places, args.name, admin.ask(places, "certificates"))
    found = admin.ask(places, "certificates", engines="true")
    if not found:
        print("The cloud has no certificates: its APIs are served without TLS. moln up --tls makes them.")
    for of in found:
        until = f"until {of['expires']}" if of["expires"] else "has ended"
        print(f"{of['what']:11} {of['name']:24} {until:26}  {of['serial']}{'' if of['own'] else '  (yours)'}")
    return 0


def renew(places: Places, name: str, before: list[dict[str, Any]]) -> int:
    """Until the new one is there. Raises: HostError."""
    old = {of["name"]: of["serial"] for of in before}
    after, ends = admin.ask(places, "certificates", name, method="POST"), time.monotonic() + WAIT_S
    while (new := {of["name"]: of for of in after}[name])["serial"] == old[name]:
        if time.monotonic() > ends:
            raise HostError(f"{name} has no other certificate after {WAIT_S:g} s; see: moln logs node, on that machine")
        time.sleep(0.3)  # the node makes a key, asks for a certificate, and is given it
        after = admin.ask(places, "certificates")
    print(f"{name} has another certificate, until {new['expires']}. The one before stays good until its own end.")
    return 0
