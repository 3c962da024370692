"""Network logs: which packets nodes write into their logs (network v2.0 api-ref, "Logging Resource")."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

from msgspec import Struct

Event = Literal["ACCEPT", "DROP", "ALL"]
SECURITY_GROUP = "security_group"  # the one resource_type whose packets OVN logs


class NetworkLog(Struct, frozen=True, kw_only=True):
    """Packets that security groups accept or drop. resource_id: of one group, None for all. target_id: of the groups of one port."""

    id: str
    project_id: str
    name: str = ""
    description: str = ""
    enabled: bool = True
    event: Event = "ALL"
    resource_type: str = SECURITY_GROUP
    resource_id: str | None = None
    target_id: str | None = None
    created_at: int = 0
    updated_at: int = 0
    revision_number: int = 1

    def of_group(self, group_id: str, worn: Collection[str]) -> bool:
        """Whether it tells what the group accepts. worn: the groups of `target_id`."""
        if not self.enabled or self.event == "DROP":
            return False
        if self.resource_id is not None:
            return self.resource_id == group_id
        return self.target_id is None or group_id in worn

    @property
    def of_drops(self) -> bool:
        """Whether it tells what no group accepts: OVN drops for all ports by one rule."""
        return self.enabled and self.event != "ACCEPT"
