"""Save what makes a cloud: its database, keys, certificates, settings and policy."""

from __future__ import annotations

import argparse
import os
from datetime import UTC, datetime
from pathlib import Path

import msgspec

import moln
from moln.cli.progress import Progress
from moln.cli.saved import archive, database
from moln.host.places import Places
from moln.host.processes import Choices
from moln.host.run import HostError
from moln.kernel import config

HELP = "save the cloud's database, keys and settings to a file"


class Settings(msgspec.Struct, frozen=True):
    database_url: str = ""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, help="a new file; it holds the cloud's secrets, and only you may read it")


def run(args: argparse.Namespace) -> int:
    """The cloud may run, and need not."""
    places, steps, file = Places(args.home), Progress(), args.file.absolute()
    if not places.home.exists():
        raise HostError(f"There is no cloud in {places.home}.")
    if file.exists():
        raise HostError(f"{file} is there already")
    simulate = places.choices.exists() and msgspec.json.decode(places.choices.read_bytes(), type=Choices).simulate
    owner = database.user(places, simulate=simulate)
    with database.scratch(places, owner) as folder:
        copy = folder / archive.DATABASE
        with steps("Database"):
            database.process(places, owner, "save", str(copy))
        with steps("Archive"):
            manifest = described(places, copy, simulate)
            archive.write(file, places.home, copy, manifest)
    print(f"{file}: {len(manifest.files)} files, {file.stat().st_size / 1e6:.1f} MB. It holds the cloud's secrets: keep it as you keep them.\n"
          "Disks of servers, volumes and images are not in it.")  # fmt: skip
    return 0


def described(places: Places, copy: Path, simulate: bool) -> archive.Manifest:
    settings: Settings = config.load(places.settings, Settings)
    on_postgresql = bool(settings.database_url) or os.path.exists(places.home / "grown.json")
    files = {archive.DATABASE: archive.entry(copy)} | {name: archive.entry(places.home / name) for name in archive.found(places.home)}
    at = datetime.now(UTC).isoformat(timespec="seconds")
    return archive.Manifest(archive.FORMAT, moln.__version__, at, simulate, on_postgresql, files)
