"""Queries of lists: filters, `fields`, sorting and paging as Neutron has them."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from msgspec import Struct

from moln.kernel.context import RequestContext
from moln.kernel.errors import Invalid
from moln.kernel.http.paging import next_link
from moln.kernel.http.routes import Params
from moln.network.api.attributes import Schema

Where = list[tuple[str, str, Any]]
NOT_FILTERS = {"fields", "limit", "marker", "page_reverse", "sort_key", "sort_dir", "verbose"}
TAG_FILTERS = {"tags", "tags-any", "not-tags", "not-tags-any"}
MOST = 10_000  # rows of a list without a limit: asked for in pages beyond


class Asked(Struct, frozen=True):
    """A list as it was asked for."""

    where: Where
    sort: list[tuple[str, str]]
    limit: int | None
    marker: str | None
    reverse: bool
    fields: frozenset[str]


def asked(schema: Schema, params: Params) -> Asked:
    """Raises: Invalid."""
    where: Where = []
    unknown = []
    for name, values in params.items():
        if name in NOT_FILTERS:
            continue
        if name in TAG_FILTERS:
            where += _tags(name, values)
            continue
        attribute = schema.attributes.get(name)
        if attribute is None or attribute.filter is None:
            unknown.append(name)
        elif isinstance(attribute.filter, str):
            where.append((attribute.filter, "in", values))
        else:
            where += attribute.filter(values)
    if unknown:
        raise Invalid(f"{unknown} is invalid attribute for filtering", field=unknown[0])
    if "tenant_id" in params and "project_id" in params and params["tenant_id"] != params["project_id"]:
        raise Invalid("Both tenant_id and project_id passed as filters.", type="TenantIdProjectIdFilterConflict")
    limit, marker = _page(params)
    reverse = params.get("page_reverse", ["false"])[-1].lower() == "true"
    return Asked(where, _sort(schema, params), limit, marker, reverse, frozenset(f for f in params.get("fields", []) if f))


def _tags(name: str, values: list[str]) -> Where:
    wanted = [tag for value in values for tag in value.split(",") if tag]
    match name:
        case "tags":
            return [("tagged", "in", [tag]) for tag in wanted]
        case "tags-any":
            return [("tagged", "in", wanted)]
        case "not-tags-any":
            return [("untagged", "in", wanted)]
    return [("id", "not-all-tags", wanted)]


def _page(params: Params) -> tuple[int | None, str | None]:
    given = params.get("limit", ["0"])[-1]
    if not given.isascii() or not given.isdecimal() or len(given) > 9:
        raise Invalid(f"Bad limit request: Limit must be an integer 0 or greater and not '{given[:40]}'.", type="BadRequest")
    limit = int(given) or None
    return limit, (params.get("marker", [""])[-1] or None) if limit else None


def _sort(schema: Schema, params: Params) -> list[tuple[str, str]]:
    keys = [key for key in params.get("sort_key", []) if key]
    directions = [d for d in params.get("sort_dir", []) if d]
    if len(keys) != len(directions):
        raise Invalid("The number of sort_keys and sort_dirs must be same")
    wrong = [key for key in keys if key not in schema.attributes or not schema.attributes[key].sort]
    if wrong:
        raise Invalid(f"{wrong} is invalid attribute for sort_keys")
    odd = [d for d in directions if d not in ("asc", "desc")]
    if odd:
        raise Invalid(f"{odd} is invalid value for sort_dirs, valid value is 'asc' and 'desc'")
    fields = ["project_id" if key == "tenant_id" else schema.attributes[key].field or key for key in keys]
    return list(dict(zip(fields, directions, strict=True)).items())


def links(ctx: RequestContext, path: str, params: Params, query: Asked, ids: list[str]) -> list[dict[str, str]]:
    """`<collection>_links` of a page (Neutron's get_pagination_links)."""
    if query.limit is None:
        return []
    base = f"{ctx.settings.public_url}{path}"
    rest = {k: v for k, v in params.items() if k not in ("marker", "page_reverse")}
    found = []
    full = len(ids) >= query.limit
    if full or query.reverse:
        found.append({"rel": "next", "href": _link(base, rest, ids[-1:])})
    if full or not query.reverse:
        found.append({"rel": "previous", "href": _link(base, {**rest, "page_reverse": ["True"]}, ids[:1])})
    return found


def _link(base: str, params: Params, marker: list[str]) -> str:
    """An empty page is beyond one end: from there it goes on at that end."""
    return next_link(base, params, marker[0]) if marker else f"{base}?{urlencode(params, doseq=True)}"
