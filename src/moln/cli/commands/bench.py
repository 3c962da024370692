"""Measure this machine against the budgets."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import msgspec

from moln.bench.rows import Row
from moln.cli import admin
from moln.cli.progress import Progress
from moln.demo.client import DemoError
from moln.host.control import NotRunning
from moln.host.places import Places
from moln.host.run import HostError
from moln.host.setup import ensure_extra

HELP = "measure the speed of the control plane against its budgets (docs/bench.md)"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there too")
    parser.add_argument("--overload", action="store_true", help="instead, ask a simulated cloud for four times what it can serve")
    parser.add_argument("--scale", action="store_true", help="instead, a simulated cloud of many machines on PostgreSQL and NATS (docs/scale.md)")
    for name, count in (("nodes", 1000), ("servers", 10_000), ("controllers", 2), ("boots", 2000)):
        parser.add_argument(f"--{name}", type=int, default=count, help="how many, with --scale (%(default)d)")
    parser.add_argument("--identity", action="store_true", help="instead, identity's rows: tokens, lists, assignments")
    parser.add_argument("--large", action="store_true", help="with --identity: also with a million users and 100,000 projects, which takes some minutes")
    parser.add_argument("--images", action="store_true", help="instead, images: their data, their list, and disks that begin as one")
    parser.add_argument("--placement", action="store_true", help="instead, placement with 10,000 providers")
    parser.add_argument("--size", type=int, default=2048, metavar="MIB", help="of an image, with --images (%(default)d); nine of them must fit")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long, with --overload (%(default)g)")


def run(args: argparse.Namespace) -> int:
    """Exit status 1, when a budget is missed or could not be measured."""
    from moln.bench import budget, identity, images, overload
    from moln.bench.rows import table
    from moln.node.settings import load

    progress = Progress()
    try:
        if args.overload:
            rows = overload.measure(args.seconds, progress.note).rows()
        elif args.scale:
            rows = many(args, progress)
        elif args.identity:
            rows = identity.measure(progress.note, large=args.large)
        elif args.images:
            rows = images.measure(progress.note, args.size, load(Places(args.home).settings).disks)
        elif args.placement:
            rows = placement_rows(progress)
        else:
            rows = budget.measure(progress.note) + real(Places(args.home), progress)
    except (RuntimeError, AssertionError, DemoError, TimeoutError) as error:
        raise HostError(f"the measurement failed: {error}") from error
    print(table(rows))
    if args.json:
        args.json.write_bytes(msgspec.json.format(msgspec.json.encode([{**msgspec.to_builtins(r), "met": r.met} for r in rows])) + b"\n")
    return 0 if all(row.met for row in rows) else 1


def placement_rows(progress: Progress) -> list[Row]:
    from moln.bench import claims, placement
    from moln.bench.engines import postgres_programs

    rows = placement.measure(progress.note)
    if postgres_programs() is not None:
        bring_scale(progress)
    progress.note("claims on PostgreSQL")
    return [*rows, claims.measure()]


def many(args: argparse.Namespace, progress: Progress) -> list[Row]:
    """Raises: HostError, where a package that it needs cannot be had."""
    bring_scale(progress)
    from moln.bench.many import Size, measure

    return measure(Size(args.nodes, args.servers, args.controllers, min(args.boots, args.servers)), progress.note)


def bring_scale(progress: Progress) -> None:
    """PostgreSQL's driver and NATS' client. Raises: HostError, where they cannot be had."""
    with tempfile.TemporaryDirectory(prefix="moln-bench-") as folder:
        places = Places(Path(folder))
        places.log.mkdir()
        ensure_extra("scale", places, progress)


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
