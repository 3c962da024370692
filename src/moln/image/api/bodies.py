"""From Glance's bodies and queries to what ops take. Its words for what is wrong are kept where clients may look for them."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from moln.image.api.schemas import IMAGE_PROPERTIES, check
from moln.image.ops.images import Change, ImageSpec, Wanted
from moln.kernel.clock import parse_iso
from moln.kernel.errors import Forbidden, Invalid, UnsupportedMedia
from moln.kernel.http import Params
from moln.kernel.http.bodies import decode

DISALLOWED = {"direct_url", "self", "file", "schema", "stores"}
READ_ONLY = {
    "created_at", "updated_at", "status", "checksum", "size", "virtual_size", "direct_url", "self", "file", "schema", "id",
    "os_hash_algo", "os_hash_value",
}  # fmt: skip
RESERVED = {"location", "locations", "deleted", "deleted_at", "stores"}
RESERVED_PREFIX = "os_glance"
NAME_BOUND = 255
CHANGES_BOUND = 300
PATCH_TYPES = {
    "application/openstack-images-v2.0-json-patch": True,
    "application/openstack-images-v2.1-json-patch": False,
}
SORT_KEYS = {"name", "status", "container_format", "disk_format", "size", "id", "created_at", "updated_at"}
PLAIN_FILTERS = {"name", "id", "status", "container_format", "disk_format"}
OTHER_COLUMNS = {"checksum", "os_hash_algo", "os_hash_value", "owner", "min_disk", "min_ram", "size", "virtual_size"}
NUMBERS = {"min_disk", "min_ram", "size", "virtual_size"}
NOT_FILTERS = {"limit", "marker", "sort", "sort_key", "sort_dir", "tag", "member_status", "visibility", "os_hidden", "protected"}
any_json = msgspec.json.Decoder(Any)


def check_name(name: str) -> None:
    """Whether a property may be called so. Raises: Forbidden, Invalid."""
    if len(name) > NAME_BOUND:
        raise Invalid("Custom property should not be greater than 255 characters.")
    if name in RESERVED or name.startswith(RESERVED_PREFIX):
        raise Forbidden(f"Attribute '{name}' is reserved.")


def to_spec(body: dict[str, Any]) -> ImageSpec:
    """The body of POST /v2/images. Raises: Invalid, Forbidden."""
    for name in DISALLOWED & body.keys():
        raise Forbidden(f"Attribute '{name}' is read-only.")
    for name, value in body.items():
        check_name(name)
        check(name, value)
    for name in (READ_ONLY - {"id"}) & body.keys():
        raise Forbidden(f"Attribute '{name}' is read-only.")
    known = {name: value for name, value in body.items() if name in IMAGE_PROPERTIES}
    if "id" in known:
        known["id"] = known["id"].lower()
    return ImageSpec(**known, properties={k: v for k, v in body.items() if k not in IMAGE_PROPERTIES})


def to_changes(raw: bytes, media_type: str | None) -> list[Change]:
    """The body of PATCH /v2/images/{id}. Raises: Invalid, Forbidden, UnsupportedMedia."""
    kind = (media_type or "").partition(";")[0].strip()
    if kind not in PATCH_TYPES:
        raise UnsupportedMedia(f"Image PATCH expects Content-Type one of: {', '.join(sorted(PATCH_TYPES))}")
    body = decode(any_json, raw)
    if not isinstance(body, list):
        raise Invalid("Request body must be a JSON array of operation objects.")
    if len(body) > CHANGES_BOUND:
        raise Invalid(f"At most {CHANGES_BOUND} operations are taken at once.")
    return [to_change(item, old=PATCH_TYPES[kind]) for item in body]


def to_change(item: Any, *, old: bool) -> Change:
    if not isinstance(item, dict):
        raise Invalid("Operations must be JSON objects.")
    if old:
        found = [op for op in ("add", "remove", "replace") if op in item]
        if len(found) != 1:
            raise Invalid('Operation objects must contain exactly one member named "add", "remove", or "replace".')
        op, path = found[0], item[found[0]]
    else:
        op, path = str(item.get("op")), item.get("path")
        if op not in ("add", "remove", "replace"):
            raise Invalid(f"Invalid operation: `{str(op)[:40]}`. It must be one of the following: add, remove, replace.")
        if "path" not in item:
            raise Invalid("Unable to find 'path' in JSON Schema change")
    name = pointer(path)
    if name in READ_ONLY:
        raise Forbidden(f"Attribute '{name}' is read-only.")
    check_name(name)
    if op == "remove":
        return Change(op, name)
    if "value" not in item:
        raise Invalid(f'Operation "{op}" requires a member named "value".')
    check(name, item["value"])
    return Change(op, name, item["value"], strict=old)


def pointer(path: Any) -> str:
    """The one property that a JSON pointer (RFC 6901) names. Raises: Invalid."""
    if not isinstance(path, str) or not path.startswith("/"):
        raise Invalid(f'Pointer `{str(path)[:80]}` does not start with "/".')
    if re.search("~[^01]", path) or path.endswith("~"):
        raise Invalid(f'Pointer `{path[:80]}` contains "~" not part of a recognized escape sequence.')
    name = path[1:]
    if not name.strip() or "/" in name:
        raise Invalid(f"Invalid JSON pointer for this resource: '{path[:80]}'")
    return name.replace("~1", "/").replace("~0", "~").strip()


def to_sort(params: Params) -> list[tuple[str, str]]:
    """Both of Glance's syntaxes. Raises: Invalid."""
    keys, directions = params.get("sort_key", []), params.get("sort_dir", [])
    if "sort" in params:
        if keys or directions:
            raise Invalid("Old and new sorting syntax cannot be combined")
        pairs = [part.strip().partition(":") for part in params["sort"][-1].split(",")]
        found = [(key.strip(), direction.strip() or "desc") for key, _, direction in pairs]
    else:
        if len(directions) > 1 and len(directions) != len(keys):
            raise Invalid("Number of sort dirs does not match the number of sort keys")
        keys = keys or ["created_at"]
        found = [(k.strip(), directions[i if len(directions) > 1 else 0] if directions else "desc") for i, k in enumerate(keys)]
    for key, direction in found:
        if key not in SORT_KEYS:
            raise Invalid(f"Invalid sort key: {key[:80]}. It must be one of the following: {', '.join(sorted(SORT_KEYS))}.")
        if direction not in ("asc", "desc"):
            raise Invalid(f"Invalid sort direction: {direction[:80]}")
    return found[:8]


