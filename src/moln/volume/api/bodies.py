"""Bodies and queries as Cinder takes them."""

from __future__ import annotations

import ast
import re
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from moln.kernel.clock import parse_iso
from moln.kernel.context import RequestContext
from moln.kernel.errors import Invalid
from moln.kernel.http import Params
from moln.kernel.http.bodies import explain

T = TypeVar("T", bound=Struct)
MAX_LIMIT = 1000
TRUE, FALSE = {"1", "t", "true", "on", "y", "yes"}, {"0", "f", "false", "off", "n", "no"}
UUID = re.compile(r"[0-9a-fA-F]{8}-?([0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}")


def parse(ctx: RequestContext, body: dict[str, Any], root: str, shape: type[T], *, beside: tuple[str, ...] = (),
          always: bool = False) -> T:  # fmt: skip
    """The object below `root` as `shape`. A field that it lacks is refused from 3.53 on (always: in every version), else ignored.

    Raises: Invalid.
    """
    for name in body:
        if name != root and name not in beside:
            raise Invalid(f"Additional properties are not allowed ('{name[:64]}' was unexpected)", field=name[:64])
    inner = body.get(root)
    if not isinstance(inner, dict):
        raise Invalid(
            f"Invalid input for field/attribute {root}. An object is needed." if root in body else f"'{root}' is a required property",
            field=root,
        )
    known = {f.encode_name for f in msgspec.structs.fields(shape)}
    unknown = [name for name in inner if name not in known]
    if unknown and (always or ctx.at_least(3, 53)):
        raise Invalid(f"Additional properties are not allowed ('{unknown[0][:64]}' was unexpected)", field=unknown[0][:64])
    try:
        return msgspec.convert({k: v for k, v in inner.items() if k in known}, shape, strict=False)
    except msgspec.ValidationError as error:
        raise explain(error) from None


def text(value: str | None, name: str, most: int = 255) -> str | None:
    """A name or description without the white space around it. Raises: Invalid."""
    if value is None:
        return None
    value = value.strip()
    if len(value) > most:
        raise Invalid(f"Invalid input for field/attribute {name}. Value: {value[:40]}…. It is too long: at most {most}.", field=name)
    return value


def metadata(value: Any, *, null: bool = True) -> dict[str, str]:
    """Keys and values of 255 characters at most, keys not empty. Raises: Invalid."""
    if value is None and null:
        return {}
    if not isinstance(value, dict) or len(value) > 128:
        raise Invalid("Metadata is an object with at most 128 keys.", field="metadata")
    for key, item in value.items():
        if not key or len(key) > 255 or not isinstance(item, str) or len(item) > 255:
            raise Invalid(f"Metadata property key and value are strings of 1 to 255 characters: {key[:40]!r}.", field="metadata")
    return value


def one_meta(body: dict[str, Any], key: str) -> dict[str, str]:
    """The body of PUT …/metadata/{key}. Raises: Invalid."""
    found = body.get("meta")
    if not isinstance(found, dict) or len(found) != 1 or key not in found:
        raise Invalid("Request body and URI mismatch" if isinstance(found, dict) and found else "'meta' is a required property")
    return metadata(found)


def uuid_or_none(value: str | None, name: str) -> str | None:
    """Raises: Invalid."""
    if not value:
        return None
    if not UUID.fullmatch(value):
        raise Invalid(f"Invalid input for field/attribute {name}. Value: {value[:64]}. It is not a 'uuid'.", field=name)
    return value.lower()


def truth(value: Any, name: str, default: bool = False) -> bool:
    """A flag as JSON or as text. Raises: Invalid."""
    if value is None:
        return default
    word = str(value).strip().lower()
    if word in TRUE or word in FALSE:
        return word in TRUE
    raise Invalid(f"Invalid value '{str(value)[:40]}' for {name}: it must be a boolean.", field=name)


class Page(Struct, frozen=True):
    """What of a list is asked for."""

    limit: int
    asked: int | None
    offset: int
    marker: str | None
    sort: list[tuple[str, str]]
    count: bool


