"""What compute's answers and queries have in common: links, pages, strict queries, Nova's booleans."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

from msgspec import Meta

from moln.kernel.context import RequestContext, Version
from moln.kernel.errors import Invalid
from moln.kernel.http import Params, next_link

TRUE = frozenset({"true", "1", "on", "yes", "t", "y"})
FALSE = frozenset({"false", "0", "off", "no", "f", "n"})
STRICT_LISTS, STRICT = (2, 75), (2, 102)  # since when unknown query parameters are refused

Switch = bool | Literal["True", "TRUE", "true", "1", "ON", "On", "on", "YES", "Yes", "yes",
                        "False", "FALSE", "false", "0", "OFF", "Off", "off", "NO", "No", "no"]  # fmt: skip
Size = Annotated[int, Meta(ge=0, le=2**31 - 1)]
PositiveSize = Annotated[int, Meta(ge=1, le=2**31 - 1)]


def switch(value: bool | str) -> bool:
    """Nova's boolean parameter."""
    return value if isinstance(value, bool) else value.lower() in TRUE


def flag(query: Params, name: str, default: bool = False) -> bool:
    """A boolean of the query. Raises: Invalid."""
    text = query.get(name, [""])[-1].lower()
    if not text:
        return default
    if text not in TRUE | FALSE:
        raise Invalid(f"Invalid input for query parameters {name}. Value: {text[:64]}. It must be a boolean.", field=name)
    return text in TRUE


def check_query(ctx: RequestContext, query: Params, known: Iterable[str], *, strict_since: Version = STRICT_LISTS) -> None:
    """Raises: Invalid, for a parameter that this version does not know, where the version minds."""
    if ctx.version < strict_since:
        return
    unknown = sorted(set(query) - set(known))
    if unknown:
        names = ", ".join(repr(u[:64]) for u in unknown)
        verb = "was" if len(unknown) == 1 else "were"
        raise Invalid(f"Additional properties are not allowed ({names} {verb} unexpected)", field=unknown[0])


def offset_of(query: Params) -> int:
    """How many of a list to leave out. Raises: Invalid."""
    text = query.get("offset", ["0"])[-1]
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise Invalid(f"Invalid input for query parameters offset. Value: {text[:40]}. It must be a whole number of 0 or more.", field="offset")
    return int(text)


def links(ctx: RequestContext, collection: str, id: str) -> list[dict[str, str]]:
    """The self and bookmark links of a resource."""
    base = f"{ctx.settings.public_url}/compute"
    return [{"rel": "self", "href": f"{base}/v2.1/{collection}/{id}"}, {"rel": "bookmark", "href": f"{base}/{collection}/{id}"}]


def more(ctx: RequestContext, collection: str, query: Params, ids: list[str], limit: int) -> list[dict[str, str]]:
    """The link to the next page, when this one is full."""
    if not ids or len(ids) < limit:
        return []
    return [{"rel": "next", "href": next_link(f"{ctx.settings.public_url}/compute/v2.1/{collection}", query, ids[-1])}]
