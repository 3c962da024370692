"""rescue and unrescue."""

from __future__ import annotations

from msgspec import UNSET, UnsetType

from moln.compute.api.server_actions import action
from moln.compute.api.server_bodies import given, is_uuid
from moln.compute.ops import create, power, rescue
from moln.kernel.context import RequestContext
from moln.kernel.errors import Invalid
from moln.kernel.http import Body


class RescueOptions(Body):
    adminPass: str | UnsetType = UNSET
    rescue_image_ref: str | UnsetType = UNSET


class Rescue(Body):
    rescue: RescueOptions | None


@action("rescue", 200)
async def rescue_server(ctx: RequestContext, server_id: str, body: Rescue) -> dict[str, str]:
    asked = body.rescue or RescueOptions()
    image_ref = given(asked.rescue_image_ref)
    if image_ref is not None and not is_uuid(image_ref):
        what = "Invalid input for field/attribute rescue_image_ref."
        raise Invalid(f"{what} Value: {image_ref[:64]}. It is not a 'uuid'.", field="rescue_image_ref")
    password = given(asked.adminPass) or create.password(ctx)
    await rescue.rescue(ctx, server_id, image_ref=image_ref, password=password, volume_backed=ctx.at_least(2, 87))
    return {"adminPass": password}


@action("unrescue")
async def unrescue(ctx: RequestContext, server_id: str) -> None:
    await power.ask(ctx, server_id, rescue.UNRESCUE)
