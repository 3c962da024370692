"""Metadata definitions: namespaces that say which properties a resource may have, and what they mean (metadefs api-ref)."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

NAME = Annotated[str, Meta(min_length=1, max_length=80)]
Kind = Literal["array", "boolean", "integer", "number", "object", "string"]
Whole = Annotated[int, Meta(ge=0)]


class What(StrEnum):
    """The kinds of definitions that a namespace holds."""

    OBJECT = "object"
    PROPERTY = "property"
    TAG = "tag"
    RESOURCE_TYPE = "resource_type"


class Items(Struct, frozen=True):
    """What an array holds."""

    type: Kind | UnsetType = UNSET
    enum: list[Any] | UnsetType = UNSET


class Property(Struct, frozen=True, rename={"min_length": "minLength", "max_length": "maxLength", "unique_items": "uniqueItems",
                                            "min_items": "minItems", "max_items": "maxItems", "additional_items": "additionalItems"}):  # fmt: skip
    """A property's definition: a JSON Schema, in the words that Glance knows."""

    type: Kind
    title: str
    name: NAME | UnsetType = UNSET
    description: str | UnsetType = UNSET
    operators: list[str] | UnsetType = UNSET
    required: list[str] | UnsetType = UNSET
    readonly: bool | UnsetType = UNSET
    confidential: bool | UnsetType = UNSET
    default: Any | UnsetType = UNSET
    enum: list[Any] | UnsetType = UNSET
    pattern: str | UnsetType = UNSET
    minimum: int | float | UnsetType = UNSET
    maximum: int | float | UnsetType = UNSET
    min_length: Whole | UnsetType = UNSET
    max_length: Whole | UnsetType = UNSET
    items: Items | UnsetType = UNSET
    unique_items: bool | UnsetType = UNSET
    min_items: Whole | UnsetType = UNSET
    max_items: Whole | UnsetType = UNSET
    additional_items: bool | UnsetType = UNSET


Properties = dict[NAME, Property]


class Object(Struct, frozen=True):
    """A group of properties that belong together."""

    name: NAME
    description: str | UnsetType = UNSET
    required: list[str] | UnsetType = UNSET
    properties: Properties | UnsetType = UNSET


class Tag(Struct, frozen=True):
    """A word that may be put on a resource."""

    name: NAME


class Association(Struct, frozen=True):
    """A resource type that the namespace's properties may be put on. prefix: what their names begin with there."""

    name: NAME
    prefix: Annotated[str, Meta(max_length=80)] | UnsetType = UNSET
    properties_target: Annotated[str, Meta(max_length=80)] | UnsetType = UNSET


class Namespace(Struct, frozen=True):
    """A namespace as it is kept. project_id: `owner` on the wire. Times: µs UTC."""

    namespace: str
    display_name: str | None
    description: str | None
    visibility: str
    protected: bool
    project_id: str | None
    created_at: int
    updated_at: int


class Definition(Struct, frozen=True):
    """One thing that a namespace holds, as it is kept. body: an Object, Property, Tag or Association in JSON."""

    namespace: str
    what: What
    name: str
    body: dict[str, Any]
    created_at: int
    updated_at: int


class ResourceType(Struct, frozen=True):
    """A resource type that some namespace was ever associated with."""

    name: str
    created_at: int
    updated_at: int
