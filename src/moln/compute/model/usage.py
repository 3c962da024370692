"""What servers used over a period: hours, and hours times what their flavor has (compute v2.1 api-ref, "Usage reports")."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from moln.compute.model.servers import Flavor

HOUR_US = 3_600_000_000


class Period(Struct, frozen=True):
    """µs UTC."""

    start: int
    stop: int


class Used(Struct, frozen=True):
    """A server that ran at some time, present or past. Times: µs UTC."""

    id: str
    project_id: str
    name: str
    vm_state: str
    flavor: Flavor
    launched_at: int
    terminated_at: int | None = None

    def hours(self, period: Period) -> float:
        """How long it was there within a period."""
        end = period.stop if self.terminated_at is None else min(self.terminated_at, period.stop)
        return max(0, end - max(self.launched_at, period.start)) / HOUR_US

    @property
    def local_gib(self) -> int:
        return self.flavor.disk + self.flavor.ephemeral


class ProjectUsage(Struct):
    """The sums over a project's servers, and those servers."""

    project_id: str
    servers: list[Used] = []
    hours: float = 0.0
    vcpu_hours: float = 0.0
    mib_hours: float = 0.0
    gib_hours: float = 0.0


def by_project(found: Iterable[Used], period: Period, *, keep: bool) -> list[ProjectUsage]:
    """In the order in which projects come. keep: the servers too, not their sums alone."""
    out: dict[str, ProjectUsage] = {}
    for server in found:
        usage = out.get(server.project_id)
        if usage is None:
            usage = out[server.project_id] = ProjectUsage(server.project_id)
        hours = server.hours(period)
        usage.hours += hours
        usage.vcpu_hours += hours * server.flavor.vcpus
        usage.mib_hours += hours * server.flavor.ram
        usage.gib_hours += hours * server.local_gib
        if keep:
            usage.servers.append(server)
    return list(out.values())
