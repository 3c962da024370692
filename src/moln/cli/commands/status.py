"""What runs, and since how many starts."""

from __future__ import annotations

import argparse
import json
from typing import Any

from moln.cli import admin
from moln.cli.nodes import described
from moln.host import control, roles
from moln.host.places import Places
from moln.host.roles import Part

HELP = "show what runs"
FEW = 16  # nodes that are shown one by one


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="for programs")


def worth_telling(hosts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """All nodes, where they are few; else those with which something is the matter."""
    return hosts if len(hosts) <= FEW else [h for h in hosts if not h["up"] or h["disabled"] or h["astray"]]


def of_database(told: dict[str, Any] | None) -> list[str]:
    """Where the cloud's own PostgreSQL takes writes, and who follows."""
    if told is None:
        return []
    if "trouble" in told:
        return [f"database: {told['trouble']}"]
    standbys = (f"{s['name']} ({s['sync']}, {s['state']}, {s['lag'] / 1024:.0f} KiB behind)" for s in told["standbys"])
    return [f"database: {told['primary']} takes writes; standbys: {', '.join(standbys) or 'none'}"]


def run(args: argparse.Namespace) -> int:
    """Status 0: everything is ready."""
    places = Places(args.home)
    state = control.status(places)
    machine = roles.read(places)
    if Part.CENTRAL in machine.parts:
        try:
            state |= admin.ask(places, "status", timeout_s=5)
        except (control.NotRunning, OSError) as error:
            state["controller"] = str(error)
    else:
        state["controller"] = f"node {machine.called} of the cloud at {', '.join(machine.controllers)}"
    if args.json:
        print(json.dumps(state))
    else:
        for engine in state["engines"]:
            again = f"started {engine['starts']} times" if engine["starts"] > 1 else ""
            print(f"{engine['name']:16} {engine['state']:10} {engine['pid'] or '':>8}  "
                  f"{engine['reason'] or again}".rstrip())
        if "public_url" in state:
            print(f"{state['public_url']}  nodes: {', '.join(state['nodes']) or 'none'}")
            for node in worth_telling(state["hosts"]):
                print(f"{node['name']:16} {'up' if node['up'] else 'down':10} {', '.join(filter(None, described(node)))}")
        elif "controller" in state:
            print(state["controller"])
        for line in of_database(state.get("database")):
            print(line)
        if state.get("policy_problem"):
            print(f"policy: the rules from before are in force: {state['policy_problem']}")
    return 0 if control.all_ready(state) else 1