def page(ctx: RequestContext, query: Params, keys: dict[str, str], default: tuple[str, str] = ("created_at", "desc")) -> Page:
    """limit, offset, marker, sort and with_count. keys: sort keys and their columns. Raises: Invalid."""
    limit = whole(query, "limit")
    offset = whole(query, "offset") or 0
    sort: list[tuple[str, str]] = []
    if "sort" in query and ("sort_key" in query or "sort_dir" in query):
        raise Invalid("The 'sort_key' and 'sort_dir' parameters are deprecated and cannot be used with the 'sort' parameter.")
    if "sort" in query:
        for part in query["sort"][-1].split(","):
            key, _, direction = part.strip().partition(":")
            sort.append((key.strip(), direction.strip() or "desc"))
    elif "sort_key" in query or "sort_dir" in query:
        sort = [(query.get("sort_key", ["created_at"])[-1], query.get("sort_dir", ["desc"])[-1])]
    for key, direction in sort:
        if key not in keys:
            raise Invalid(f"Invalid input received: Sort key {key[:64]!r} is invalid.", field="sort")
        if direction not in ("asc", "desc"):
            raise Invalid("Invalid input received: Unknown sort direction, must be 'desc' or 'asc'.", field="sort")
    found = [(keys[key], direction) for key, direction in sort[:8]] or [default]
    count = ctx.at_least(3, 45) and truth(query.get("with_count", [None])[-1], "with_count")
    most = MAX_LIMIT if limit is None else min(limit, MAX_LIMIT)
    return Page(most, limit, offset, query.get("marker", [None])[-1] or None, found, count)


def whole(query: Params, name: str) -> int | None:
    if name not in query:
        return None
    value = query[name][-1]
    if not re.fullmatch(r"[0-9]{1,18}", value):
        raise Invalid(f"{name} param must be an integer of 0 or more", field=name)
    if name == "offset" and int(value) > 1 << 31:
        raise Invalid("offset param is too large", field=name)
    return int(value)


NOT_FILTERS = {"limit", "offset", "marker", "sort", "sort_key", "sort_dir", "with_count", "all_tenants", "project_id"}


def filters(ctx: RequestContext, query: Params, columns: dict[str, str], *, admin: frozenset[str] = frozenset(),
            like: frozenset[str] = frozenset()) -> list[tuple[str, str, Any]]:  # fmt: skip
    """Conditions on columns. columns: filters and their columns; admin: those that only administrators may use; like: `name~`.

    An unknown one is refused from 3.31 on, and ignored before (Cinder's process_general_filtering). Raises: Invalid.
    """
    where: list[tuple[str, str, Any]] = []
    everyone = ctx.is_admin and truth(query.get("all_tenants", [None])[-1], "all_tenants")
    if ctx.is_admin and "project_id" in query:
        where.append(("project_id", "eq", query["project_id"][-1]))
    elif not everyone:
        where.append(("project_id", "eq", ctx.project_id or ""))
    for name, values in query.items():
        value = values[-1]
        if name in NOT_FILTERS:
            continue
        part = name.endswith("~") and ctx.at_least(3, 34)
        plain = name.removesuffix("~") if part else name
        if plain not in columns or (plain in admin and not ctx.is_admin) or (part and plain not in like):
            if ctx.at_least(3, 31):
                raise Invalid(f"Invalid filters {name[:64]} are found in query options.", field=name[:64])
            continue
        where += condition(plain, columns[plain], value, part=part)
    return where


def condition(name: str, column: str, value: str, *, part: bool) -> list[tuple[str, str, Any]]:
    if part:
        return [(column, "like", value)]
    if column == "bootable":
        return [(column, "eq", int(truth(value, name)))]
    if column == "size_gib":
        return [(column, "eq", int(value) if re.fullmatch(r"[0-9]{1,18}", value) else -1)]
    if column in ("created_at", "updated_at"):
        return [moment(column, each) for each in value.split(",")]
    if column == "label":
        return [(column, "eq", label) for label in label_values(value)]
    return [(column, "eq", value)]


def moment(column: str, value: str) -> tuple[str, str, Any]:
    """`gt:2026-01-01T00:00:00`. Raises: Invalid."""
    operator, _, rest = value.partition(":")
    names = {"eq": "eq", "neq": "ne", "gt": "gt", "gte": "ge", "lt": "lt", "lte": "le"}
    if operator not in names:
        raise Invalid(f"Invalid {operator[:40]} operator", field=column)
    try:
        return column, names[operator], parse_iso(rest)
    except ValueError:
        raise Invalid(f"Invalid {rest[:40]} value", field=column) from None


def label_values(value: str) -> list[str]:
    """The metadata filter: an object as Python or JSON writes it. Raises: Invalid."""
    try:
        found = ast.literal_eval(value) if len(value) < 4096 else None
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        found = None
    if not isinstance(found, dict):
        raise Invalid(f"Invalid metadata filter: {value[:64]}", field="metadata")
    return [f"{key}={item}" for key, item in found.items()]
