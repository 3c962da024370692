"""What policy says to a user, and why."""

from __future__ import annotations

import argparse
import json
import sys

from moln.cli import admin
from moln.host.places import Places
from moln.kernel.errors import Invalid

HELP = "say what policy allows somebody, and why"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("question", choices=["check"], help="whether a user may do something; exit status 1, when not")
    parser.add_argument("user", help="an id, a name, or NAME@DOMAIN")
    parser.add_argument("action", help="a rule, such as identity:get_user or os_compute_api:servers:delete")
    parser.add_argument("target", nargs="*", help="what it is about: NAME=VALUE as the rule reads it, such as target.user.domain_id=default")
    scope = parser.add_mutually_exclusive_group()
    scope.add_argument("--project", help="the project of the token, by id, name or NAME@DOMAIN")
    scope.add_argument("--domain", help="the domain of the token")
    scope.add_argument("--system", action="store_true", help="a token for the system")
    parser.add_argument("--json", action="store_true", help="for programs")


def run(args: argparse.Namespace) -> int:
    target = {}
    for pair in args.target:
        name, equals, value = pair.partition("=")
        if not equals:
            raise Invalid(f"{pair} is no NAME=VALUE.")
        target[name] = value
    given = {"project": args.project, "domain": args.domain, "system": "all" if args.system else None}
    query = {"user": args.user, "action": args.action, "target": json.dumps(target)} | {name: value for name, value in given.items() if value}
    answer = admin.ask(Places(args.home), "policy", timeout_s=30, **query)
    if args.json:
        json.dump(answer, sys.stdout, indent=1)
        print()
    else:
        print("\n".join([answer["summary"], *("  " + line for line in answer["lines"])]))
    return 0 if answer["allowed"] else 1
