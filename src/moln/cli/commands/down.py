"""Stop the cloud. Guests go on, with their disks, consoles and networks; --purge ends and removes everything."""

from __future__ import annotations

import argparse
import os

from moln.cli.progress import Progress
from moln.host import engines
from moln.host.places import Places
from moln.host.run import HostError

HELP = "stop the cloud; guests keep running"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--purge", action="store_true",
                        help="end guests too, and remove every file, bridge, mount and user that is this cloud's")


def run(args: argparse.Namespace) -> int:
    places = Places(args.home)
    if not places.host.exists():
        print(f"There is no cloud in {places.home}.")
        return 0
    if places.host.stat().st_uid != os.geteuid():
        raise HostError(f"the cloud in {places.home} belongs to another user; try sudo")
    if args.purge:
        engines.purge(places, Progress())
        return 0
    kept = engines.down(places, Progress())
    if kept:
        print(f"Guests keep running ({len(kept)}), and what they need with them ({', '.join(engines.FOR_GUESTS)}).\n"
              "`moln up` takes them over again; `moln down --purge` ends them.")
    return 0
