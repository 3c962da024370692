"""What gives a server another image or flavor, or makes images of it in turn: rebuild, resize and its ends, createBackup."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, UnsetType, field

from moln.compute.api import server_bodies, server_views
from moln.compute.api.routes import routes
from moln.compute.api.server_bodies import FileItem, ServerUpdate, Text255, Truth, given, is_uuid, name, number, truth
from moln.compute.api.servers import LATER_IN_PUT
from moln.compute.ops import create, create_backup, resize, servers
from moln.compute.ops import rebuild as ops
from moln.kernel.context import RequestContext
from moln.kernel.errors import Invalid
from moln.kernel.http import Body, Reply, since, until

PATH = "/v2.1/servers/{server_id}/action"


def action(key: str, status: int = 202) -> Any:
    return routes.post(PATH, status=status, action=key)


class Rebuild(Body, root="rebuild"):
    imageRef: str
    name: str | UnsetType = UNSET
    adminPass: str | UnsetType = UNSET
    metadata: dict[str, Text255] | UnsetType = UNSET
    preserve_ephemeral: Truth | UnsetType = UNSET
    disk_config: Literal["AUTO", "MANUAL"] | UnsetType = field(name="OS-DCF:diskConfig", default=UNSET)
    accessIPv4: str | UnsetType = UNSET
    accessIPv6: str | UnsetType = UNSET
    personality: Annotated[list[FileItem] | UnsetType, until("2.56")] = UNSET
    description: Annotated[Text255 | None | UnsetType, since("2.19")] = UNSET
    key_name: Annotated[Annotated[str, Meta(min_length=1, max_length=255)] | None | UnsetType, since("2.54")] = UNSET
    user_data: Annotated[str | None | UnsetType, since("2.57")] = UNSET
    trusted_image_certificates: Annotated[list[str] | None | UnsetType, since("2.63")] = UNSET
    hostname: Annotated[Text255 | UnsetType, since("2.90")] = UNSET


@action("rebuild")
async def rebuild(ctx: RequestContext, server_id: str, body: Rebuild) -> Reply:
    if not is_uuid(body.imageRef):
        raise Invalid(f"Invalid input for field/attribute imageRef. Value: {body.imageRef[:64]}. It is not a 'uuid'.", field="imageRef")
    if given(body.trusted_image_certificates):
        raise Invalid("Image signatures are not checked here; trusted_image_certificates cannot be given.", field="trusted_image_certificates")
    request = ops.RebuildRequest(
        image_id=body.imageRef.lower(), columns=_columns(ctx, body),
        metadata=server_bodies.metadata(body.metadata) if body.metadata is not UNSET else None,
        key_name=given(body.key_name, ops.UNCHANGED),
        user_data=server_bodies.user_data(body.user_data) if body.user_data is not UNSET else ops.UNCHANGED,
        preserve_ephemeral=truth(given(body.preserve_ephemeral, False), "preserve_ephemeral"),
        files=server_bodies.files(given(body.personality) or []), reimage_volume=ctx.at_least(2, 93),
    )  # fmt: skip
    await ops.rebuild(ctx, server_id, request)
    view = await _rebuilt(ctx, server_id, given(body.adminPass) or create.password(ctx))
    return Reply({"server": view}, headers={"Location": server_views.links(f"{ctx.settings.public_url}/compute", server_id)[0].href})


def _columns(ctx: RequestContext, body: Rebuild) -> dict[str, Any]:
    """What of it is a column of the server's row, as in PUT. Raises: Invalid."""
    update = ServerUpdate(
        name=body.name, accessIPv4=body.accessIPv4, accessIPv6=body.accessIPv6, disk_config=body.disk_config, description=body.description,
        hostname=body.hostname,
    )  # fmt: skip
    return server_bodies.changes(ctx, update)


class RebuiltView(server_views.ServerView, kw_only=True):
    """The server, and what only this answer tells."""

    adminPass: str
    plain_user_data: str | None | UnsetType = field(name="user_data", default=UNSET)


async def _rebuilt(ctx: RequestContext, server_id: str, password: str) -> RebuiltView:
    """Before 2.75 without most of what was once an extension; the key's name came with 2.54, user data, under a name of its own, with 2.57."""
    view = await server_views.show_one(ctx, await servers.show(ctx, server_id))
    view.user_data = UNSET
    if not ctx.at_least(2, 75):
        for attribute in LATER_IN_PUT:
            if attribute != "key_name" or not ctx.at_least(2, 54):
                setattr(view, attribute, UNSET)
        view.addresses = server_views.bare_addresses(view.addresses)
    fields = {f: getattr(view, f) for f in view.__struct_fields__}
    text = await servers.user_data(ctx, server_id) if ctx.at_least(2, 57) else UNSET
    return RebuiltView(**fields, adminPass=password, plain_user_data=text)


class Resize(Body, root="resize"):
    flavorRef: str | int
    disk_config: Literal["AUTO", "MANUAL"] | UnsetType = field(name="OS-DCF:diskConfig", default=UNSET)


@action("resize")
async def resize_server(ctx: RequestContext, server_id: str, body: Resize) -> None:
    flavor = str(body.flavorRef).rstrip("/").rpartition("/")[2]
    if not flavor:
        raise Invalid("Invalid input for field/attribute flavorRef. It is too short.", field="flavorRef")
    await resize.resize(ctx, server_id, flavor, given(body.disk_config))


@action("confirmResize", 204)
async def confirm_resize(ctx: RequestContext, server_id: str) -> None:
    await resize.confirm(ctx, server_id)


@action("revertResize")
async def revert_resize(ctx: RequestContext, server_id: str) -> None:
    await resize.revert(ctx, server_id)


class Backup(Body, root="createBackup"):
    name: str
    backup_type: Text255
    rotation: int | str
    metadata: dict[str, Text255] = {}


@action("createBackup")
async def back_up(ctx: RequestContext, server_id: str, body: Backup) -> Reply:
    rotation = number(body.rotation, "rotation", least=0)
    metadata = server_bodies.metadata(body.metadata)
    image_id = await create_backup.create(ctx, server_id, name(body.name), body.backup_type, rotation, metadata)
    if ctx.at_least(2, 45):
        return Reply({"image_id": image_id})
    headers = {"Location": f"{ctx.settings.public_url}/image/v2/images/{image_id}"} if rotation else {}
    return Reply(None, headers=headers)
