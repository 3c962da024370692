"""Which endpoints a project's catalogue has (identity v3-ext api-ref, "OS-EP-FILTER")."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from moln.identity.model.catalog import Endpoint

FILTERS = ("service_id", "region_id", "interface")


class EndpointGroup(Struct, frozen=True):
    """The endpoints that look like this. filters: some of FILTERS and the values wanted."""

    id: str
    name: str
    filters: dict[str, Any]
    description: str | None = None
    extra: dict[str, Any] = {}

    def holds(self, endpoint: Endpoint) -> bool:
        return all(getattr(endpoint, name, None) == value for name, value in self.filters.items())


def filter_fault(filters: dict[str, Any]) -> str | None:
    """What is wrong with a group's filters; None, when nothing is."""
    for name, value in filters.items():
        if name not in FILTERS:
            return f"filters has no {name[:64]!r}; there are {', '.join(FILTERS)}"
        if value is not None and not isinstance(value, str):
            return f"filters/{name} must be text"
    if filters.get("interface", "public") not in ("public", "internal", "admin"):
        return "filters/interface must be public, internal or admin"
    return None
