"""Every operation that this Moln has, as a table: service, method, path, action, first and last microversion."""

from __future__ import annotations

import argparse

HELP = "print every operation as tab-separated values"


def arguments(parser: argparse.ArgumentParser) -> None:
    pass


def run(args: argparse.Namespace) -> int:
    from moln.app import Settings, all_routes, modules
    from moln.kernel.http.bodies import ANY_VERSION, NEWEST

    print("service\tmethod\tpath\taction\tmin_version\tmax_version")
    rows = set()
    for route in all_routes(modules(Settings(simulate=True))):
        first = "" if route.since == ANY_VERSION else ".".join(map(str, route.since))
        last = "" if route.until == NEWEST else ".".join(map(str, route.until))
        rows.add((route.service.name, route.method, route.service.prefix + route.path, route.action, first, last))
    for row in sorted(rows):
        print("\t".join(row))
    return 0
