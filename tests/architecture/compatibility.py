"""docs/compatibility.md: which of OpenStack's operations answer here, and what its own suite says.

official_operations.tsv is what the services of OpenStack 2026.2 answer, without what they have removed and without what other projects
add to Neutron. tests/tempest/ holds the suite's results as it last ran whole, and what is said of its failures.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
TEMPEST = HERE.parent / "tempest"
SERVICES = {"keystone": "identity", "glance": "image", "placement": "placement", "nova": "compute", "neutron": "network", "cinder": "volume"}
BELOW = {"compute": "/compute/v2.1", "identity": "/identity", "image": "/image", "placement": "/placement", "network": "/network", "volume": "/volume"}
UNVERSIONED = {"/", "/v3", "/v2", "/v2.0", "/v2.1", "/versions"}


class Operation(NamedTuple):
    """A line of official_operations.tsv. service: by Moln's name; path: as the service's own reference has it."""

    service: str
    method: str
    path: str
    action: str
    min_version: str
    max_version: str
    deprecated: str
    requires: str

    @property
    def shape(self) -> tuple[str, ...]:
        """The path's segments below Moln's root; variables are all the same."""
        path = self.path.removeprefix("/identity")
        if self.service == "volume":
            path = re.sub(r"^/v3/\{(admin_)?project_id\}/", "/v3/", path)
        path = path.removesuffix(".json")
        root = f"/{self.service}" if path in UNVERSIONED or path.startswith("/v2.1") else BELOW[self.service]
        return segments(root + path)


def segments(path: str) -> tuple[str, ...]:
    return tuple("{}" if part.startswith("{") else part for part in path.rstrip("/").split("/"))


def official() -> list[Operation]:
    with (HERE / "official_operations.tsv").open() as file:
        rows = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        next(rows)
        found = [Operation(SERVICES[row[0]], *row[1:], *[""] * (8 - len(row))) for row in rows]
    return [op._replace(action="") if op.path.endswith(f"/{op.action}") else op for op in found]


class Routes:
    """What `moln routes` prints, to look up."""

    def __init__(self) -> None:
        from moln.app import Settings, all_routes, modules

        self.known = {(r.method, segments(r.service.prefix + r.path), r.action) for r in all_routes(modules(Settings(simulate=True)))}

    def answer(self, asked: Operation) -> bool:
        """Whether a route is this operation. A route per kind of resource stands for a variable; HEAD is answered wherever GET is."""
        method = "GET" if asked.method == "HEAD" else asked.method
        shape = asked.shape
        if (method, shape, asked.action) in self.known:
            return True
        return "{}" in shape and any(
            m == method and a == asked.action and len(s) == len(shape) and all(w in ("{}", h) for w, h in zip(shape, s, strict=True))
            for m, s, a in self.known
        )


def operations() -> list[str]:
    routes = Routes()
    found = [(op, routes.answer(op)) for op in official()]
    lines = ["## Operations", "", "| service | implemented | of | of them deprecated upstream |", "|---|---:|---:|---:|"]
    for service in SERVICES.values():
        mine = [(op, there) for op, there in found if op.service == service]
        old = [there for op, there in mine if op.deprecated]
        lines.append(f"| {service} | {sum(there for _, there in mine)} | {len(mine)} | {sum(old)} of {len(old)} |")
    lines += [f"| all | {sum(there for _, there in found)} | {len(found)} | |", ""]
    for service in SERVICES.values():
        lines += [f"### {service}", ""]
        for there, word in ((False, "Absent"), (True, "Implemented")):
            mine = [op for op, is_there in found if op.service == service and is_there is there]
            lines += [f"{word} ({len(mine)}):", "", *(f"- {said(op)}" for op in mine), ""]
    return lines


def said(op: Operation) -> str:
    more = [f"action `{op.action}`" if op.action else "", f"from {op.min_version}" if op.min_version else "",
            f"to {op.max_version}" if op.max_version else "", op.deprecated, f"extension {op.requires}" if op.requires else ""]  # fmt: skip
    more = [m for m in more if m]
    return f"`{op.method} {op.path}`" + (f" ({', '.join(more)})" if more else "")


class Outcome(NamedTuple):
    """A line of results.tsv. status: success, fail or skip. smoke: `smoke` or nothing."""

    name: str
    status: str
    smoke: str
    reason: str

    @property
    def area(self) -> str:
        return ".".join(re.sub(r"^\w+ \((.*)\)$", r"\1", self.name).split(".")[:3])


def results() -> list[Outcome]:
    with (TEMPEST / "results.tsv").open() as file:
        rows = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        next(rows, None)
        return [Outcome(*row) for row in rows]


def remarks(name: str) -> dict[str, str]:
    """`what # why` of a file of the suite's, by what."""
    lines = [line.partition("#") for line in (TEMPEST / name).read_text().splitlines() if line and not line.startswith("#")]
    return {what.strip(): why.strip() for what, _, why in lines}


def tempest() -> list[str]:
    from tests.tempest.run import PACKAGES

    found, causes, left_out = results(), remarks("known_failures.txt"), remarks("excluded.txt")
    counted: dict[str, Counter[str]] = {}
    smoke: Counter[str] = Counter()
    for outcome in found:
        counted.setdefault(outcome.area, Counter())[outcome.status] += 1
        smoke[outcome.status] += bool(outcome.smoke)
    lines = [
        "## Tempest", "",
        f"The suite ({', '.join(PACKAGES)}) against `moln up --simulate`. `discover-tempest-config --create` makes the configuration, and",
        "tests/tempest/configuration.py adds what it leaves out: what `moln routes` has or lacks, and no ssh, since simulated guests run nothing.",
        "The tool cannot read an address with both a port and the word `identity`: it is given the cloud's other one, `/v3`.",
        "The same again, and this page's numbers with it: `python tests/tempest/run.py --keep` and `python -m tests.architecture.reference`.", "",
        "| area | passed | failed | skipped | of those that ran |", "|---|---:|---:|---:|---:|",
    ]  # fmt: skip
    total: Counter[str] = Counter()
    three = ("tempest.api.compute", "tempest.api.network", "tempest.api.volume")
    for area in three:
        total += counted.get(area, Counter())
    for area, seen in [*sorted(counted.items()), ("compute, network and volume", total), ("smoke", smoke)]:
        ran = seen["success"] + seen["fail"]
        lines.append(f"| {area} | {seen['success']} | {seen['fail']} | {seen['skip']} | {100 * seen['success'] / max(ran, 1):.1f} % |")
    lines += ["", "### What fails, and why", ""]
    lines += [f"- {o.name}: {causes.get(o.name, 'not known yet')}" for o in found if o.status == "fail"] or ["Nothing."]
    lines += ["", "### What is left out, and why", "", *(f"- {name}: {why}" for name, why in left_out.items())]
    lines += ["", "### What the suite skips, in its own words", "", "A feature that is absent here, or one that only running guests could show.", ""]
    skipped: dict[str, list[str]] = {}
    for outcome in found:
        if outcome.status == "skip":
            skipped.setdefault(outcome.reason, []).append(outcome.name)
    lines += [f"- {reason} ({len(names)}): {', '.join(short(n) for n in names)}" for reason, names in sorted(skipped.items())]
    return [*lines, ""]


def short(name: str) -> str:
    return re.sub(r"^\w+ \((.*)\)$", r"\1", name).removeprefix("tempest.")


def page(again: str) -> str:
    head = ["# Compatibility", "", "What of OpenStack 2026.2 answers here, and what OpenStack's own suite says of it.", again]
    return "\n".join([*head, *tempest(), *operations()])
