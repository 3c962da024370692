"""The JSON schemas that Glance publishes (/v2/schemas), and the check of a body against them."""

from __future__ import annotations

import re
from typing import Any

from moln.image.model.images import CONTAINER_FORMATS, DISK_FORMATS, MEMBER_STATUSES, VISIBILITIES
from moln.image.model.tasks import TaskStatus, TaskType
from moln.kernel.errors import Invalid

UUID = "^([0-9a-fA-F]){8}-([0-9a-fA-F]){4}-([0-9a-fA-F]){4}-([0-9a-fA-F]){4}-([0-9a-fA-F]){12}$"
MAX_INT = (1 << 31) - 1

Schema = dict[str, Any]


def text(description: str, most: int | None = None, *, null: bool = False, fixed: bool = False, **more: Any) -> Schema:
    found: Schema = {"type": ["null", "string"] if null else "string", "description": description}
    if most:
        found["maxLength"] = most
    if fixed:
        found["readOnly"] = True
    return found | more


def number(description: str, *, null: bool = False, fixed: bool = False) -> Schema:
    found: Schema = {"type": ["null", "integer"] if null else "integer", "description": description}
    return found | {"readOnly": True} if fixed else found


IMAGE_PROPERTIES: dict[str, Schema] = {
    "id": text("An identifier for the image", pattern=UUID),
    "name": text("Descriptive name for the image", 255, null=True),
    "status": text("Status of the image", fixed=True, enum=[
        "queued", "saving", "active", "killed", "deleted", "uploading", "importing", "pending_delete", "deactivated"]),
    "visibility": text("Scope of image accessibility", enum=sorted(VISIBILITIES)),
    "protected": {"type": "boolean", "description": "If true, image will not be deletable."},
    "os_hidden": {"type": "boolean", "description": "If true, image will not appear in default image list response."},
    "checksum": text("md5 hash of image contents.", 32, null=True, fixed=True),
    "os_hash_algo": text("Algorithm to calculate the os_hash_value", 64, null=True, fixed=True),
    "os_hash_value": text("Hexdigest of the image contents using the algorithm specified by the os_hash_algo", 128,
                          null=True, fixed=True),
    "owner": text("Owner of the image", 255, null=True),
    "size": number("Size of image file in bytes", null=True, fixed=True),
    "virtual_size": number("Virtual size of image in bytes", null=True, fixed=True),
    "container_format": text("Format of the container", null=True, enum=[None, *CONTAINER_FORMATS]),
    "disk_format": text("Format of the disk", null=True, enum=[None, *DISK_FORMATS]),
    "created_at": text("Date and time of image registration", fixed=True),
    "updated_at": text("Date and time of the last image modification", fixed=True),
    "tags": {"type": "array", "description": "List of strings related to the image",
             "items": {"type": "string", "maxLength": 255}},
    "direct_url": text("URL to access the image file kept in external store", fixed=True),
    "min_ram": number("Amount of ram (in MB) required to boot image."),
    "min_disk": number("Amount of disk space (in GB) required to boot image."),
    "self": text("An image self url", fixed=True),
    "file": text("An image file url", fixed=True),
    "schema": text("An image schema url", fixed=True),
    "stores": text("The stores in which the data lies", fixed=True),
}  # fmt: skip

IMAGE: Schema = {
    "name": "image",
    "properties": IMAGE_PROPERTIES,
    "additionalProperties": {"type": "string"},
    "links": [
        {"rel": "self", "href": "{self}"},
        {"rel": "enclosure", "href": "{file}"},
        {"rel": "describedby", "href": "{schema}"},
    ],
}

MEMBER: Schema = {
    "name": "member",
    "properties": {
        "created_at": text("Date and time of image member creation"),
        "image_id": text("An identifier for the image", pattern=UUID),
        "member_id": text("An identifier for the image member (tenantId)"),
        "schema": text("", fixed=True),
        "status": text("The status of this image member", enum=list(MEMBER_STATUSES)),
        "updated_at": text("Date and time of last modification of image member"),
    },
}

TASK_STUB: Schema = {
    "name": "task",
    "properties": {
        "id": text("An identifier for the task", pattern=UUID),
        "type": text("The type of task represented by this content", enum=[str(kind) for kind in TaskType]),
        "status": text("The current status of this task", enum=[str(status) for status in TaskStatus]),
        "owner": text("The project that the task belongs to"),
        "expires_at": text("When the task is forgotten", null=True),
        "created_at": text("When the task was made"),
        "updated_at": text("When the task last changed"),
        "self": text("", fixed=True),
        "schema": text("", fixed=True),
    },
}
TASK: Schema = {
    "name": "task",
    "properties": TASK_STUB["properties"] | {
        "input": {"type": ["null", "object"], "description": "What the task was asked for"},
        "result": {"type": ["null", "object"], "description": "What came of the task"},
        "message": text("A word for people, above all on failure"),
        "image_id": text("The image that the task works on"),
        "request_id": text("The request that made the task"),
        "user_id": text("The user who made the task"),
    },
}  # fmt: skip


def collection(name: str, item: Schema) -> Schema:
    """The schema of a page of them."""
    found: Schema = {
        "name": name,
        "properties": {
            name: {"type": "array", "items": item},
            "schema": {"type": "string"},
        },
    }
    if name in ("images", "tasks"):
        found["properties"] |= {"first": {"type": "string"}, "next": {"type": "string"}}
        found["links"] = [
            {"rel": "first", "href": "{first}"},
            {"rel": "next", "href": "{next}"},
            {"rel": "describedby", "href": "{schema}"},
        ]
    return found


def refuse(value: Any, why: str, name: str) -> Invalid:
    shown = repr(value)[:200]
    return Invalid(f"Provided object does not match schema 'image': {shown} {why}. Field: {name[:255]}", field=name[:255])


def check(name: str, value: Any) -> None:
    """Whether a property may have this value. Raises: Invalid."""
    schema: Schema | None = IMAGE_PROPERTIES.get(name)
    if schema is None:
        if not isinstance(value, str):
            raise refuse(value, "is not of type 'string'", name)
        if len(value) > 65535:
            raise refuse(value, "is too long", name)
        return
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    if value is None and "null" in kinds:
        return
    python: Any = {"string": str, "integer": int, "boolean": bool, "array": list}[kinds[-1]]
    if not isinstance(value, python) or (python is int and isinstance(value, bool)):
        raise refuse(value, f"is not of type {', '.join(map(repr, kinds))}", name)
    if python is int and not 0 <= value <= MAX_INT:
        raise Invalid(f"Invalid value '{value}' for parameter '{name}': it must be from 0 to {MAX_INT}.", field=name)
    if python is list:
        for item in value:
            if not isinstance(item, str) or len(item) > 255:
                raise refuse(item, "is not a string of at most 255 characters", name)
    if "maxLength" in schema and len(value) > schema["maxLength"]:
        raise refuse(value, "is too long", name)
    if "enum" in schema and value not in schema["enum"]:
        raise refuse(value, f"is not one of {schema['enum']}", name)
    if "pattern" in schema and not re.match(schema["pattern"], value):
        raise refuse(value, f"does not match '{schema['pattern']}'", name)
