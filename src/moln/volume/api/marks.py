"""POST /v3/volumes/{id}/action: os-reserve, os-attach, os-detach and what belongs to them."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from moln.kernel.context import RequestContext
from moln.kernel.errors import Invalid
from moln.kernel.http import Routes
from moln.volume.api.bodies import parse, text, uuid_or_none
from moln.volume.api.faults import SERVICE
from moln.volume.ops import marks as ops

routes = Routes(SERVICE)
ACTION = "/v3/volumes/{volume_id}/action"


@routes.post(ACTION, action="os-reserve", status=202)
async def reserve_volume(ctx: RequestContext, volume_id: str) -> None:
    await ops.reserve(ctx, volume_id)


@routes.post(ACTION, action="os-unreserve", status=202)
async def unreserve_volume(ctx: RequestContext, volume_id: str) -> None:
    await ops.unreserve(ctx, volume_id)


class Attach(Struct, kw_only=True):
    mountpoint: str | None = None
    instance_uuid: str | None = None
    host_name: str | None = None
    mode: str | None = None


@routes.post(ACTION, action="os-attach", status=202)
async def attach_volume(ctx: RequestContext, volume_id: str, body: dict) -> None:  # type: ignore[type-arg]
    asked = parse(ctx, body, "os-attach", Attach, always=True)
    if asked.instance_uuid is None and asked.host_name is None:
        raise Invalid("Invalid request to attach volume to an invalid target: instance_uuid or host_name is needed.", field="instance_uuid")
    mode = asked.mode or "rw"
    if mode not in ("rw", "ro"):
        raise Invalid(f"Invalid request to attach volume with an invalid mode. Attaching mode should be 'rw' or 'ro', not {mode[:40]!r}.", field="mode")
    await ops.attach(
        ctx, volume_id, server_id=uuid_or_none(asked.instance_uuid, "instance_uuid"), host=text(asked.host_name, "host_name"),
        device=text(asked.mountpoint, "mountpoint"), mode=mode,
    )  # fmt: skip


class Detach(Struct):
    attachment_id: str | None = None


@routes.post(ACTION, action="os-detach", status=202)
async def detach_volume(ctx: RequestContext, volume_id: str, body: dict) -> None:  # type: ignore[type-arg]
    asked = parse(ctx, body, "os-detach", Detach, always=True) if body["os-detach"] else Detach()
    await ops.detach(ctx, volume_id, uuid_or_none(asked.attachment_id, "attachment_id"))


@routes.post(ACTION, action="os-begin_detaching", status=202)
async def begin_detaching_volume(ctx: RequestContext, volume_id: str) -> None:
    await ops.begin_detaching(ctx, volume_id)


@routes.post(ACTION, action="os-roll_detaching", status=202)
async def roll_detaching_volume(ctx: RequestContext, volume_id: str) -> None:
    await ops.roll_detaching(ctx, volume_id)


class ForceDetach(Struct):
    attachment_id: str | None = None
    connector: Any = None


@routes.post(ACTION, action="os-force_detach", status=202)
async def force_detach_volume(ctx: RequestContext, volume_id: str, body: dict) -> None:  # type: ignore[type-arg]
    asked = parse(ctx, body, "os-force_detach", ForceDetach, always=True)
    await ops.force_detach(ctx, volume_id, uuid_or_none(asked.attachment_id, "attachment_id"))
