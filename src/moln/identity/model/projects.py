"""Projects, and the domains that own them (identity v3 api-ref, "Projects" and "Domains")."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

MAX_DEPTH = 5  # levels of projects below a domain (Keystone's max_project_tree_depth)
MAX_TAGS = 80


class Project(Struct, frozen=True):
    """A project, or with is_domain a domain: then domain_id and parent_id are None.

    parent_id: the project above, or the domain. options: `immutable`. extra: what else the creator wrote.
    """

    id: str
    name: str
    domain_id: str | None
    parent_id: str | None
    description: str = ""
    enabled: bool = True
    is_domain: bool = False
    tags: list[str] = []
    options: dict[str, Any] = {}
    extra: dict[str, Any] = {}

    @property
    def immutable(self) -> bool:
        return self.options.get("immutable") is True


def tags_match(tags: list[str], *, every: str | None, some: str | None, not_every: str | None, not_some: str | None) -> bool:
    """The four tag filters, each a comma-separated list (api-ref, "Filtering and searching by tags")."""
    have = set(tags)
    return (
        (every is None or have >= set(every.split(",")))
        and (some is None or bool(have & set(some.split(","))))
        and (not_every is None or not have >= set(not_every.split(",")))
        and (not_some is None or not have & set(not_some.split(",")))
    )
