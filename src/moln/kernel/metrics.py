"""What the process counts about itself: numbers kept where things happen, written out as text only when somebody asks.

A measurement costs a bisection and two additions, a tenth of what prometheus_client takes: the budget of a GET has no room for more.
"""

from __future__ import annotations

import os
import time
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

from msgspec import Struct

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
GROUPS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Spread:
    """How many values fell below each bound, and their sum: a histogram. One thread adds; any may read."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...] = SECONDS):
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def add(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    @property
    def count(self) -> int:
        return sum(self.counts)


class Family(Struct, frozen=True):
    """The values of one name. samples: labels and value; a Spread is a histogram's."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    samples: list[tuple[Mapping[str, str], float | Spread]]


class Requests:
    """Answers of the APIs, by service, route and method; for each status how long they took."""

    def __init__(self) -> None:
        self._all: dict[tuple[str, str, str], dict[int, Spread]] = {}
        self.running = 0

    def of(self, service: str, route: str, method: str) -> dict[int, Spread]:
        """Where answers of one operation are counted, by status; the same for the same names."""
        return self._all.setdefault((service, route, method), {})

    def families(self) -> list[Family]:
        samples: list[tuple[Mapping[str, str], float | Spread]] = [
            ({"service": service, "route": route, "method": method, "status": str(status)}, spread)
            for (service, route, method), by_status in list(self._all.items())
            for status, spread in list(by_status.items())
        ]
        return [
            Family("moln_http_request_duration_seconds", "histogram", "Time from a request's headers to its answer.", samples),
            Family("moln_http_requests_running", "gauge", "Requests being answered now.", [({}, self.running)]),
        ]


def note(answers: dict[int, Spread], status: int, seconds: float) -> None:
    """Count one answer (see Requests.of)."""
    spread = answers.get(status)
    if spread is None:
        spread = answers[status] = Spread()
    spread.add(seconds)


def process() -> list[Family]:
    """Memory, processor time, threads and open files of this process, under the names that Prometheus's own clients use (proc(5))."""
    status = Path("/proc/self/statm").read_text().split()
    stat = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    page, tick = os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_CLK_TCK")
    began = time.time() - (time.clock_gettime(time.CLOCK_BOOTTIME) - int(stat[19]) / tick)
    cpu = os.times()
    values: list[tuple[str, Literal["counter", "gauge"], str, float]] = [
        ("process_resident_memory_bytes", "gauge", "Resident memory.", int(status[1]) * page),
        ("process_virtual_memory_bytes", "gauge", "Virtual memory.", int(status[0]) * page),
        ("process_cpu_seconds_total", "counter", "Processor time, user and system.", cpu.user + cpu.system),
        ("process_open_fds", "gauge", "Open files.", len(os.listdir("/proc/self/fd"))),
        ("process_threads", "gauge", "Threads.", int(stat[17])),
        ("process_start_time_seconds", "gauge", "When it began, seconds since 1970 UTC.", began),
    ]
    return [Family(name, kind, help, [({}, value)]) for name, kind, help, value in values]


def render(families: Iterable[Family]) -> bytes:
    """Prometheus's text format, version 0.0.4 (prometheus.io, "Exposition formats")."""
    lines = []
    for family in families:
        lines += [f"# HELP {family.name} {_escape(family.help)}", f"# TYPE {family.name} {family.kind}"]
        for labels, value in family.samples:
            text = ",".join(f'{k}="{_escape(v)}"' for k, v in labels.items())
            if isinstance(value, Spread):
                lines += _histogram(family.name, text, value)
            else:
                lines.append(f"{family.name}{{{text}}} {value!r}" if text else f"{family.name} {value!r}")
    return "\n".join([*lines, ""]).encode()


def _histogram(name: str, labels: str, spread: Spread) -> list[str]:
    comma = labels + "," if labels else ""
    out, below = [], 0
    for bound, count in zip([*map(repr, spread.bounds), "+Inf"], list(spread.counts), strict=True):
        below += count
        out.append(f'{name}_bucket{{{comma}le="{bound}"}} {below}')
    braces = f"{{{labels}}}" if labels else ""
    return [*out, f"{name}_sum{braces} {spread.total!r}", f"{name}_count{braces} {below}"]


def _escape(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
