"""Show or follow the logs of engines."""

from __future__ import annotations

import argparse
import os

from moln.host.places import Places
from moln.host.run import HostError

HELP = "show the logs, or follow them with -f"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("engines", nargs="*", metavar="ENGINE", help="as `moln status` names them; default: all")
    parser.add_argument("-f", "--follow", action="store_true", help="go on as they grow")
    parser.add_argument("-n", "--lines", type=int, default=40, help="how many of the last lines (default: 40)")


def run(args: argparse.Namespace) -> int:
    places = Places(args.home)
    found = {f.stem: f for f in sorted(places.log.glob("*.log"))} if places.log.is_dir() else {}
    wanted = args.engines or list(found)
    if unknown := [n for n in wanted if n not in found]:
        raise HostError(f"no log of {', '.join(unknown)}; there is: {', '.join(found) or 'none'}")
    if not wanted:
        raise HostError(f"there are no logs in {places.log}")
    follow = ["-F"] if args.follow else []
    os.execvp("tail", ["tail", "-n", str(args.lines), *follow, *[str(found[n]) for n in wanted]])
