"""POST /servers/{id}/action: one key of the body names what is to be done."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, UnsetType

from moln.compute.api.routes import routes
from moln.compute.api.server_bodies import metadata, name, number
from moln.compute.model.servers import VmState
from moln.compute.ops import console_output, create_image, interfaces, power, servers
from moln.kernel.context import RequestContext
from moln.kernel.errors import Invalid
from moln.kernel.http import Body, Reply

PATH = "/v2.1/servers/{server_id}/action"


def action(key: str, status: int = 202) -> Any:
    return routes.post(PATH, status=status, action=key)


@action("os-start")
async def start(ctx: RequestContext, server_id: str) -> None:
    await power.ask(ctx, server_id, power.START)


@action("os-stop")
async def stop(ctx: RequestContext, server_id: str) -> None:
    await power.ask(ctx, server_id, power.STOP)


class Reboot(Body, root="reboot"):
    type: Literal["HARD", "Hard", "hard", "SOFT", "Soft", "soft"]


@action("reboot")
async def reboot(ctx: RequestContext, server_id: str, body: Reboot) -> None:
    await power.ask(ctx, server_id, power.HARD_REBOOT if body.type.lower() == "hard" else power.REBOOT)


@action("pause")
async def pause(ctx: RequestContext, server_id: str) -> None:
    await power.ask(ctx, server_id, power.PAUSE)


@action("unpause")
async def unpause(ctx: RequestContext, server_id: str) -> None:
    await power.ask(ctx, server_id, power.UNPAUSE)


@action("forceDelete")
async def force_delete(ctx: RequestContext, server_id: str) -> None:
    await servers.delete(ctx, server_id, force=True)


@action("restore")
async def restore(ctx: RequestContext, server_id: str) -> None:
    await servers.restore(ctx, server_id)


@action("lock")
async def lock(ctx: RequestContext, server_id: str, body: dict) -> None:  # type: ignore[type-arg]
    given = body.get("lock")
    reason = None
    if given is not None and ctx.at_least(2, 73):
        if not isinstance(given, dict) or set(given) - {"locked_reason"} or not given:
            raise Invalid("Invalid input for field/attribute lock. It is null, or an object with locked_reason.", field="lock")
        reason = given["locked_reason"]
        if not isinstance(reason, str) or not 1 <= len(reason) <= 255:
            raise Invalid("Invalid input for field/attribute locked_reason. It has 1 to 255 characters.", field="locked_reason")
    await servers.lock(ctx, server_id, reason)


@action("unlock")
async def unlock(ctx: RequestContext, server_id: str) -> None:
    await servers.unlock(ctx, server_id)


class State(Body, root="os-resetState"):
    state: Literal["active", "error"]


@action("os-resetState")
async def reset_state(ctx: RequestContext, server_id: str, body: State) -> None:
    await servers.reset_state(ctx, server_id, VmState(body.state))


class Console(Body, root="os-getConsoleOutput"):
    length: int | str | None | UnsetType = UNSET


@action("os-getConsoleOutput", 200)
async def console(ctx: RequestContext, server_id: str, body: Console) -> dict[str, str]:
    lines = None
    if body.length is not UNSET and body.length is not None and body.length != "":
        lines = number(body.length, "length", least=-1)
    return {"output": await console_output.show(ctx, server_id, None if lines == -1 else lines)}


class Group(Body, root="addSecurityGroup"):
    name: Annotated[str, Meta(min_length=1, max_length=255)]


class LessGroup(Body, root="removeSecurityGroup"):
    name: Annotated[str, Meta(min_length=1, max_length=255)]


@action("addSecurityGroup")
async def add_group(ctx: RequestContext, server_id: str, body: Group) -> None:
    await interfaces.set_group(ctx, server_id, body.name, present=True)


@action("removeSecurityGroup")
async def remove_group(ctx: RequestContext, server_id: str, body: LessGroup) -> None:
    await interfaces.set_group(ctx, server_id, body.name, present=False)


class ImageCreate(Body, root="createImage"):
    name: str
    metadata: dict[str, Annotated[str, Meta(max_length=255)]] = {}


@action("createImage")
async def make_image(ctx: RequestContext, server_id: str, body: ImageCreate) -> Reply:
    image_id = await create_image.create(ctx, server_id, name(body.name), metadata(body.metadata))
    if ctx.at_least(2, 45):
        return Reply({"image_id": image_id})
    return Reply(None, headers={"Location": f"{ctx.settings.public_url}/image/v2/images/{image_id}"})
