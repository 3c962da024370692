"""What a volume type is (block-storage v3 api-ref, "Volume types")."""

from __future__ import annotations

from msgspec import Struct

DEFAULT_TYPE = "__DEFAULT__"
#: The only extra specs that are shown to those who may not see every one (Cinder's USER_VISIBLE_EXTRA_SPECS).
USER_VISIBLE = frozenset({"RESKEY:availability_zones", "multiattach", "replication_enabled"})


class VolumeType(Struct, frozen=True):
    """A kind of volume that projects choose by name. Times: µs UTC."""

    id: str
    name: str
    description: str | None
    is_public: bool
    created_at: int
    updated_at: int
    extra_specs: dict[str, str] = {}
