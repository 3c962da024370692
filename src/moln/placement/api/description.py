"""What the placement API takes and answers."""

from __future__ import annotations

from typing import Any

from moln.kernel.http.schemas import Described
from moln.placement.api.allocations import Allocations
from moln.placement.api.providers import AggregatesUpdate

LINKS = [{"rel": str, "href": str}]
PROVIDER = {"uuid": str, "name": str, "generation": int, "links": LINKS, "parent_provider_uuid?": str | None, "root_provider_uuid?": str}
AMOUNTS = {"total": int, "reserved": int, "min_unit": int, "max_unit": int, "step_size": int, "allocation_ratio": float}
INVENTORY = AMOUNTS | {"resource_provider_generation": int}
INVENTORIES = {"resource_provider_generation": int, "inventories": {str: AMOUNTS}}
AGGREGATES = {"aggregates": [str], "resource_provider_generation?": int}
TRAITS = {"traits": [str], "resource_provider_generation": int}
CLASS = {"name": str, "links": LINKS}
RESOURCES = {str: int}
ONE = "/resource_providers/{uuid}"
ERROR = {"errors": [{"status": int, "title": str, "detail": str, "request_id": str, "code?": str}]}

OBSTACLE = {
    "provider": str, "provider_name": str, "group?": str, "reason": str, "resource_class?": str, "asked?": int, "free?": int, "capacity?": int, "names?": [str],
}  # fmt: skip
LACKING = {"root_provider_uuid": str, "name": str, "obstacles": [OBSTACLE]}
CAPACITY = {"fits": int, "exact": bool, "providers": [{"uuid": str, "name": str, "fits": int}]}
LOSS = CAPACITY | {"aggregate": str, "lost_providers": int, "lost_usages": RESOURCES, "free": RESOURCES}
ASKED = ["group_policy", "in_tree", "limit", "member_of", "required", "resources", "resources1", "root_required", "same_subtree"]

ANSWERS: dict[str, Any] = {
    "GET /": {"versions": [{"id": str, "min_version": str, "max_version": str, "status": str, "links": LINKS}]},
    "GET /resource_providers": {"resource_providers": [PROVIDER]},
    "POST /resource_providers": {200: PROVIDER, 201: None},
    f"GET {ONE}": PROVIDER,
    f"PUT {ONE}": PROVIDER,
    f"GET {ONE}/inventories": INVENTORIES,
    f"PUT {ONE}/inventories": INVENTORIES,
    f"POST {ONE}/inventories": {201: INVENTORY},
    f"GET {ONE}/inventories/{{resource_class}}": INVENTORY,
    f"PUT {ONE}/inventories/{{resource_class}}": INVENTORY,
    f"GET {ONE}/usages": {"resource_provider_generation": int, "usages": RESOURCES},
    f"GET {ONE}/aggregates": AGGREGATES,
    f"PUT {ONE}/aggregates": AGGREGATES,
    f"GET {ONE}/traits": TRAITS,
    f"PUT {ONE}/traits": TRAITS,
    f"GET {ONE}/allocations": {
        "allocations": {str: {"resources": RESOURCES, "consumer_generation?": int}}, "resource_provider_generation": int,
    },
    "GET /allocations/{consumer_uuid}": {
        "allocations": {str: {"resources": RESOURCES, "generation": int}}, "project_id?": str, "user_id?": str, "consumer_generation?": int,
        "consumer_type?": str,
    },
    "GET /usages": {"usages": {str: (int, RESOURCES)}},
    "GET /allocation_candidates": {"allocation_requests": [{"allocations": (dict, list)}], "provider_summaries": {str: {"resources": dict}}},
    "GET /explain": {"candidates": int, "lacking": [LACKING], "smallest_change": (LACKING, None), "most_at_once": (RESOURCES, None)},
    "GET /capacity": CAPACITY | {"without": [LOSS]},
    "GET /traits": {"traits": [str]},
    "GET /traits/{name}": {204: None},
    "PUT /traits/{name}": {201: None, 204: None},
    "GET /resource_classes": {"resource_classes": [CLASS]},
    "POST /resource_classes": {201: None},
    "GET /resource_classes/{name}": CLASS,
    "PUT /resource_classes/{name}": {200: CLASS, 201: None, 204: None},
}  # fmt: skip
BODIES: dict[str, Any] = {
    f"PUT {ONE}/aggregates": (AggregatesUpdate, list[str]),
    "POST /allocations": {str: Allocations},
}
QUERIES: dict[str, Any] = {
    "GET /resource_providers": ["in_tree", "member_of", "name", "required", "resources", "uuid"],
    "GET /allocation_candidates": ASKED,
    "GET /explain": ASKED,
    "GET /capacity": [*ASKED, "without"],
    "GET /traits": ["associated", "name"],
    "GET /usages": ["consumer_type", "project_id", "user_id"],
}


def described() -> Described:
    return Described(ANSWERS, BODIES, QUERIES, error=ERROR)
