"""Registered limits, and the limits of projects and domains that refer to them."""

from __future__ import annotations

from moln.identity.model.keystone.reading import Reading, Row
from moln.identity.model.limits import Limit, RegisteredLimit


def read(reading: Reading) -> None:
    by_id: dict[str, Row] = {}
    for row in reading.table("registered_limit"):
        if not reading.has(row["service_id"], "service"):
            reading.leave("registered limit", row["id"], row["resource_name"], "its service is not there")
            continue
        by_id[row["id"]] = row
        reading.add("registered limit", RegisteredLimit(
            row["id"], row["service_id"], row["resource_name"], int(row["default_limit"]), row["region_id"], row["description"]))  # fmt: skip
    for row in reading.table("limit"):
        above = by_id.get(row["registered_limit_id"])
        whose = ("project", row["project_id"]) if row["project_id"] else ("domain", row["domain_id"])
        if above is None:
            reading.leave("limit", row["id"], "", "its registered limit is not there")
        elif not reading.has(whose[1], whose[0]):
            reading.leave("limit", row["id"], above["resource_name"], f"its {whose[0]} is not there")
        else:
            reading.add("limit", Limit(
                row["id"], above["service_id"], above["resource_name"], int(row["resource_limit"]), above["region_id"],
                row["project_id"] or None, None if row["project_id"] else row["domain_id"], row["description"]))  # fmt: skip
