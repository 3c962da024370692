"""Queries of GET /servers: which filters there are, for whom, and what they mean."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from moln.compute.api.server_bodies import FALSE, TRUE
from moln.compute.model.patterns import compiled
from moln.compute.model.servers import MOST_TAGS, OTHER_STATUSES, SETTLED, STATUSES, states_of
from moln.compute.store.server_lists import Wanted
from moln.kernel.clock import parse_iso
from moln.kernel.context import RequestContext
from moln.kernel.db.listing import Where
from moln.kernel.errors import Forbidden, Invalid
from moln.kernel.http import Params, bounded_limit

#: Sort keys on the wire to columns.
SORTS = {
    "access_ip_v4": "access_ip_v4", "access_ip_v6": "access_ip_v6", "auto_disk_config": "disk_config", "availability_zone": "az",
    "config_drive": "config_drive", "created_at": "created_at", "display_description": "description", "display_name": "name",
    "host": "host", "hostname": "hostname", "image_ref": "image_id", "instance_type_id": "flavor_id", "key_name": "key_name",
    "launch_index": "launch_index", "launched_at": "launched_at", "locked_by": "locked_by", "node": "host",
    "power_state": "power_state", "project_id": "project_id", "root_device_name": "root_device", "task_state": "task_state",
    "terminated_at": "terminated_at", "updated_at": "updated_at", "user_id": "user_id", "uuid": "id", "vm_state": "vm_state",
    "locked": "locked", "progress": "created_at", "kernel_id": "created_at", "ramdisk_id": "created_at",
}  # fmt: skip
IGNORED_SORTS = frozenset({
    "architecture", "cell_name", "cleaned", "default_ephemeral_device", "default_swap_device", "deleted", "deleted_at",
    "disable_terminate", "ephemeral_gb", "ephemeral_key_uuid", "id", "key_data", "launched_on", "memory_mb", "os_type",
    "reservation_id", "root_gb", "shutdown_terminate", "user_data", "vcpus", "vm_mode",
})  # fmt: skip
PAGING = frozenset({"limit", "marker", "sort_key", "sort_dir", "page_size"})
JOINED = frozenset({"block_device_mapping", "services", "metadata", "system_metadata", "info_cache", "security_groups", "pci_devices"})
EVERYONE = {  # filter: the microversion since which those who may not filter by everything have it
    "reservation_id": (2, 1), "name": (2, 1), "status": (2, 1), "image": (2, 1), "flavor": (2, 1), "ip": (2, 1), "changes-since": (2, 1),
    "all_tenants": (2, 1), "ip6": (2, 5), "tags": (2, 26), "tags-any": (2, 26), "not-tags": (2, 26), "not-tags-any": (2, 26),
    "changes-before": (2, 66), "locked": (2, 73), "availability_zone": (2, 83), "config_drive": (2, 83), "key_name": (2, 83),
    "created_at": (2, 83), "launched_at": (2, 83), "terminated_at": (2, 83), "power_state": (2, 83), "task_state": (2, 83),
    "vm_state": (2, 83), "progress": (2, 83), "user_id": (2, 83),
}  # fmt: skip
EQUAL = {  # filters that compare a column
    "reservation_id": "reservation_id", "image": "image_id", "image_ref": "image_id", "flavor": "flavor_id", "host": "host",
    "node": "host", "uuid": "id", "user_id": "user_id", "availability_zone": "az", "key_name": "key_name", "task_state": "task_state",
    "vm_state": "vm_state", "hostname": "hostname", "root_device_name": "root_device", "locked_by": "locked_by",
    "access_ip_v4": "access_ip_v4", "access_ip_v6": "access_ip_v6",
}  # fmt: skip
KNOWN = frozenset(EVERYONE) | frozenset(EQUAL) | PAGING | {
    "project_id", "tenant_id", "launch_index", "kernel_id", "ramdisk_id", "display_name", "description", "display_description",
    "auto_disk_config", "soft_deleted", "deleted",
}  # fmt: skip
SINCE = {"tags": (2, 26), "tags-any": (2, 26), "not-tags": (2, 26), "not-tags-any": (2, 26), "changes-before": (2, 66), "locked": (2, 73)}


PATTERNS = {"name": "name", "display_name": "name", "description": "description", "display_description": "description"}
PLAIN = re.compile(r"^(\^[^\\.\[\](){}*+?|^$]*\$?|[^\\.\[\](){}*+?|^$]*)\Z")  # no pattern but for its anchors: the database compares


class Nothing(Exception):
    """No server can match."""


def wanted(ctx: RequestContext, params: Params) -> Wanted:
    """Raises: Invalid, Forbidden; Nothing, when the answer is empty whatever there is."""
    asked = params.get("limit", [None])[-1]
    out = Wanted(limit=0 if asked == "0" else bounded_limit(asked), marker=params.get("marker", [None])[-1] or None)
    out.sort = sorts(ctx, params)
    every = ctx.allows("compute", "os_compute_api:servers:allow_all_filters")
    given: dict[str, list[str]] = {}
    for name, values in params.items():
        if name.startswith("_") or name in JOINED:
            raise Invalid(f"Invalid filter field: {name[:64]}.", field=name)
        known = name in KNOWN and ctx.version >= SINCE.get(name, (2, 0))
        if not known and ctx.at_least(2, 75):
            raise Invalid(f"Additional properties are not allowed ({name[:64]!r} was unexpected)", field=name)
        if known and name not in PAGING and (every or ctx.version >= EVERYONE.get(name, (9, 9))):
            given[name] = values
    out.all_projects = "all_tenants" in given and truth(given["all_tenants"][-1] or "1", "all_tenants")
    for name, values in given.items():
        if name in PATTERNS and not PLAIN.match(values[-1]):
            out.matching.append((PATTERNS[name], compiled(values[-1])))
        else:
            out.where += conditions(ctx, name, values)
    if out.all_projects:
        for name in ("project_id", "tenant_id"):
            if name in given:
                out.where.append(("project_id", "eq", given[name][-1]))
    _deleted(ctx, given, out)
    return out


def _deleted(ctx: RequestContext, given: dict[str, list[str]], out: Wanted) -> None:
    """Deleted servers are listed to administrators who ask, and to everyone who asks what changed."""
    asked = given.get("deleted", given.get("soft_deleted", [""]))[-1].lower() in TRUE
    if "DELETED" in [s.upper() for s in given.get("status", [])]:
        if not ctx.is_admin:
            raise Forbidden("Only administrators may list deleted instances")
        asked = True
    changes = "changes-since" in given or "changes-before" in given
    if "deleted" in given:
        out.with_deleted = asked
        if asked:
            out.where.append(("vm_state", "eq", "deleted"))
    else:
        out.with_deleted = asked or changes


def conditions(ctx: RequestContext, name: str, values: list[str]) -> list[Where]:
    """One filter as conditions on columns. Raises: Invalid, Nothing."""
    value = values[-1]
    match name:
        case "status":
            return _status(ctx, values)
        case "name" | "display_name":
            return [text_like("name", value)]
        case "description" | "display_description":
            return [text_like("description", value)]
        case "changes-since":
            return [("updated_at", "ge", moment(value, name))]
        case "changes-before":
            return [("updated_at", "le", moment(value, name))]
        case "created_at" | "launched_at" | "terminated_at":
            at = moment(value, name)
            return [(name, "ge", at), (name, "lt", at + 1_000_000)]
        case "ip" | "ip6":
            return [_ip(value)]
        case "tags":
            return [("tagged", "eq", msgspec.json.encode(t).decode()) for t in _tags(value, name)]
        case "not-tags-any":
            return [("untagged", "eq", msgspec.json.encode(t).decode()) for t in _tags(value, name)]
        case "tags-any":
            return [("tagged-any", "eq", _tags(value, name))]
        case "not-tags":
            return [("untagged-all", "eq", _tags(value, name))]
        case "locked" | "config_drive":
            return [(name, "eq", int(truth(value, name)))]
        case "power_state" | "launch_index":
            return [(name, "eq", whole(value, name))]
        case "auto_disk_config":
            return [("disk_config", "eq", "AUTO" if truth(value, name) else "MANUAL")]
        case _ if name in EQUAL:
            return [(EQUAL[name], "in", values)] if len(values) > 1 else [(EQUAL[name], "eq", value)]
    return []


def _tags(text: str, name: str) -> list[str]:
    """Raises: Invalid, for more than a server can have."""
    found = text.split(",")
    if len(found) > MOST_TAGS:
        raise Invalid(f"Invalid filter field: {name}. There may be {MOST_TAGS} tags at most.", field=name)
    return found


def _status(ctx: RequestContext, values: list[str]) -> list[Where]:
    found = states_of(values)
    if found is None:
        known = {*SETTLED.values(), *STATUSES.values(), *OTHER_STATUSES}
        if ctx.at_least(2, 38) and not any(v.upper() in known for v in values):
            raise Invalid("Invalid status value", field="status")
        raise Nothing
    vm_states, tasks = found
    out: list[Where] = [("vm_state", "in", sorted(str(v) for v in vm_states))]
    if tasks is not None:
        out.append(("task_state", "in", sorted(tasks)))
    else:
        out.append(("not-rebooting", "eq", "ACTIVE" if "ACTIVE" in {v.upper() for v in values} else ""))
    return out


def text_like(column: str, pattern: str) -> Where:
    """A text with anchors, or without: then it may be anywhere."""
    text = pattern.removeprefix("^").removesuffix("$")
    if pattern.startswith("^"):
        return (column, "eq" if pattern.endswith("$") else "prefix", text)
    return (column, "like", text)


def _ip(pattern: str) -> Where:
    """The start of a fixed address, or all of it."""
    text = re.sub(r"\\(.)", r"\1", pattern.removeprefix("^").removesuffix("$"))
    return ("ip", "eq", f'"ip":"{text}' + ('"' if pattern.endswith("$") else ""))


def moment(text: str, name: str) -> int:
    try:
        return parse_iso(text)
    except (ValueError, OverflowError):
        raise Invalid(f"Invalid filter field: {name}.", field=name) from None


def whole(text: str, name: str) -> int:
    if not re.fullmatch(r"-?[0-9]{1,9}", text):
        raise Invalid(f"Invalid filter field: {name}.", field=name)
    return int(text)


def truth(text: str, name: str) -> bool:
    word = text.lower()
    if word in TRUE or word == "t":
        return True
    if word in FALSE or word in ("f", ""):
        return False
    raise Invalid(f"Invalid value {text[:40]!r} for {name}: a boolean is needed.", field=name)


def sorts(ctx: RequestContext, params: Params) -> tuple[tuple[str, str], ...]:
    """Raises: Invalid, Forbidden."""
    keys, directions = params.get("sort_key", []), params.get("sort_dir", [])
    if not keys:
        keys = ["created_at"]
    out = []
    for i, key in enumerate(keys):
        direction: Any = directions[i] if i < len(directions) else (directions[-1] if directions else "desc")
        if direction not in ("asc", "desc"):
            raise Invalid(f"Unknown sort direction, must be one of: asc, desc, not {direction[:20]!r}", field="sort_dir")
        if key in IGNORED_SORTS and not ctx.at_least(2, 75) or key == "locked" and not ctx.at_least(2, 73):
            continue
        if key not in SORTS:
            raise Invalid(f"Invalid input for query parameters sort_key. Value: {key[:64]}.", field="sort_key")
        if key in ("host", "node") and not ctx.is_admin:
            raise Forbidden(f"Only administrators can sort servers by {key}")
        out.append((SORTS[key], direction))
    return tuple(dict.fromkeys(out)) or (("created_at", "desc"),)
