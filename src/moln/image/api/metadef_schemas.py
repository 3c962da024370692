"""The JSON schemas of metadata definitions (/v2/schemas/metadefs)."""

from __future__ import annotations

from typing import Any

from moln.image.api.faults import SERVICE
from moln.image.api.schemas import Schema, collection, text
from moln.kernel.http import Routes

routes = Routes(SERVICE)
KINDS = ["array", "boolean", "integer", "number", "object", "string"]
WORDS: Schema = {"type": "array", "items": {"type": "string"}, "uniqueItems": True}
WHOLE: Schema = {"type": "integer", "minimum": 0}
TIMES: dict[str, Schema] = {
    "created_at": text("When it was made", fixed=True, format="date-time"),
    "updated_at": text("When it last changed", fixed=True, format="date-time"),
}
LINKS: dict[str, Schema] = {"schema": text("", fixed=True), "self": text("", fixed=True)}
PROPERTY_FIELDS: dict[str, Schema] = {
    "name": text("The property's name", 80),
    "title": text("The name for people"),
    "description": text("What it means"),
    "operators": {"type": "array", "items": {"type": "string"}},
    "type": text("Of its values", enum=KINDS),
    "required": WORDS,
    "minimum": {"type": "number"},
    "maximum": {"type": "number"},
    "maxLength": WHOLE,
    "minLength": WHOLE | {"default": 0},
    "pattern": text("Values match it", format="regex"),
    "enum": {"type": "array"},
    "readonly": {"type": "boolean"},
    "confidential": {"type": "boolean"},
    "default": {},
    "items": {"type": "object", "properties": {"type": text("Of the elements", enum=KINDS), "enum": {"type": "array"}}},
    "maxItems": WHOLE,
    "minItems": WHOLE | {"default": 0},
    "uniqueItems": {"type": "boolean", "default": False},
    "additionalItems": {"type": "boolean"},
}
PROPERTIES: Schema = {
    "type": "object",
    "additionalProperties": {"type": "object", "required": ["title", "type"], "properties": PROPERTY_FIELDS},
}
DEFINITIONS: dict[str, Schema] = {"positiveInteger": WHOLE, "stringArray": WORDS, "property": PROPERTIES}
OF_PROPERTIES: Schema = {"$ref": "#/definitions/property"}


def schema(name: str, properties: dict[str, Schema], required: list[str]) -> Schema:
    return {"name": name, "properties": properties, "required": required, "additionalProperties": False, "definitions": DEFINITIONS}


TAG = schema("tag", {"name": text("The tag", 80), **TIMES}, ["name"])
PROPERTY = schema("property", PROPERTY_FIELDS, ["type", "title", "name"])
OBJECT = schema(
    "object",
    {"name": text("The object's name", 80), "description": text("What it is"), "required": WORDS, "properties": OF_PROPERTIES, **LINKS, **TIMES},
    ["name"],
)
ASSOCIATION = schema(
    "resource_type_association",
    {
        "name": text("The resource type, as Heat calls it", 80),
        "prefix": text("What the namespace's properties begin with on it, its separator included", 80),
        "properties_target": text("Which of the resource's sets of properties is meant, where it has several", 80),
        **TIMES,
    },
    ["name"],
)
NAMESPACE = schema(
    "namespace",
    {
        "namespace": text("The unique name", 80),
        "display_name": text("The name for people", 80),
        "description": text("What it is for", 500),
        "visibility": text("Who may read it", enum=["public", "private"]),
        "protected": {"type": "boolean", "description": "Whether it cannot be deleted."},
        "owner": text("The project it belongs to", 255),
        "resource_type_associations": {"type": "array", "items": {"type": "object", "properties": ASSOCIATION["properties"]}},
        "properties": OF_PROPERTIES,
        "objects": {"type": "array", "items": {"type": "object", "properties": OBJECT["properties"]}},
        "tags": {"type": "array", "items": {"type": "object", "properties": {"name": text("The tag")}}},
        **LINKS,
        **TIMES,
    },
    ["namespace"],
)
LISTS: dict[str, Schema] = {
    "namespaces": collection("namespaces", NAMESPACE),
    "objects": collection("objects", OBJECT),
    "properties": collection("properties", PROPERTY) | {"properties": {"properties": PROPERTIES}},
    "tags": collection("tags", TAG),
    "resource_types": collection("resource_type_associations", ASSOCIATION),
}
ONES: dict[str, Schema] = {"namespace": NAMESPACE, "object": OBJECT, "property": PROPERTY, "tag": TAG, "resource_type": ASSOCIATION}


def publish(name: str, published: Schema) -> None:
    """A route that answers one schema."""

    async def show_schema() -> dict[str, Any]:
        return published

    show_schema.__name__ = f"{name}_schema"
    routes.get(f"/v2/schemas/metadefs/{name}")(show_schema)


for one, published in (ONES | LISTS).items():
    publish(one, published)
