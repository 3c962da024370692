"""Server groups: servers that want to be together, or apart (compute v2.1 api-ref, "Server groups")."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct


class GroupPolicy(StrEnum):
    """soft: as far as there is room."""

    AFFINITY, ANTI_AFFINITY = "affinity", "anti-affinity"
    SOFT_AFFINITY, SOFT_ANTI_AFFINITY = "soft-affinity", "soft-anti-affinity"

    @property
    def apart(self) -> bool:
        return self in (GroupPolicy.ANTI_AFFINITY, GroupPolicy.SOFT_ANTI_AFFINITY)


class ServerGroup(Struct, frozen=True):
    """A project's group. most_per_host: how many of its servers one host may run under anti-affinity, None for one.

    generation: raised by each boot into it, so that such boots come one after the other.
    """

    id: str
    project_id: str
    user_id: str
    name: str
    policy: GroupPolicy
    most_per_host: int | None = None
    generation: int = 1


class Member(Struct, frozen=True):
    """A server in a group. user_id: its owner; host: None when none was found. other_host: where it moves to, or may return to."""

    group_id: str
    server_id: str
    user_id: str
    host: str | None
    other_host: str | None = None


class Companions(Struct, frozen=True):
    """What placing one more server of a group must heed: how many each host runs of it already."""

    policy: GroupPolicy
    most_per_host: int
    on: dict[str, int] = {}

    def why_not(self, host: str) -> tuple[str, str] | None:
        """(kind, detail) of why the group forbids a host; None where it does not."""
        has = self.on.get(host, 0)
        if self.policy is GroupPolicy.ANTI_AFFINITY and has >= self.most_per_host:
            return "runs servers of the group", f"has {has}, {self.most_per_host} at most"
        if self.policy is GroupPolicy.AFFINITY and self.on and not has:
            return "is not where the group is", f"that is {', '.join(sorted(self.on))}"
        return None

    def rank(self, host: str) -> int:
        """Lower is better: where the policy is soft, hosts come in this order first."""
        has = self.on.get(host, 0)
        return -has if self.policy is GroupPolicy.SOFT_AFFINITY else has if self.policy is GroupPolicy.SOFT_ANTI_AFFINITY else 0
