"""From the bodies and queries of metadata definitions to what ops take, and back to how Glance says them."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from moln.image.model.metadefs import NAME, Association, Definition, Namespace, Object, Properties, Property, Tag, What
from moln.image.ops.metadefs import Held, Item, NamespaceSpec
from moln.kernel.clock import iso
from moln.kernel.errors import Forbidden, Invalid
from moln.kernel.http import Params
from moln.kernel.http.bodies import explain

S = TypeVar("S", bound=Struct)
READ_ONLY = ("self", "schema", "created_at", "updated_at")
SORT_KEYS = {"created_at", "updated_at", "namespace", "name"}


class NamespaceBody(Struct, frozen=True, forbid_unknown_fields=True):
    namespace: NAME
    display_name: Annotated[str, Meta(max_length=80)] | None = None
    description: Annotated[str, Meta(max_length=500)] | None = None
    visibility: Literal["public", "private"] = "private"
    protected: bool = False
    owner: Annotated[str, Meta(max_length=255)] | None = None
    resource_type_associations: list[Association] | UnsetType = UNSET
    objects: list[Object] | UnsetType = UNSET
    properties: Properties | UnsetType = UNSET
    tags: list[Tag] | UnsetType = UNSET


class ObjectBody(Object, frozen=True, forbid_unknown_fields=True):
    pass


class PropertyBody(Property, frozen=True, forbid_unknown_fields=True):
    pass


class TagBody(Tag, frozen=True, forbid_unknown_fields=True):
    pass


class AssociationBody(Association, frozen=True, forbid_unknown_fields=True):
    pass


class TagsBody(Struct, frozen=True, forbid_unknown_fields=True):
    tags: list[TagBody]


def to(shape: type[S], body: dict[str, Any]) -> S:
    """Raises: Forbidden, for what only the service says; Invalid, the field named."""
    for name in READ_ONLY:
        if name in body:
            raise Forbidden(f"Attribute '{name}' is read-only.")
    try:
        return msgspec.convert(body, shape)
    except msgspec.ValidationError as error:
        raise explain(error) from None


def to_spec(body: dict[str, Any]) -> NamespaceSpec:
    asked = to(NamespaceBody, body)
    items: list[tuple[What, str, Item]] = []
    items += [(What.RESOURCE_TYPE, a.name, a) for a in asked.resource_type_associations or ()]
    items += [(What.OBJECT, o.name, o) for o in asked.objects or ()]
    items += [(What.TAG, t.name, t) for t in asked.tags or ()]
    items += [(What.PROPERTY, name, p) for name, p in (asked.properties or {}).items()]
    return NamespaceSpec(
        asked.namespace, asked.display_name, asked.description, asked.visibility, asked.protected, asked.owner, items
    )


def to_property(body: dict[str, Any]) -> tuple[str, Property]:
    """A property by itself must say its name."""
    found = to(PropertyBody, body)
    if found.name is UNSET:
        raise Invalid("'name' is a required property", field="name")
    return found.name, found


def to_sort(last: dict[str, str], keys: set[str]) -> list[tuple[str, str]]:
    """Raises: Invalid."""
    key, direction = last.get("sort_key", "created_at"), last.get("sort_dir", "desc")
    if key not in keys:
        raise Invalid(f"Invalid sort key: {key[:64]}", field="sort_key")
    if direction not in ("asc", "desc"):
        raise Invalid(f"Invalid sort direction: {direction[:64]}", field="sort_dir")
    return [(key, direction)]


def to_namespace_filters(last: dict[str, str]) -> list[tuple[str, str, Any]]:
    """Raises: Invalid."""
    where: list[tuple[str, str, Any]] = []
    if last.get("visibility"):
        if last["visibility"] not in ("public", "private"):
            raise Invalid(f"Invalid visibility value: {last['visibility'][:64]}", field="visibility")
        where.append(("visibility", "eq", last["visibility"]))
    if last.get("resource_types"):
        where.append(("associated", "in", last["resource_types"].split(",")))
    return where


def page_of(found: list[Definition], query: Params) -> list[Definition]:
    """The page that was asked for; a namespace holds few. Raises: Invalid."""
    last = {name: values[-1] for name, values in query.items()}
    [(key, direction)] = to_sort(last, {"created_at", "updated_at", "name"})
    found = sorted(found, key=lambda d: getattr(d, key), reverse=direction == "desc")
    if marker := last.get("marker"):
        at = next((at for at, item in enumerate(found) if item.name == marker), None)
        if at is None:
            raise Invalid(f"marker [{marker[:80]}] not found", field="marker")
        found = found[at + 1 :]
    limit = last.get("limit")
    if limit is None:
        return found
    if not limit.isascii() or not limit.isdigit():
        raise Invalid("limit param must be an integer", field="limit")
    return found[: int(limit[:9])]


def times(item: Namespace | Definition) -> dict[str, str]:
    return {"created_at": iso(item.created_at), "updated_at": iso(item.updated_at)}


def namespace_view(held: Held, prefix_for: str | None = None) -> dict[str, Any]:
    """prefix_for: a resource type; property names begin as they do there."""
    it = held.namespace
    said: dict[str, Any] = {
        "namespace": it.namespace, "display_name": it.display_name, "description": it.description, "visibility": it.visibility,
        "protected": it.protected, "owner": it.project_id, "self": f"/v2/metadefs/namespaces/{it.namespace}",
        "schema": "/v2/schemas/metadefs/namespace", **times(it),
    }  # fmt: skip
    said = {name: value for name, value in said.items() if value is not None}
    types = held.items.get(What.RESOURCE_TYPE, [])
    prefix = next((t.body.get("prefix", "") for t in types if t.name == prefix_for), "")
    if types:
        said["resource_type_associations"] = [association_view(t) for t in types]
    if objects := held.items.get(What.OBJECT):
        said["objects"] = [object_view(o, prefix) for o in objects]
    if properties := held.items.get(What.PROPERTY):
        said["properties"] = properties_view(properties, prefix)
    if tags := held.items.get(What.TAG):
        said["tags"] = [{"name": tag.name} for tag in tags]
    return said


def object_view(item: Definition, prefix: str = "") -> dict[str, Any]:
    here = f"/v2/metadefs/namespaces/{item.namespace}/objects/{item.name}"
    body = dict(item.body)
    if prefix:
        body["properties"] = {prefix + name: value for name, value in body.get("properties", {}).items()}
        body["required"] = [prefix + name for name in body.get("required", ())]
    return body | times(item) | {"self": here, "schema": "/v2/schemas/metadefs/object"}


def properties_view(items: list[Definition], prefix: str = "") -> dict[str, Any]:
    return {prefix + item.name: {name: value for name, value in item.body.items() if name != "name"} for item in items}


def property_view(item: Definition) -> dict[str, Any]:
    return item.body | {"name": item.name}


def tag_view(item: Definition) -> dict[str, Any]:
    return {"name": item.name} | times(item)


def association_view(item: Definition) -> dict[str, Any]:
    return item.body | times(item)
