"""Regions, services, endpoints, and what is said of them: groups, filters, policies."""

from __future__ import annotations

import json

from moln.identity.model.catalog import INTERFACES, Endpoint, Region, Service, url_is_sound
from moln.identity.model.credentials import Policy
from moln.identity.model.endpoint_groups import EndpointGroup, filter_fault
from moln.identity.model.keystone.reading import Reading, Row, extra, nested, truth


def read(reading: Reading) -> None:
    for row in reading.table("region"):
        reading.add("region", Region(row["id"], row["description"] or "", row["parent_region_id"], extra(row)))
    for row in reading.table("service"):
        more = extra(row)
        name, description = more.pop("name", "") or "", more.pop("description", None)
        reading.add("service", Service(row["id"], row["type"] or "", name, description, truth(row["enabled"]), more))
    for row in reading.table("endpoint"):
        _endpoint(reading, row)
    for row in reading.table("endpoint_group"):
        filters = nested(row["filters"])
        if isinstance(filters, dict) and not filter_fault(filters):
            reading.add("endpoint group", EndpointGroup(row["id"], row["name"], filters, row["description"]))
        else:
            reading.leave("endpoint group", row["id"], row["name"], "its filters are not sound")
    _filters(reading)
    _policies(reading)


def _endpoint(reading: Reading, row: Row) -> None:
    if not reading.has(row["service_id"], "service"):
        reading.leave("endpoint", row["id"], row["url"], "its service is not there")
    elif row["interface"] not in INTERFACES or not url_is_sound(row["url"]):
        reading.leave("endpoint", row["id"], row["url"], "its interface or URL is not sound")
    elif row["region_id"] is not None and not reading.has(row["region_id"], "region"):
        reading.leave("endpoint", row["id"], row["url"], f"its region {row['region_id']} is not there")
    else:
        reading.add("endpoint", Endpoint(row["id"], row["service_id"], row["interface"], row["url"], row["region_id"], truth(row["enabled"]), extra(row)))


def _filters(reading: Reading) -> None:
    """Which endpoints and groups of them a project's catalogue has."""
    for table, kind, column, what in (
        ("project_endpoint", "project endpoint", "endpoint_id", "endpoint"),
        ("project_endpoint_group", "project endpoint group", "endpoint_group_id", "endpoint group"),
    ):
        for row in reading.table(table):
            if reading.has(row["project_id"], "project") and reading.has(row[column], what):
                reading.add(kind, {column: row[column], "project_id": row["project_id"]})
            else:
                reading.leave(kind, row["project_id"], row[column], f"its project or {what} is not there")


def _policies(reading: Reading) -> None:
    for row in reading.table("policy"):
        blob = nested(row["blob"])
        reading.add("policy", Policy(row["id"], row["type"], blob if isinstance(blob, str) else json.dumps(blob), extra(row)))
    for row in reading.table("policy_association"):
        named = {column: row[column] or "" for column in ("endpoint_id", "service_id", "region_id")}
        there = all(not id_ or reading.has(id_, column.removesuffix("_id")) for column, id_ in named.items())
        if reading.has(row["policy_id"], "policy") and there:
            reading.add("policy association", named | {"policy_id": row["policy_id"]})
        else:
            reading.leave("policy association", row["policy_id"], "", "what it names is not there")
