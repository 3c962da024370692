"""Every operation that this Moln has, as a table: service, method, path, action, first and last microversion."""

from __future__ import annotations

import argparse

HELP = "print every operation as tab-separated values"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--openapi", action="store_true", help="print the API's description in OpenAPI 3.1 (JSON) instead")


def run(args: argparse.Namespace) -> int:
    from moln.app import Settings, all_routes, modules, render_description
    from moln.kernel.http.bodies import ANY_VERSION, NEWEST

    if args.openapi:
        print(render_description(modules(Settings(simulate=True))).decode())
        return 0
    print("service\tmethod\tpath\taction\tmin_version\tmax_version")
    rows = set()
    for route in all_routes(modules(Settings(simulate=True))):
        first = "" if route.since == ANY_VERSION else ".".join(map(str, route.since))
        last = "" if route.until == NEWEST else ".".join(map(str, route.until))
        rows.add((route.service.name, route.method, route.service.prefix + route.path, route.action, first, last))
    for row in sorted(rows):
        print("\t".join(row))
    return 0
