"""How Glance says an image and a member."""

from __future__ import annotations

from typing import Any

from moln.image.model.images import Image, Member
from moln.image.model.tasks import Task
from moln.kernel.clock import iso


def image_view(image: Image) -> dict[str, Any]:
    """A flat object: the custom properties stand beside Glance's own."""
    here = f"/v2/images/{image.id}"
    more = image.properties | _imported(image) if image.importing_to is not None else image.properties
    if image.stores:
        more = more | {"stores": ",".join(sorted(image.stores))}
    return more | {
        "name": image.name,
        "disk_format": image.disk_format,
        "container_format": image.container_format,
        "visibility": image.visibility,
        "size": image.size,
        "virtual_size": image.virtual_size,
        "status": image.status.value,
        "checksum": image.checksum,
        "protected": image.protected,
        "min_ram": image.min_ram,
        "min_disk": image.min_disk,
        "owner": image.project_id,
        "os_hidden": image.os_hidden,
        "os_hash_algo": image.os_hash_algo,
        "os_hash_value": image.os_hash_value,
        "id": image.id,
        "created_at": iso(image.created_at),
        "updated_at": iso(image.updated_at),
        "tags": image.tags,
        "self": here,
        "file": f"{here}/file",
        "schema": "/v2/schemas/image",
    }


def _imported(image: Image) -> dict[str, str]:
    """What Glance tells of an import beside the properties; its task's name while it goes on."""
    told = {"os_glance_importing_to_stores": image.importing_to or "", "os_glance_failed_import": image.failed_import or ""}
    return told | ({"os_glance_import_task": image.task_id} if image.task_id else {})


def member_view(member: Member) -> dict[str, Any]:
    return {
        "member_id": member.member_id,
        "image_id": member.image_id,
        "status": member.status,
        "created_at": iso(member.created_at),
        "updated_at": iso(member.updated_at),
        "schema": "/v2/schemas/member",
    }


def task_stub(task: Task) -> dict[str, Any]:
    """A task as lists have it."""
    more = {"expires_at": iso(task.expires_at)} if task.expires_at is not None else {}
    return more | {
        "id": task.id,
        "type": task.type.value,
        "status": task.status.value,
        "owner": task.project_id,
        "created_at": iso(task.created_at),
        "updated_at": iso(task.updated_at),
        "self": f"/v2/tasks/{task.id}",
        "schema": "/v2/schemas/task",
    }


def task_view(task: Task) -> dict[str, Any]:
    known = {"image_id": task.image_id, "request_id": task.request_id, "user_id": task.user_id}
    more = {name: value for name, value in known.items() if value}
    return task_stub(task) | more | {"input": task.input, "result": task.result, "message": task.message}
