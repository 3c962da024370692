"""Move a running cloud from SQLite to PostgreSQL."""

from __future__ import annotations

import argparse
import os
import time
from typing import Any

from moln.cli import admin
from moln.cli.progress import Progress
from moln.cli.settings_file import write_database_url
from moln.host import setup
from moln.host.places import Places
from moln.host.run import HostError

HELP = "move the running cloud's database from SQLite to PostgreSQL"
LOOK_S = 0.3
MARK, OLD = "grown.json", "cloud.db.before-grow"
ORDER = ("", "prepare", "copy", "pause", "finish", "decide", "switch", "switched")
STEPS = {"copy": "Empty tables", "pause": "Copy, while the cloud works", "end": "Pause of writes: the rest, the proof, the other database"}
"""Each until the controller is at this step."""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--to", metavar="URL", required=True, help="an empty database: postgresql://USER@HOST/NAME")


def run(args: argparse.Namespace) -> int:
    places = Places(args.home)
    if places.home.exists() and places.home.stat().st_uid != os.geteuid() and os.geteuid() != 0:
        raise HostError(f"the cloud in {places.home} belongs to another user; try sudo")
    setup.ensure_extra("scale", places, Progress())  # PostgreSQL's driver
    told = follow(places, admin.ask(places, "grow", method="POST", to=args.to))
    finish(places, args.to)
    old = places.home / OLD
    if told["pause_s"] is None:
        print("The cloud is on PostgreSQL already; moln.toml says so.")
        return 0
    print(f"{told['rows']} rows of {told['tables']} tables are in PostgreSQL, counts and checksums equal; "
          f"{told['written']} of them were written during the copy, which took {told['copy_s']:.1f} s.\n"
          f"Writes paused for {told['pause_s']:.2f} s; reads were answered throughout.\n"
          f"moln.toml has database_url; the old database is {old}.")  # fmt: skip
    return 0


def follow(places: Places, told: dict[str, Any]) -> dict[str, Any]:
    """Until it is done. Raises: HostError, with why the cloud stays where it is."""
    steps = Progress()
    for until, title in STEPS.items() if not told["done"] else ():
        with steps(title):
            while not told["done"] and (until == "end" or ORDER.index(told["step"]) < ORDER.index(until)):
                if told["failed"]:
                    raise HostError(told["failed"])
                time.sleep(LOOK_S)
                told = admin.ask(places, "grow")
    return told


def finish(places: Places, url: str) -> None:
    """moln.toml says what was decided, and SQLite's file gets a name under which nobody takes it for the cloud's."""
    write_database_url(places, url)
    (places.home / MARK).unlink(missing_ok=True)
    for ending in ("", "-wal", "-shm"):
        file = places.home / f"cloud.db{ending}"
        if file.exists():
            file.replace(places.home / f"{OLD}{ending}")
