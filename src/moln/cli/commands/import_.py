"""Bring another cloud's identity here."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec

from moln.cli import admin
from moln.cli.progress import Progress
from moln.host.places import Places

HELP = "bring the users, projects, roles, credentials and catalogue of a Keystone"
TIMEOUT_S = 3600.0  # a million users take some minutes


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", choices=["keystone"], help="what is brought")
    parser.add_argument("source", help="its database: mysql+pymysql://USER:PASSWORD@HOST/keystone, or the file of a dump (.sql, .sql.gz)")
    parser.add_argument("--credential-keys", type=Path, metavar="FOLDER", help="Keystone's credential keys; without them credentials stay behind")
    parser.add_argument("--database", default="keystone", metavar="NAME", help="the one to take of a dump of several (%(default)s)")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, and do nothing")
    parser.add_argument("--json", action="store_true", help="the report for programs, with each thing that stays behind")


def run(args: argparse.Namespace) -> int:
    """Exit status 1: nothing was brought, and why. A dry run's is what the import's would be."""
    from moln.cli import keystone

    progress = Progress()
    with progress("Read the Keystone"):
        tables = keystone.read(args.source, args.database, args.credential_keys, progress.note)
    with progress("Try the import" if args.dry_run else "Import"):
        report = admin.ask(Places(args.home), "import", "keystone", timeout_s=TIMEOUT_S, method="POST", body=msgspec.json.encode(tables),
                           dry_run="true" if args.dry_run else "false")  # fmt: skip
    if args.json:
        sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(report)) + b"\n")
    else:
        print("\n".join(lines(report)))
    return 1 if report["conflicts"] else 0


def lines(report: dict[str, Any]) -> list[str]:
    """The report as text: a table by kind, then what stays behind by its reason."""
    left = Counter[str]()
    why = Counter[tuple[str, str]]()
    for item in report["left"]:
        left[item["kind"]] += item["count"]
        why[item["kind"], item["why"]] += item["count"]
    differing = Counter(item["kind"] for item in report["differing"])
    kinds = dict.fromkeys([*report["brought"], *report["there"], *differing, *left])
    made = [f"{'':28}{'brought':>10}{'here':>10}{'differs':>10}{'left':>10}"] if kinds else ["nothing to bring"]
    made += [f"{kind:28}{report['brought'].get(kind, 0):10}{report['there'].get(kind, 0):10}{differing[kind]:10}{left[kind]:10}" for kind in kinds]
    made += [f"left: {kind}, {count}: {reason}" for (kind, reason), count in why.items()]
    made += [f"differs, and stays as it is here: {item['kind']} {item['id']} ({', '.join(item['columns'])})" for item in report["differing"]]
    made += [f"in the way: {conflict}" for conflict in report["conflicts"]]
    return made + report["notes"]
