"""Why a server is where it is, or why it is nowhere: host by host."""

from __future__ import annotations

import argparse
import json
import sys

from moln.cli import admin
from moln.host.places import Places

HELP = "say why a server runs where it does, or could not be placed, host by host"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("server", help="its id or name")
    parser.add_argument("--json", action="store_true", help="for programs")


def run(args: argparse.Namespace) -> int:
    answer = admin.ask(Places(args.home), "explain", args.server, timeout_s=30)
    if args.json:
        json.dump(answer, sys.stdout, indent=1)
        print()
        return 0
    print(answer["summary"])
    for host in answer["hosts"]:
        print(f"  {host['host']}\t{host['verdict']}")
    return 0
