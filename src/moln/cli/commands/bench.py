"""Measure this machine against the budgets."""

from __future__ import annotations

import argparse
from pathlib import Path

import msgspec

from moln.bench.rows import Row
from moln.cli import admin
from moln.cli.progress import Progress
from moln.demo.client import DemoError
from moln.host.control import NotRunning
from moln.host.places import Places
from moln.host.run import HostError

HELP = "measure the speed of the control plane against its budgets (docs/bench.md)"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there too")
    parser.add_argument("--overload", action="store_true", help="instead, ask a simulated cloud for four times what it can serve")
    parser.add_argument("--images", action="store_true", help="instead, images: their data and their list")
    parser.add_argument("--size", type=int, default=2048, metavar="MIB", help="of an image, with --images (%(default)d); nine of them must fit")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long, with --overload (%(default)g)")


def run(args: argparse.Namespace) -> int:
    """Exit status 1, when a budget is missed or could not be measured."""
    from moln.bench import budget, overload
    from moln.bench.rows import table

    progress = Progress()
    try:
        if args.overload:
            rows = overload.measure(args.seconds, progress.note).rows()
        elif args.images:
            from moln.bench import images

            rows = images.measure(progress.note, args.size)
        else:
            rows = budget.measure(progress.note) + real(Places(args.home), progress)
    except (RuntimeError, AssertionError, DemoError, TimeoutError) as error:
        raise HostError(f"the measurement failed: {error}") from error
    print(table(rows))
    if args.json:
        args.json.write_bytes(msgspec.json.format(msgspec.json.encode([{**msgspec.to_builtins(r), "met": r.met} for r in rows])) + b"\n")
    return 0 if all(row.met for row in rows) else 1


def real(places: Places, progress: Progress) -> list[Row]:
    """What only a cloud that runs guests can tell; nothing, where none runs in this home."""
    from moln.bench import boot

    try:
        status = admin.ask(places, "status", timeout_s=10)
    except (NotRunning, PermissionError):
        return []
    if status["simulate"] or not places.libvirt_socket.exists():
        return []
    progress.note("a real server")
    return [boot.measure(places, status["public_url"], status["cacert"])]
