"""What a group type is (block-storage v3 api-ref, "Group types")."""

from __future__ import annotations

from msgspec import Struct

CONSISTENT = "consistent_group_snapshot_enabled"


class GroupType(Struct, frozen=True):
    """A kind of group that projects choose. Times: µs UTC."""

    id: str
    name: str
    description: str | None
    is_public: bool
    created_at: int
    updated_at: int
    group_specs: dict[str, str] = {}

    @property
    def consistent(self) -> bool:
        """Whether its snapshots must be of one moment, which pools of files cannot do."""
        return "true" in self.group_specs.get(CONSISTENT, "").lower()
