"""Domains and projects, which Keystone keeps in one table as we do."""

from __future__ import annotations

from moln.identity.model.keystone.reading import Reading, Row, extra, options, truth
from moln.identity.model.projects import Project

ROOT = "<<keystone.domain.root>>"
OPTIONS = {"IMMU": "immutable"}


def read(reading: Reading) -> None:
    """Domains first, then parents before children."""
    tags, kept = reading.by("project_tag", "project_id"), reading.by("project_option", "project_id")
    waiting = [row for row in reading.table("project") if row["id"] != ROOT]
    waiting.sort(key=lambda row: not truth(row["is_domain"]))
    while waiting:
        later: list[Row] = []
        for row in waiting:
            domain = truth(row["is_domain"])
            if domain or reading.has(row["parent_id"] or row["domain_id"], "domain", "project"):
                reading.add("domain" if domain else "project", _project(row, domain, tags[row["id"]], kept[row["id"]]))
            else:
                later.append(row)
        if len(later) == len(waiting):
            for row in later:
                reading.leave("project", row["id"], row["name"], f"the project above it, {row['parent_id']}, is not there")
            return
        waiting = later


def _project(row: Row, domain: bool, tags: list[Row], kept: list[Row]) -> Project:
    return Project(
        id=row["id"],
        name=row["name"],
        domain_id=None if domain else row["domain_id"],
        parent_id=None if domain else row["parent_id"] or row["domain_id"],
        description=row["description"] or "",
        enabled=truth(row["enabled"]),
        is_domain=domain,
        tags=sorted(tag["name"] for tag in tags),
        options=options(kept, OPTIONS),
        extra=extra(row),
    )
