"""What JSON looks like, said in Python: types as msgspec knows them, and a short notation for what is no type of its own.

`{"key": shape}` is an object that has these keys (`"key?"`: it may have it) and perhaps others, `{str: shape}` a map, `[shape]` a list,
`(a, b)` either of them, `None` null, a `Given` a JSON Schema as it stands. Anything else is a type.
"""

from __future__ import annotations

import types
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
from msgspec import Struct

from moln.kernel.http.bodies import Body

COMPONENTS = "#/components/schemas/{name}"
ANYTHING: dict[str, Any] = {}


class Given(Struct, frozen=True, eq=False):
    """A JSON Schema."""

    schema: dict[str, Any]


class Described(Struct, frozen=True):
    """What an area says of its operations where their handlers' signatures do not. Keys are "METHOD path" below the service's prefix, with
    "#action" behind it for an action.

    answers: the answer's shape; a dict with whole numbers as keys has one for each status code. bodies: the shape of a body that the
    handler takes as a `dict` or as bytes; a dict with media types as keys has one for each. queries: the parameters of a query taken as
    Params. headers: what is read besides the token and the microversion. error: the shape of the service's failures. error_type: their
    media type.
    """

    answers: dict[str, Any] = {}
    bodies: dict[str, Any] = {}
    queries: dict[str, Iterable[str]] = {}
    headers: dict[str, Iterable[str]] = {}
    error: Any = dict
    error_type: str = "application/json"


def types_in(shape: Any) -> Iterator[Any]:
    """Every type that a shape names."""
    if isinstance(shape, dict):
        for inner in shape.values():
            yield from types_in(inner)
    elif isinstance(shape, (list, tuple)):
        for inner in shape:
            yield from types_in(inner)
    elif shape is not None and not isinstance(shape, Given):
        yield shape


class Schemas:
    """JSON Schemas of many types at once, so that each Struct is a component with a name of its own."""

    def __init__(self, shapes: Iterable[Any]):
        found = list(dict.fromkeys(kind for shape in shapes for kind in types_in(shape)))
        made, self.components = msgspec.json.schema_components(found, ref_template=COMPONENTS)
        self._by_type = dict(zip(found, made, strict=True))

    def of(self, shape: Any) -> dict[str, Any]:
        """The JSON Schema of a shape."""
        if shape is None:
            return {"type": "null"}
        if isinstance(shape, Given):
            return shape.schema
        if isinstance(shape, dict):
            return self._object(shape)
        if isinstance(shape, list):
            return {"type": "array", "items": self.of(shape[0])}
        if isinstance(shape, tuple):
            return any_of([self.of(inner) for inner in shape])
        schema: dict[str, Any] = self._by_type[shape]
        root = shape._root if isinstance(shape, type) and not isinstance(shape, types.GenericAlias) and issubclass(shape, Body) else None
        if root is None:
            return schema
        return {"type": "object", "properties": {root: schema}, "required": [root], "additionalProperties": False}

    def _object(self, shape: dict[Any, Any]) -> dict[str, Any]:
        if str in shape:
            return {"type": "object", "additionalProperties": self.of(shape[str])}
        properties = {key.removesuffix("?"): self.of(inner) for key, inner in shape.items()}
        required = [key for key in shape if not key.endswith("?")]
        return {"type": "object", "properties": properties, **({"required": required} if required else {})}


def any_of(schemas: list[dict[str, Any]]) -> dict[str, Any]:
    """Any of these; one that anything fits swallows the rest."""
    distinct: list[dict[str, Any]] = []
    for schema in schemas:
        if schema == ANYTHING:
            return ANYTHING
        if schema not in distinct:
            distinct.append(schema)
    return distinct[0] if len(distinct) == 1 else {"anyOf": distinct}
