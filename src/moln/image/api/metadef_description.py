"""What the API of metadata definitions takes and answers."""

from __future__ import annotations

from typing import Any

from moln.image.api.metadef_bodies import AssociationBody, NamespaceBody, ObjectBody, PropertyBody, TagBody, TagsBody
from moln.image.api.metadef_schemas import LISTS, ONES
from moln.image.api.metadefs import ONE, ROOT

TIMES = {"created_at": str, "updated_at": str}
TAGS = {"tags": [{"name": str}]}
OBJECT = {"name": str, "description?": str, "required?": [str], "properties?": {str: dict}, "self": str, "schema": str, **TIMES}
PROPERTY = {"name": str, "title": str, "type": str}
TAG = {"name": str, **TIMES}
ASSOCIATION = {"name": str, "prefix?": str, "properties_target?": str, **TIMES}
NAMESPACE = {
    "namespace": str, "display_name?": str, "description?": str, "visibility": str, "protected": bool, "owner?": str, "self": str, "schema": str,
    "objects?": [OBJECT], "properties?": {str: dict}, "tags?": [{"name": str}], "resource_type_associations?": [ASSOCIATION], **TIMES,
}  # fmt: skip

ANSWERS: dict[str, Any] = {f"GET /v2/schemas/metadefs/{name}": {"name": str, "properties": dict} for name in ONES | LISTS} | {
    f"GET {ROOT}": {"namespaces": [NAMESPACE], "first": str, "next?": str, "schema": str},
    f"POST {ROOT}": NAMESPACE, f"GET {ONE}": NAMESPACE, f"PUT {ONE}": NAMESPACE,
    f"GET {ONE}/objects": {"objects": [OBJECT], "schema": str},
    f"POST {ONE}/objects": OBJECT, f"GET {ONE}/objects/{{object_name}}": OBJECT, f"PUT {ONE}/objects/{{object_name}}": OBJECT,
    f"GET {ONE}/properties": {"properties": {str: dict}},
    f"POST {ONE}/properties": PROPERTY, f"GET {ONE}/properties/{{property_name}}": PROPERTY, f"PUT {ONE}/properties/{{property_name}}": PROPERTY,
    f"GET {ONE}/tags": TAGS, f"POST {ONE}/tags": TAGS,
    f"POST {ONE}/tags/{{tag_name}}": TAG, f"GET {ONE}/tags/{{tag_name}}": TAG, f"PUT {ONE}/tags/{{tag_name}}": TAG,
    f"GET {ONE}/resource_types": {"resource_type_associations": [ASSOCIATION]}, f"POST {ONE}/resource_types": ASSOCIATION,
    "GET /v2/metadefs/resource_types": {"resource_types": [{"name": str, **TIMES}]},
}  # fmt: skip
BODIES: dict[str, Any] = {
    f"POST {ROOT}": NamespaceBody, f"PUT {ONE}": NamespaceBody,
    f"POST {ONE}/objects": ObjectBody, f"PUT {ONE}/objects/{{object_name}}": ObjectBody,
    f"POST {ONE}/properties": PropertyBody, f"PUT {ONE}/properties/{{property_name}}": PropertyBody,
    f"POST {ONE}/tags": TagsBody, f"PUT {ONE}/tags/{{tag_name}}": TagBody, f"POST {ONE}/resource_types": AssociationBody,
}  # fmt: skip
PAGED = {"limit", "marker", "sort_key", "sort_dir"}
QUERIES = {
    f"GET {ROOT}": PAGED | {"visibility", "resource_types"}, f"GET {ONE}": {"resource_type"},
    f"GET {ONE}/properties/{{property_name}}": {"resource_type"}, f"GET {ONE}/objects": PAGED, f"GET {ONE}/tags": PAGED,
}  # fmt: skip
HEADERS = {f"POST {ONE}/tags": ["X-Openstack-Append"]}