def to_limit(params: Params, default: int) -> int:
    """Images per page; 0 is a page without any. Raises: Invalid."""
    if "limit" not in params:
        return default
    asked = params["limit"][-1]
    if re.fullmatch(r"-[0-9]+", asked):
        raise Invalid("limit param must be positive")
    if not re.fullmatch(r"[0-9]{1,18}", asked):
        raise Invalid("limit param must be an integer")
    return min(int(asked), 1000)


def to_wanted(params: Params) -> Wanted:
    """The filters of GET /v2/images. Raises: Invalid."""
    last = {name: values[-1] for name, values in params.items()}
    where: list[tuple[str, str, Any]] = [("os_hidden", "eq", truth(last, "os_hidden", "false"))]
    if "protected" in last:
        where.append(("protected", "eq", truth(last, "protected", "")))
    visibility = last.get("visibility") or None
    if visibility not in (None, "community", "public", "private", "shared", "all"):
        raise Invalid(f"Invalid visibility value: {visibility}")
    member_status = last.get("member_status", "accepted")
    if member_status not in ("pending", "accepted", "rejected", "all"):
        raise Invalid(f"Invalid status: {member_status[:80]}")
    if "changes-since" in last:
        raise Invalid('The "changes-since" filter is no longer available on v2.')
    properties = {}
    for name, value in last.items():
        if name in NOT_FILTERS:
            continue
        if name in PLAIN_FILTERS:
            where.append(plain(name, value))
        elif name in ("created_at", "updated_at"):
            where.append(moment(name, value))
        elif name.removesuffix("_min") in NUMBERS and name.endswith("_min"):
            where.append((name[:-4], "ge", whole(value)))
        elif name.removesuffix("_max") in NUMBERS and name.endswith("_max"):
            where.append((name[:-4], "le", whole(value)))
        elif name in OTHER_COLUMNS:
            column = "project_id" if name == "owner" else name
            where.append((column, "eq", whole(value) if name in NUMBERS else value))
        else:
            properties[name] = value
    return Wanted(where, [t.strip() for t in params.get("tag", [])], properties, visibility, member_status)


def truth(last: dict[str, str], name: str, default: str) -> int:
    value = last.get(name, default).lower()
    if value not in ("true", "false"):
        raise Invalid(f"Invalid value '{value[:80]}' for '{name}' filter. Valid values are 'true' or 'false'.")
    return int(value == "true")


def whole(value: str) -> int:
    if not re.fullmatch(r"-?[0-9]{1,18}", value):
        raise Invalid("Unable to filter on a range with a non-numeric value.")
    return int(value)


def plain(name: str, value: str) -> tuple[str, str, Any]:
    """`in:a,b` (with quotes around what holds a comma), `eq:a`, or the value itself."""
    operator, colon, rest = value.partition(":")
    if colon and operator == "in":
        return name, "in", split_quoted(rest)
    if colon and operator == "eq":
        return name, "eq", rest
    if colon and operator in ("neq", "lt", "lte", "gt", "gte"):
        raise Invalid(f"Unable to filter by unknown operator '{operator}'.")
    return name, "eq", value


def split_quoted(text: str) -> list[str]:
    """`a,"b,c"` as its two parts. Raises: Invalid, when a quote stands where none may."""
    if '"' not in text:
        return text.split(",")
    if not re.fullmatch(r'(?:"[^"]*"|[^",]*)(?:,(?:"[^"]*"|[^",]*))*', text):
        raise Invalid(f"Invalid filter value {text[:80]}. The quote is not closed, or a comma is missing.")
    return [a or b for a, b in re.findall(r'(?:^|,)(?:"([^"]*)"|([^",]*))', text)]


def moment(name: str, value: str) -> tuple[str, str, Any]:
    """`gt:2026-01-01T00:00:00Z` and the like; the rows' times count whole seconds as Glance shows them."""
    operator, _, rest = value.partition(":")
    known = {"eq": "eq", "neq": "ne", "gt": "gt", "gte": "ge", "lt": "lt", "lte": "le"}
    if operator not in known:
        operator, rest = "eq", value
    try:
        return name, known[operator], parse_iso(rest) // 1_000_000 * 1_000_000
    except ValueError:
        raise Invalid(f'Bad "{name}" query filter format. Use ISO 8601 DateTime notation.') from None
