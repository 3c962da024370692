"""What `moln controller notifications` and `moln controller consumer` do: whether there are any, and those outside that read the cloud's notifications."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from moln.cli import admin
from moln.cli.commands.node import seconds
from moln.host.places import Places


def arguments(doing: Any) -> None:
    told = doing.add_parser("notifications", help="whether others are told of changes by OpenStack's event names, in a stream of NATS")
    told.add_argument("wanted", choices=("on", "off"))
    consumer = doing.add_parser("consumer", help="let somebody outside read notifications: write what proves them into files; without NAME: who may")
    consumer.add_argument("name", nargs="?")
    consumer.add_argument("--folder", type=Path, default=Path(), help="where the files go (default: here)")
    consumer.add_argument("--expires", metavar="TIME", default="365d", help="how long they are good (default: %(default)s)")
    consumer.add_argument("--remove", action="store_true", help="refuse them from now on")


def tell(args: argparse.Namespace) -> int:
    admin.ask(Places(args.home), "notifications", method="PUT" if args.wanted == "on" else "DELETE")
    print(f"Notifications are {args.wanted} once the cloud has been started anew here: moln down, then moln up; likewise on every other controller.")
    return 0


def run(args: argparse.Namespace) -> int:
    places = Places(args.home)
    if not args.name:
        for found in admin.ask(places, "consumers"):
            print(f"{found['name']}\t{found['key']}\tuntil {found['expires']}")
        return 0
    if args.remove:
        admin.ask(places, "consumers", args.name, method="DELETE")
        print(f"Nobody reads notifications as {args.name} any more.")
        return 0
    given = admin.ask(places, "consumers", args.name, method="POST", expires_s=seconds(args.expires))
    args.folder.mkdir(parents=True, exist_ok=True)
    files = {f"{args.name}.creds": given["creds"], f"{args.name}.pem": given["certificate"], "ca.crt": given["ca"]}
    for name, text in files.items():
        write(args.folder / name, text)
    print(f"{', '.join(files)} are in {args.folder.resolve()}: give them to {args.name}, by a way that nobody else reads.\n"
          f"server {' '.join(given['urls'])}\tstream {given['stream']}\tconsumer {given['name']}\tinbox prefix {given['inbox']}")  # fmt: skip
    return 0


def write(path: Path, text: str) -> None:
    """For whoever asked, and nobody else."""
    new = path.with_name(f".{path.name}.new")
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
        out.write(text)
    new.replace(path)
