"""Public cloud images by name: list them, bring one into the cloud."""

from __future__ import annotations

import argparse
from pathlib import Path

from moln.cli import admin, curated
from moln.cli.progress import Progress
from moln.demo.client import Client, DemoError
from moln.host.places import Places
from moln.host.run import HostError
from moln.kernel.errors import NotFound

HELP = "list public cloud images, or bring one into the cloud"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", help="the image to bring; none: list them")
    parser.add_argument("--as", dest="called", metavar="NAME", help="what to call it (default: its name in the list)")
    parser.add_argument("--mirror", type=Path, metavar="FOLDER", help="a folder with the image's file and its maker's list of digests, for a cloud without internet")


def run(args: argparse.Namespace) -> int:
    known = curated.load()
    if args.name is None:
        width = max(map(len, known))
        for name, image in known.items():
            print(f"{name:<{width}}  {image.title}  {image.url}")
        return 0
    if args.name not in known:
        raise NotFound(f"There is no image {args.name} in the list; moln images shows it.")
    places, steps, image, called = Places(args.home), Progress(), known[args.name], args.called or args.name
    status = admin.ask(places, "status", timeout_s=10)
    password = places.admin_password.read_text().strip()
    try:
        client = Client(status["public_url"], user="admin", password=password, project="admin", cacert=status["cacert"])
        with steps(image.title):
            if args.mirror is not None:
                found = curated.upload(client, called, image, args.mirror)
            else:
                found = curated.fetch(client, called, image, steps.note)
    except (DemoError, OSError) as error:
        raise HostError(f"{args.name}: {error}") from None
    print(f"{called}: {found}")
    return 0
