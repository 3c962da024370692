"""Move a running cloud from SQLite to PostgreSQL."""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from moln.cli import admin
from moln.cli.progress import Progress
from moln.host.places import USER, Places
from moln.host.run import HostError

HELP = "move the running cloud's database from SQLite to PostgreSQL"
LOOK_S = 0.3
MARK = "grown.json"
ORDER = ("", "prepare", "copy", "pause", "finish", "decide", "switch", "switched")
STEPS = {"copy": "Empty tables", "pause": "Copy, while the cloud works", "end": "Pause of writes: the rest, the proof, the other database"}
"""Each until the controller is at this step."""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--to", metavar="URL", required=True, help="an empty database: postgresql://USER@HOST/NAME")


def run(args: argparse.Namespace) -> int:
    places = Places(args.home)
    if places.home.exists() and places.home.stat().st_uid != os.geteuid() and os.geteuid() != 0:
        raise HostError(f"the cloud in {places.home} belongs to another user; try sudo")
    told = follow(places, admin.ask(places, "grow", method="POST", to=args.to))
    write_setting(places, args.to)
    old = leave_file(places)
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


def write_setting(places: Places, url: str) -> None:
    """database_url in moln.toml, whatever else stands there. A file with a password in it is for the cloud alone."""
    path = places.settings
    text = path.read_text("utf-8") if path.exists() else ""
    line = f"database_url = {json.dumps(url)}\n"
    top, table, rest = _top(text)
    kept = re.sub(r"(?m)^[ \t]*database_url[ \t]*=.*\n?", "", top)
    new = path.with_name("moln.toml.new")
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(kept + ("\n" if kept and not kept.endswith("\n") else "") + line + ("\n" if table else "") + table + rest)
        file.flush()
        os.fsync(file.fileno())
    if urlsplit(url).password is None and "password" not in url:
        new.chmod(path.stat().st_mode & 0o777 if path.exists() else 0o644)
    elif os.geteuid() == 0 and places.run.exists() and places.run.stat().st_uid:
        shutil.chown(new, group=USER)
        new.chmod(0o640)
    new.replace(path)
    (places.home / MARK).unlink(missing_ok=True)


def _top(text: str) -> tuple[str, str, str]:
    """What stands before the first table, its line, and all after it."""
    found = re.search(r"(?m)^[ \t]*\[", text)
    return (text[: found.start()], text[found.start() : found.end()], text[found.end() :]) if found else (text, "", "")


def leave_file(places: Places) -> Path:
    """SQLite's file gets a name under which nobody takes it for the cloud's."""
    old = places.home / "cloud.db.before-grow"
    for ending in ("", "-wal", "-shm"):
        file = places.home / f"cloud.db{ending}"
        if file.exists():
            file.replace(places.home / f"{old.name}{ending}")
    return old
