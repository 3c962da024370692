"""Who else may use a thing: RBAC policies (network v2.0 api-ref, "RBAC Policies")."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

EVERYONE = "*"
SHARED, EXTERNAL = "access_as_shared", "access_as_external"
ACTIONS = {  # by type of object
    "network": (SHARED, EXTERNAL),
    "subnetpool": (SHARED,),
    "address_scope": (SHARED,),
    "security_group": (SHARED,),
    "address_group": (SHARED,),
    "qos_policy": (SHARED,),
}


class RbacPolicy(Struct, frozen=True, kw_only=True):
    """Lets `target_project` (all of them: `*`) do `action` to an object of another project's."""

    id: str
    project_id: str
    object_type: str
    object_id: str
    action: str
    target_project: str
    created_at: int = 0
    updated_at: int = 0
    revision_number: int = 1


def reaches(targets: Iterable[str], project_id: str | None) -> bool:
    """Whether the project is one of those that a thing is shared with."""
    return any(target in (EVERYONE, project_id) for target in targets)
