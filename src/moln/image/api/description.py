"""What the image API takes and answers, from the schemas that it publishes and checks by."""

from __future__ import annotations

from typing import Any

from moln.image.api import metadef_description as metadefs
from moln.image.api import schemas
from moln.image.api.bodies import NUMBERS, OTHER_COLUMNS, PATCH_TYPES, PLAIN_FILTERS
from moln.image.api.schemas import IMAGE_PROPERTIES, MEMBER, Schema
from moln.kernel.http.schemas import Described, Given

PAGE = Given({"type": "string"})
VERSIONS = {"versions": [{"id": str, "status": str, "links": [{"rel": str, "href": str}]}]}
BINARY = Given({"type": "string", "format": "binary"})
PUBLISHED = {"name": str, "properties": dict}


def _plain(schema: Schema) -> Schema:
    return {name: value for name, value in schema.items() if name in ("type", "maxLength", "enum", "items", "pattern")}


def _given() -> Given:
    properties = {name: _plain(schema) for name, schema in IMAGE_PROPERTIES.items() if not schema.get("readOnly")}
    return Given({"type": "object", "properties": properties, "additionalProperties": {"type": "string"}})


def _image() -> Given:
    shown = {name: {"type": schema["type"]} for name, schema in IMAGE_PROPERTIES.items()}
    required = sorted(IMAGE_PROPERTIES.keys() - {"direct_url", "stores"})
    return Given({"type": "object", "properties": shown, "required": required, "additionalProperties": {"type": "string"}})


CHANGE = Given({
    "type": "array",
    "items": {
        "type": "object", "required": ["op", "path"],
        "properties": {"op": {"enum": ["add", "remove", "replace"]}, "path": {"type": "string", "pattern": "^/[^/]"}, "value": {}},
    },
})  # fmt: skip
OLD_CHANGE = Given({
    "type": "array", "items": {"type": "object", "properties": {op: {"type": "string"} for op in ("add", "remove", "replace")} | {"value": {}}},
})  # fmt: skip


STORE = {"id": str, "default?": str}
TASK = {
    "id": str, "type": str, "status": str, "owner": (str, None), "created_at": str, "updated_at": str, "self": str, "schema": str,
    "expires_at?": str, "input": dict, "result": (dict, None), "message": str, "image_id?": str, "request_id?": str, "user_id?": str,
}  # fmt: skip
TASK_STUB = {name: shape for name, shape in TASK.items() if name.removesuffix("?") in schemas.TASK_STUB["properties"]}
IMPORT = {
    "method": {"name": str, "uri?": str}, "stores?": [str], "all_stores?": bool, "all_stores_must_succeed?": bool,
}  # fmt: skip
LOCATION = {"url": str, "validation_data?": {"os_hash_algo?": str, "os_hash_value?": str}}
CACHED = {
    "image_id": str, "hits": int, "size": int, "last_accessed": float, "last_modified": float, "checksum": (str, None),
}  # fmt: skip


def described() -> Described:
    image, member = _image(), dict.fromkeys(MEMBER["properties"], str)
    answers: dict[str, Any] = {
        "GET /": VERSIONS, "GET /versions": VERSIONS, "GET /v2": VERSIONS,
        "GET /v2/schemas/image": PUBLISHED, "GET /v2/schemas/images": PUBLISHED, "GET /v2/schemas/member": PUBLISHED,
        "GET /v2/schemas/members": PUBLISHED,
        "GET /v2/schemas/task": PUBLISHED, "GET /v2/schemas/tasks": PUBLISHED,
        "GET /v2/info/stores": {"stores": [STORE]},
        "GET /v2/info/stores/detail": {"stores": [STORE | {"type": str, "weight": int, "properties": dict}]},
        "GET /v2/images/{image_id}/tasks": {"tasks": [TASK]},
        "GET /v2/images/{image_id}/locations": [{"url": str, "metadata": {"store": str}}],
        "POST /v2/tasks": TASK, "GET /v2/tasks/{task_id}": TASK,
        "GET /v2/tasks": {"tasks": [TASK_STUB], "first": str, "next?": str, "schema": str},
        "GET /v2/cache": {"cached_images": [CACHED], "queued_images": [str]},
        "GET /v2/cache/nodes/{image_id}": [str],
        "POST /v2/cache/prune": {"total_files_pruned": int, "total_bytes_pruned": int},
        "GET /v2/info/import": {"import-methods": {"type": str, "value": [str]}},
        "GET /v2/info/usage": {"usage": {str: {"limit": int, "usage": int}}},
        "POST /v2/images": image,
        "GET /v2/images": {"images": [image], "first": str, "next?": str, "schema": str},
        "GET /v2/images/{image_id}": image,
        "PATCH /v2/images/{image_id}": image,
        "POST /v2/images/{image_id}/members": member,
        "GET /v2/images/{image_id}/members": {"members": [member], "schema": str},
        "GET /v2/images/{image_id}/members/{member_id}": member,
        "PUT /v2/images/{image_id}/members/{member_id}": member,
        "GET /v2/images/{image_id}/file": {
            200: {"application/octet-stream": BINARY}, 204: None, 206: {"application/octet-stream": BINARY}, 416: {"text/html": PAGE},
        },
    }  # fmt: skip
    bodies = {
        "POST /v2/images": _given(),
        "PATCH /v2/images/{image_id}": {kind: OLD_CHANGE if old else CHANGE for kind, old in PATCH_TYPES.items()},
        "POST /v2/images/{image_id}/members": {"member": str},
        "PUT /v2/images/{image_id}/members/{member_id}": {"status": Given({"enum": ["pending", "accepted", "rejected"]})},
        "PUT /v2/images/{image_id}/file": {"application/octet-stream": BINARY},
        "PUT /v2/images/{image_id}/stage": {"application/octet-stream": BINARY},
        "POST /v2/images/{image_id}/import": IMPORT,
        "POST /v2/images/{image_id}/locations": LOCATION,
        "POST /v2/tasks": {"type": str, "input": {"import_from": str, "import_from_format": str, "image_properties": dict}},
    }
    ranges = {f"{name}_{end}" for name in NUMBERS for end in ("min", "max")}
    others = {"created_at", "limit", "marker", "member_status", "os_hidden", "protected", "sort", "sort_dir", "sort_key", "tag", "updated_at", "visibility"}
    queries = {
        "GET /v2/images": PLAIN_FILTERS | OTHER_COLUMNS | ranges | others,
        "GET /v2/tasks": {"limit", "marker", "sort_key", "sort_dir", "status", "type"},
    }
    headers = {
        "GET /v2/images/{image_id}/file": ["Range"], "PUT /v2/images/{image_id}/file": ["X-Image-Meta-Store"],
        "POST /v2/images/{image_id}/import": ["X-Image-Meta-Store"], "DELETE /v2/cache": ["x-image-cache-clear-target"],
    }  # fmt: skip
    return Described(
        answers | metadefs.ANSWERS, bodies | metadefs.BODIES, queries | metadefs.QUERIES, headers | metadefs.HEADERS, PAGE, "text/html"
    )
