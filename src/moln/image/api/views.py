"""How Glance says an image and a member."""

from __future__ import annotations

from typing import Any

from moln.image.model.images import Image, Member
from moln.kernel.clock import iso


def image_view(image: Image) -> dict[str, Any]:
    """A flat object: the custom properties stand beside Glance's own."""
    here = f"/v2/images/{image.id}"
    return image.properties | {
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


def member_view(member: Member) -> dict[str, Any]:
    return {
        "member_id": member.member_id,
        "image_id": member.image_id,
        "status": member.status,
        "created_at": iso(member.created_at),
        "updated_at": iso(member.updated_at),
        "schema": "/v2/schemas/member",
    }
