"""Registered limits and the limits of projects and domains (identity v3 api-ref, "Unified Limits")."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from msgspec import Struct

Model = Literal["flat", "strict_two_level"]
MODELS: dict[str, str] = {
    "flat": "Limit enforcement and validation does not take project hierarchy into consideration.",
    "strict_two_level": "This model requires project hierarchy never exceeds a depth of two",
}


class RegisteredLimit(Struct, frozen=True):
    """How much of a resource of a service, perhaps in one region, a project may have where nobody says otherwise; -1: any amount."""

    id: str
    service_id: str
    resource_name: str
    default_limit: int
    region_id: str | None = None
    description: str | None = None


class Limit(Struct, frozen=True):
    """The same for one project or one domain. -1: any amount."""

    id: str
    service_id: str
    resource_name: str
    resource_limit: int
    region_id: str | None = None
    project_id: str | None = None
    domain_id: str | None = None
    description: str | None = None


def exceeds(limit: int, of: int) -> bool:
    """Whether a limit is more than another allows."""
    return of >= 0 and (limit < 0 or limit > of)


def two_level_fault(limit: int, above: int | None, below: Iterable[int]) -> str | None:
    """Why a limit does not fit between that of the domain and those of its projects; None, when it does."""
    if above is not None and exceeds(limit, above):
        return f"The value of the limit ({limit}) exceeds that of its domain ({above})."
    most = max((-2, *(10**18 if n < 0 else n for n in below)))
    if limit >= 0 and most > limit:
        return f"The value of the limit ({limit}) is less than that of a project below."
    return None


AREAS = {  # the quotas of our own that limits drive: area by a service's type
    "compute": "compute", "network": "network", "volume": "volume", "volumev3": "volume", "block-storage": "volume",
}  # fmt: skip
COMPUTE = {  # compute's resources by the names that Nova gives them in unified limits
    "servers": "instances", "class:VCPU": "cores", "class:MEMORY_MB": "ram", "server_metadata_items": "metadata_items",
    "server_injected_files": "injected_files", "server_injected_file_content_bytes": "injected_file_content_bytes",
    "server_injected_file_path_bytes": "injected_file_path_bytes", "server_key_pairs": "key_pairs", "server_groups": "server_groups",
    "server_group_members": "server_group_members",
}  # fmt: skip


def driven(service_type: str, resource_name: str) -> tuple[str, str] | None:
    """The area and the resource of ours that a limit is about; None, when it is another's to enforce."""
    area = AREAS.get(service_type)
    if area is None:
        return None
    name = COMPUTE.get(resource_name) if area == "compute" else resource_name
    return (area, name) if name else None
