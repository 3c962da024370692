"""Make a cloud of what `moln backup` saved, in an empty home."""

from __future__ import annotations

import argparse
import os
import shutil
from pathlib import Path

from moln.cli.progress import Progress
from moln.cli.saved import archive, database
from moln.cli.settings_file import write_database_url
from moln.host import setup
from moln.host.places import USER, Places
from moln.host.run import HostError

HELP = "make a cloud of a backup, in an empty home"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, help="what `moln backup` wrote")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--database-url", metavar="URL", help="an empty database of PostgreSQL to restore into: postgresql://USER@HOST/NAME")
    where.add_argument("--sqlite", action="store_true", help="restore what was on PostgreSQL into a file in the home")


def run(args: argparse.Namespace) -> int:
    places, steps = Places(args.home), Progress()
    if taken := [name for name in (archive.DATABASE, *archive.FOLDERS, *archive.FILES) if name != "host/up.json" and (places.home / name).exists()]:
        raise HostError(f"{places.home} is not empty ({', '.join(taken)}); choose another --home, or: moln down --purge")
    places.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    with database.scratch(places, None) as folder:
        with steps("Read and check"):
            manifest = archive.read(args.file, folder)
            if manifest.postgresql and not (args.database_url or args.sqlite):
                raise HostError("That cloud was on PostgreSQL: name an empty database with --database-url, or restore into a file with --sqlite.")
            owner = prepare(places, manifest)
            give(folder, owner)
            database.process(places, owner, "check", str(folder / archive.DATABASE))
        if args.database_url:
            with steps("Database"):
                setup.ensure_extra("scale", places, steps)
                database.process(places, owner, "load", str(folder / archive.DATABASE), args.database_url)
        with steps("Files"):
            put(places, folder, manifest, owner, without_database=bool(args.database_url))
            if args.database_url or manifest.postgresql:
                write_database_url(places, args.database_url or "")
    print(f"The cloud of {manifest.at} (Moln {manifest.made}) is in {places.home}; start it with: moln up")
    return 0


def prepare(places: Places, manifest: archive.Manifest) -> str | None:
    """The users and folders that `moln up` would make. Returns whom the controller runs as; None: whoever asks. Raises: HostError."""
    if manifest.simulate:
        return None
    if os.geteuid() != 0:
        raise HostError("Only root can restore a cloud with guests.")
    setup.make_home(places)
    return USER


def give(folder: Path, owner: str | None) -> None:
    """What was unpacked, to whom it is for: its database is read by a process of theirs."""
    if owner:
        for path in (folder, folder / archive.DATABASE):
            shutil.chown(path, owner, owner)


def put(places: Places, folder: Path, manifest: archive.Manifest, owner: str | None, *, without_database: bool) -> None:
    """The database last: without it there is no cloud yet."""
    names = [name for name in manifest.files if name != archive.DATABASE]
    for name in [*names, *([] if without_database else [archive.DATABASE])]:
        of, path = manifest.files[name], places.home / name
        for parent in reversed(Path(name).parents[:-1]):
            if not (places.home / parent).exists():
                (places.home / parent).mkdir(mode=0o700)
                if owner and not of.root:
                    shutil.chown(places.home / parent, owner, owner)
        (folder / name).replace(path)
        path.chmod(of.mode)
        if owner:
            shutil.chown(path, *(("root", "root") if of.root else (owner, owner)))
