"""os-volume_attachments and os-interface: what is plugged into a server."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import UNSET, Struct, UnsetType

from moln.compute.api.routes import routes
from moln.compute.api.server_bodies import Tag, address, given, is_uuid, truth
from moln.compute.model.server_requests import NetworkRequest
from moln.compute.model.servers import Attached, Nic, Server
from moln.compute.ops import interfaces, volume_attachments
from moln.kernel.context import RequestContext
from moln.kernel.errors import Conflict, Invalid
from moln.kernel.http import Body, Params, Reply, View, bounded_limit, since, until

VOLUMES, CARDS = "/v2.1/servers/{server_id}/os-volume_attachments", "/v2.1/servers/{server_id}/os-interface"
Truth = bool | str | int


class AttachmentView(View):
    volumeId: str
    serverId: str
    device: str
    id: Annotated[str | UnsetType, until("2.88")] = UNSET
    tag: Annotated[str | None | UnsetType, since("2.70")] = UNSET
    delete_on_termination: Annotated[bool | UnsetType, since("2.79")] = UNSET
    attachment_id: Annotated[str | UnsetType, since("2.89")] = UNSET
    bdm_uuid: Annotated[str | UnsetType, since("2.89")] = UNSET

    @classmethod
    def of(cls, server: Server, v: Attached) -> AttachmentView:
        return cls(
            volumeId=v.volume_id, serverId=server.id, device=v.device, id=v.volume_id, tag=v.tag,
            delete_on_termination=v.delete_on_termination, attachment_id=v.attachment_id, bdm_uuid=v.bdm_id,
        )  # fmt: skip


class Attach(Body, root="volumeAttachment"):
    volumeId: str
    device: str | None | UnsetType = UNSET
    tag: Annotated[Tag | UnsetType, since("2.49")] = UNSET
    delete_on_termination: Annotated[Truth | UnsetType, since("2.79")] = UNSET


class AttachmentUpdate(Body, root="volumeAttachment"):
    volumeId: str
    id: str | UnsetType = UNSET
    serverId: str | UnsetType = UNSET
    device: str | None | UnsetType = UNSET
    tag: str | None | UnsetType = UNSET
    delete_on_termination: Truth | UnsetType = UNSET


@routes.get(VOLUMES)
async def list_volumes(ctx: RequestContext, server_id: str, query: Params) -> dict[str, Any]:
    server = await volume_attachments.index(ctx, server_id)
    limit = bounded_limit(query.get("limit", [None])[-1])
    offset = bounded_limit(query["offset"][-1]) if query.get("offset", ["0"])[-1] not in ("", "0") else 0
    found = server.volumes[offset : offset + limit]
    return {"volumeAttachments": [AttachmentView.of(server, v).at(ctx.version) for v in found]}


@routes.get(VOLUMES + "/{volume_id}")
async def show_volume(ctx: RequestContext, server_id: str, volume_id: str) -> dict[str, Any]:
    server, found = await volume_attachments.show(ctx, server_id, volume_id)
    return {"volumeAttachment": AttachmentView.of(server, found).at(ctx.version)}


@routes.post(VOLUMES)
async def attach_volume(ctx: RequestContext, server_id: str, body: Attach) -> Reply:
    if not is_uuid(body.volumeId):
        raise Invalid(f"Invalid input for field/attribute volumeId. Value: {body.volumeId[:64]}. It is not a 'uuid'.", field="volumeId")
    delete = truth(given(body.delete_on_termination, False), "delete_on_termination")
    server, made = await volume_attachments.attach(ctx, server_id, body.volumeId, tag=given(body.tag), delete_on_termination=delete,
                                                   shelved=ctx.at_least(2, 20))  # fmt: skip
    if ctx.at_least(2, 101):
        return Reply(None, status=202)
    view = AttachmentView.of(server, made).at(ctx.version)
    view.id, view.attachment_id, view.bdm_uuid = made.volume_id, UNSET, UNSET
    return Reply({"volumeAttachment": view})


@routes.put(VOLUMES + "/{volume_id}", status=202)
async def update_volume(ctx: RequestContext, server_id: str, volume_id: str, body: AttachmentUpdate) -> None:
    if not ctx.at_least(2, 85) or body.volumeId != volume_id:
        server = await volume_attachments.index(ctx, server_id)
        volume_attachments.attachment_of(server, volume_id)
        ctx.require("compute", "os_compute_api:os-volumes-attachments:swap", {})
        raise Conflict(f"volume {volume_id} is not migrating; this API should only be called by Cinder")
    fixed = {n: v for n in ("id", "serverId", "device", "tag") if (v := getattr(body, n)) is not UNSET}
    wish = None if body.delete_on_termination is UNSET else truth(body.delete_on_termination, "delete_on_termination")
    await volume_attachments.update(ctx, server_id, volume_id, delete_on_termination=wish, unchangeable=fixed)


@routes.delete(VOLUMES + "/{volume_id}", status=202)
async def detach_volume(ctx: RequestContext, server_id: str, volume_id: str) -> None:
    await volume_attachments.detach(ctx, server_id, volume_id, shelved=ctx.at_least(2, 20))


class FixedIp(Struct, frozen=True):
    subnet_id: str
    ip_address: str


class CardView(View):
    net_id: str
    port_id: str
    mac_addr: str
    port_state: str
    fixed_ips: list[FixedIp]
    tag: Annotated[str | None | UnsetType, since("2.70")] = UNSET

    @classmethod
    def of(cls, nic: Nic) -> CardView:
        ips = [FixedIp(a.subnet_id, a.ip) for a in nic.addresses]
        return cls(
            net_id=nic.network_id, port_id=nic.port_id, mac_addr=nic.mac, port_state="ACTIVE" if nic.active else "DOWN", fixed_ips=ips,
            tag=nic.tag,
        )  # fmt: skip


class AskedIp(Body):
    ip_address: str


class CardCreate(Body, root="interfaceAttachment"):
    net_id: str | UnsetType = UNSET
    port_id: str | UnsetType = UNSET
    fixed_ips: list[AskedIp] | UnsetType = UNSET
    tag: Annotated[Tag | UnsetType, since("2.49")] = UNSET


@routes.get(CARDS)
async def list_cards(ctx: RequestContext, server_id: str) -> dict[str, Any]:
    return {"interfaceAttachments": [CardView.of(n).at(ctx.version) for n in await interfaces.index(ctx, server_id)]}


@routes.get(CARDS + "/{port_id}")
async def show_card(ctx: RequestContext, server_id: str, port_id: str) -> dict[str, Any]:
    return {"interfaceAttachment": CardView.of(await interfaces.show(ctx, server_id, port_id)).at(ctx.version)}


@routes.post(CARDS)
async def attach_card(ctx: RequestContext, server_id: str, body: bytes) -> dict[str, Any]:
    asked = CardCreate.parse(body, ctx.version) if body.strip() not in (b"", b"{}") else CardCreate()
    network_id, port_id, ips = given(asked.net_id), given(asked.port_id), given(asked.fixed_ips) or []
    if network_id and port_id:
        raise Invalid("Must not input both network_id and port_id")
    for what, value in (("net_id", network_id), ("port_id", port_id)):
        if value and not is_uuid(value):
            raise Invalid(f"Invalid input for field/attribute {what}. Value: {value[:64]}. It is not a 'uuid'.", field=what)
    if len(ips) > 1:
        raise Invalid("Invalid input for field/attribute fixed_ips. It holds one address at most.", field="fixed_ips")
    if ips and not network_id:
        raise Invalid("Must input network_id when request IP address", field="net_id")
    ip = address(ips[0].ip_address, "ip_address") if ips else None
    made = await interfaces.attach(ctx, server_id, NetworkRequest(network_id, port_id, ip, given(asked.tag)))
    return {"interfaceAttachment": CardView.of(made).at(ctx.version)}


@routes.delete(CARDS + "/{port_id}", status=202)
async def detach_card(ctx: RequestContext, server_id: str, port_id: str) -> None:
    await interfaces.detach(ctx, server_id, port_id)
