"""What a scrape means to an operator, and what happened since an earlier one."""

from __future__ import annotations

from msgspec import Struct

from moln.cli.watching.samples import Buckets, Labels, Samples

REQUESTS = "moln_http_request_duration_seconds"
CALLS = "moln_link_call_duration_seconds"
COMMITS = "moln_database_commit_duration_seconds"
CLOCKS_S = 0.5  # seconds by which two looks at one process's start may differ: a clock that is set, ticks that are rounded


class NodeLine(Struct, frozen=True):
    """used, capacity: by resource class of placement (VCPU, MEMORY_MB, DISK_GB)."""

    name: str
    up: bool
    servers: int
    used: dict[str, float]
    capacity: dict[str, float]


class WorkLine(Struct, frozen=True):
    """A reconciler. waiting, running: now; the rest: since the earlier look."""

    name: str
    waiting: int
    running: int
    settled: int
    failures: int
    given_up: int

    @property
    def quiet(self) -> bool:
        return not (self.waiting or self.running or self.settled or self.failures or self.given_up)


class ServiceLine(Struct, frozen=True):
    """Answers of one service. p50, p99: seconds, None without any."""

    name: str
    per_s: float
    p50: float | None
    p99: float | None
    refused: int
    failed: int


class Figures(Struct, frozen=True):
    """seconds: what the rates and counts are over; whole: since the controller's start.

    trouble: what should not happen and did, by what it is; refused: answers 429 by why; free: places for requests by kind.
    """

    seconds: float
    whole: bool
    cpu_percent: float
    memory_mib: float
    uptime_s: float
    running: int
    per_s: float
    nodes: list[NodeLine]
    servers: dict[str, int]
    work: list[WorkLine]
    services: list[ServiceLine]
    refused: dict[str, int]
    free: dict[str, int]
    writes_waiting: int
    commits_per_s: float
    commit_p99: float | None
    calls_per_s: float
    call_p99: float | None
    trouble: dict[str, int]


def figures(now: Samples, before: Samples | None, wall_s: float) -> Figures:
    """before: None for everything since the controller's start. wall_s: seconds since 1970 at `now`."""
    began = now.total("process_start_time_seconds")
    uptime = max(0.0, wall_s - began)
    if before is not None and abs(before.total("process_start_time_seconds") - began) > CLOCKS_S:
        before = None  # another process counts from nothing
    whole, before = before is None, before or Samples()
    seconds = max(0.001, uptime if whole else now.at - before.at)
    requests = _since(now, before, REQUESTS)
    calls, commits = _since(now, before, CALLS), _since(now, before, COMMITS)
    return Figures(
        seconds=seconds,
        whole=whole,
        cpu_percent=100 * _grown(now, before, "process_cpu_seconds_total") / seconds,
        memory_mib=now.total("process_resident_memory_bytes") / (1 << 20),
        uptime_s=uptime,
        running=int(now.total("moln_http_requests_running")),
        per_s=requests.count / seconds,
        nodes=_nodes(now),
        servers={state: int(n) for state, n in sorted(now.by("moln_servers", "state").items())},
        work=_work(now, before),
        services=_services(now, before, seconds),
        refused={why: int(n) for why, n in _grown_by(now, before, "moln_http_refused_total", "why").items()},
        free={kind: int(n) for kind, n in now.by("moln_http_places_free", "kind").items()},
        writes_waiting=int(now.total("moln_database_writes_waiting")),
        commits_per_s=commits.count / seconds,
        commit_p99=commits.quantile(0.99),
        calls_per_s=calls.count / seconds,
        call_p99=calls.quantile(0.99),
        trouble=_trouble(now, before),
    )


def _since(now: Samples, before: Samples, name: str) -> Buckets:
    return Buckets.of(now, name).since(Buckets.of(before, name))


def _grown(now: Samples, before: Samples, name: str) -> float:
    return now.total(name) - before.total(name)


def _grown_by(now: Samples, before: Samples, name: str, label: str) -> dict[str, float]:
    old = before.by(name, label)
    return {key: value - old.get(key, 0.0) for key, value in now.by(name, label).items()}


def _nodes(now: Samples) -> list[NodeLine]:
    """Those that are down first: nobody looks for them at the end of a long list."""
    used: dict[str, dict[str, float]] = {}
    capacity: dict[str, dict[str, float]] = {}
    for name, into in (("moln_node_used", used), ("moln_node_capacity", capacity)):
        for labels, value in now.each(name):
            into.setdefault(labels["node"], {})[labels["resource"]] = value
    servers = now.by("moln_node_servers", "node")
    lines = [NodeLine(node, bool(up), int(servers.get(node, 0)), used.get(node, {}), capacity.get(node, {}))
             for node, up in now.by("moln_node_up", "node").items()]  # fmt: skip
    return sorted(lines, key=lambda line: (line.up, line.name))


def _work(now: Samples, before: Samples) -> list[WorkLine]:
    waiting, running = now.by("moln_reconciler_waiting", "reconciler"), now.by("moln_reconciler_running", "reconciler")
    settled, failures, given_up = (
        _grown_by(now, before, f"moln_reconciler_{what}_total", "reconciler") for what in ("settled", "failures", "given_up")
    )
    return [
        WorkLine(name, int(waiting[name]), int(running.get(name, 0)), int(settled.get(name, 0)), int(failures.get(name, 0)),
                 int(given_up.get(name, 0)))
        for name in waiting
    ]  # fmt: skip


def _services(now: Samples, before: Samples, seconds: float) -> list[ServiceLine]:
    lines = []
    for service in sorted(now.by(f"{REQUESTS}_count", "service")):
        def ours(labels: Labels, service: str = service) -> bool:
            return labels["service"] == service

        took = Buckets.of(now, REQUESTS, ours).since(Buckets.of(before, REQUESTS, ours))

        def answered(digit: str) -> int:
            def good(labels: Labels) -> bool:
                return ours(labels) and labels["status"].startswith(digit)

            return int(now.total(f"{REQUESTS}_count", good) - before.total(f"{REQUESTS}_count", good))

        lines.append(ServiceLine(service, took.count / seconds, took.quantile(0.5), took.quantile(0.99), answered("4"), answered("5")))
    return lines


def _trouble(now: Samples, before: Samples) -> dict[str, int]:
    def failed(labels: Labels) -> bool:
        return labels["status"].startswith("5")

    def lost(labels: Labels) -> bool:
        return labels["outcome"] in ("unreachable", "error")

    found = {
        "answers 5xx": now.total(f"{REQUESTS}_count", failed) - before.total(f"{REQUESTS}_count", failed),
        "given up": _grown(now, before, "moln_reconciler_given_up_total"),
        "retries": _grown(now, before, "moln_reconciler_failures_total"),
        "calls to nodes lost": now.total(f"{CALLS}_count", lost) - before.total(f"{CALLS}_count", lost),
        "audit lines lost": _grown(now, before, "moln_audit_lost_total"),
    }
    return {name: int(n) for name, n in found.items()}
