"""One frame of `moln top`, drawn by rich; the same on a terminal and as plain text."""

from __future__ import annotations

from typing import Any

from rich import box
from rich.columns import Columns
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from moln.cli.watching.figures import Figures, NodeLine

RESOURCES = (("VCPU", "vCPUs", 1), ("MEMORY_MB", "memory GiB", 1024), ("DISK_GB", "disk GiB", 1))
FULL, TIGHT = 0.95, 0.8
BAR = 8
LEAST_NODES = 3


def frame(found: Figures | None, state: dict[str, Any], console: Console, *, height: int | None = None, problem: str = "") -> RenderableType:
    """state: what supervisor and controller say of themselves. height: lines that there are, None for any number.

    found: None, when the controller does not answer; `problem` says why. Nodes come last, as only they may be too many.
    """
    if found is None:
        return Group(_head(found, state), Text(problem, "bold red"))
    tables = Columns([_services(found), _work(found)], padding=(0, 3))
    upper = Group(_head(found, state), _overload(found), _trouble(found), Text(), tables, Text())
    room = None
    if height is not None:
        room = max(LEAST_NODES, height - len(console.render_lines(upper)) - 2)
    return Group(upper, _nodes(found.nodes, room))


def _head(found: Figures | None, state: dict[str, Any]) -> Text:
    text = Text(state.get("public_url", "the controller does not answer"), "bold")
    engines = state["engines"]
    bad = [f"{e['name']} {e['state']}" for e in engines if e["state"] != "ready"]
    text.append("   ")
    if bad:
        text.append(", ".join(bad), "bold red")
    else:
        text.append(f"{len(engines)} engines ready" if len(engines) != 1 else "1 engine ready", "green")
    if found is None:
        return text
    text.append(f"\ncontroller: up {span(found.uptime_s)}, {found.memory_mib:.0f} MiB, {found.cpu_percent:.0f} % of a core", "default not bold")
    text.append(f"   {'since its start' if found.whole else f'over {found.seconds:.0f} s'}", "dim")
    text.append("\nservers: " + (", ".join(f"{n} {state}" for state, n in found.servers.items()) or "none"), "default not bold")
    return text


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1), header_style="bold cyan")
    for at, name in enumerate(columns):
        table.add_column(name, justify="left" if at == 0 else "right", no_wrap=True)
    return table


def _nodes(nodes: list[NodeLine], room: int | None) -> Table:
    table = _table("node", "state", "servers", *(title for _, title, _ in RESOURCES))
    shown = nodes if room is None or len(nodes) <= room else nodes[: room - 1]
    for node in shown:
        state = Text("up", "green") if node.up else Text("DOWN", "bold red")
        cells = [_share(node.used.get(name, 0) / unit, node.capacity.get(name, 0) / unit) for name, _, unit in RESOURCES]
        table.add_row(node.name, state, str(node.servers), *cells)
    if len(shown) < len(nodes):
        table.add_row(Text(f"… {len(nodes) - len(shown)} more", "dim"))
    if not nodes:
        table.add_row(Text("none", "bold red"))
    return table


def _share(used: float, capacity: float) -> Text:
    """How much of something is allocated: figures, and a bar for the eye."""
    share = used / capacity if capacity else 0.0
    colour = "bold red" if share >= FULL else "yellow" if share >= TIGHT else "green"
    filled = min(BAR, round(share * BAR))
    text = Text(f"{used:.0f} / {capacity:.0f} ")
    text.append("█" * filled, colour)
    text.append("░" * (BAR - filled), "dim")
    return text


def _work(found: Figures) -> Table:
    table = _table("work", "waiting", "running", "settled", "retried", "given up")
    for line in sorted(found.work, key=lambda w: (-(w.running + w.waiting), -w.settled, w.name)):
        if line.quiet:
            continue
        table.add_row(line.name, _count(line.waiting), _count(line.running, "bold"), _count(line.settled),
                      _count(line.failures, "yellow"), _count(line.given_up, "bold red"))  # fmt: skip
    if not table.row_count:
        table.add_row(Text("nothing to do", "dim"))
    return table


def _services(found: Figures) -> Table:
    table = _table("service", "req/s", "p50", "p99", "4xx", "5xx")
    for line in found.services:
        rate = f"{line.per_s:.1f}" if line.per_s else "·"
        table.add_row(line.name, rate, took(line.p50), took(line.p99), _count(line.refused), _count(line.failed, "bold red"))
    if not table.row_count:
        table.add_row(Text("no request yet", "dim"))
    return table


def _overload(found: Figures) -> Text:
    text = Text(f"requests: {found.per_s:.1f}/s, {found.running} running; places free: ")
    text.append(", ".join(f"{n} {kind}" for kind, n in found.free.items()))
    text.append("; turned away: ")
    turned = {why: n for why, n in found.refused.items() if n}
    text.append(", ".join(f"{n} {why}" for why, n in turned.items()) or "none", "bold yellow" if turned else "")
    text.append(f"\ndatabase: {found.commits_per_s:.1f} commits/s, p99 {took(found.commit_p99)}, {found.writes_waiting} writes waiting")
    text.append(f"; nodes: {found.calls_per_s:.1f} calls/s, p99 {took(found.call_p99)}")
    return text


def _trouble(found: Figures) -> Text:
    there = {name: n for name, n in found.trouble.items() if n}
    text = Text("trouble: ")
    text.append(", ".join(f"{n} {name}" for name, n in there.items()) or "none", "bold red" if there else "green")
    return text


def _count(n: int, style: str = "") -> Text:
    return Text(str(n), style) if n else Text("·", "dim")


def took(seconds: float | None) -> str:
    """A time in the unit that reads best."""
    if seconds is None:
        return "·"
    if seconds == float("inf"):
        return "> 60 s"
    return f"{seconds * 1000:.1f} ms" if seconds < 0.1 else f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def span(seconds: float) -> str:
    """How long something has run."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"
