"""What hangs below a server: metadata, tags, addresses, security groups."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta

from moln.compute.api.routes import routes
from moln.compute.api.server_bodies import METADATA_KEY, Tag, metadata
from moln.compute.model.servers import MOST_TAGS, VmState
from moln.compute.ops import interfaces, server_metadata, servers
from moln.kernel.context import RequestContext
from moln.kernel.errors import Invalid, NotFound
from moln.kernel.http import Body, Reply

Text255 = Annotated[str, Meta(max_length=255)]
META, TAGS = "/v2.1/servers/{server_id}/metadata", "/v2.1/servers/{server_id}/tags"


class Metadata(Body):
    metadata: dict[str, Text255]


class MetadataItem(Body):
    meta: dict[str, Text255]


@routes.get(META)
async def list_metadata(ctx: RequestContext, server_id: str) -> dict[str, Any]:
    return {"metadata": await server_metadata.index(ctx, server_id)}


@routes.post(META)
async def add_metadata(ctx: RequestContext, server_id: str, body: Metadata) -> dict[str, Any]:
    return {"metadata": await server_metadata.update(ctx, server_id, metadata(body.metadata), rule="create")}


@routes.put(META)
async def replace_metadata(ctx: RequestContext, server_id: str, body: Metadata) -> dict[str, Any]:
    return {"metadata": await server_metadata.update(ctx, server_id, metadata(body.metadata), rule="update_all", replace=True)}


@routes.get(META + "/{key}")
async def show_metadata_item(ctx: RequestContext, server_id: str, key: str) -> dict[str, Any]:
    return {"meta": {key: await server_metadata.show(ctx, server_id, key)}}


@routes.put(META + "/{key}")
async def set_metadata_item(ctx: RequestContext, server_id: str, key: str, body: MetadataItem) -> dict[str, Any]:
    if len(body.meta) != 1:
        raise Invalid("Request body contains too many items" if body.meta else "Request body contains no item", field="meta")
    if key not in body.meta:
        raise Invalid("Request body and URI mismatch", field="meta")
    if not METADATA_KEY.match(key):
        raise Invalid(f"Invalid metadata key {key[:64]!r}", field="meta")
    await server_metadata.update(ctx, server_id, body.meta, rule="update")
    return {"meta": body.meta}


@routes.delete(META + "/{key}")
async def delete_metadata_item(ctx: RequestContext, server_id: str, key: str) -> None:
    await server_metadata.delete(ctx, server_id, key)


class TagsBody(Body):
    tags: list[Tag]


def _tag(text: str) -> str:
    if not 1 <= len(text) <= 60 or "," in text or "/" in text:
        raise Invalid(f"Invalid tag {text[:64]!r}: 1 to 60 characters, no comma or slash.")
    return text


@routes.get(TAGS, since="2.26")
async def list_tags(ctx: RequestContext, server_id: str) -> dict[str, Any]:
    return {"tags": await server_metadata.tags(ctx, server_id)}


@routes.put(TAGS, since="2.26")
async def replace_tags(ctx: RequestContext, server_id: str, body: TagsBody) -> dict[str, Any]:
    if len(body.tags) > MOST_TAGS:
        raise Invalid(f"The number of tags exceeded the per-server limit {MOST_TAGS}", field="tags")
    return {"tags": await server_metadata.set_tags(ctx, server_id, body.tags)}


@routes.delete(TAGS, since="2.26")
async def delete_tags(ctx: RequestContext, server_id: str) -> None:
    await server_metadata.clear_tags(ctx, server_id)


@routes.get(TAGS + "/{tag}", status=204, since="2.26")
async def show_tag(ctx: RequestContext, server_id: str, tag: str) -> None:
    if tag not in await server_metadata.tags(ctx, server_id, "show"):
        raise NotFound(f"Server {server_id} has no tag '{tag[:60]}'")


@routes.put(TAGS + "/{tag}", status=204, since="2.26")
async def add_tag(ctx: RequestContext, server_id: str, tag: str) -> Reply:
    new = await server_metadata.add_tag(ctx, server_id, _tag(tag))
    href = f"{ctx.settings.public_url}/compute/v2.1/servers/{server_id}/tags/{tag}"
    return Reply(None, status=201, headers={"Location": href}) if new else Reply(None)


@routes.delete(TAGS + "/{tag}", since="2.26")
async def delete_tag(ctx: RequestContext, server_id: str, tag: str) -> None:
    await server_metadata.remove_tag(ctx, server_id, tag)


async def _addresses(ctx: RequestContext, server_id: str, rule: str) -> dict[str, list[dict[str, Any]]]:
    server = await servers.get_for(ctx.db, ctx, server_id, f"os_compute_api:ips:{rule}")
    if server.vm_state is VmState.BUILDING:
        return {}
    return {label: [{"version": a.version, "addr": a.addr} for a in found] for label, found in server.addresses.items()}


@routes.get("/v2.1/servers/{server_id}/ips")
async def list_addresses(ctx: RequestContext, server_id: str) -> dict[str, Any]:
    return {"addresses": await _addresses(ctx, server_id, "index")}


@routes.get("/v2.1/servers/{server_id}/ips/{label}")
async def show_addresses(ctx: RequestContext, server_id: str, label: str) -> dict[str, Any]:
    found = await _addresses(ctx, server_id, "show")
    if label not in found:
        raise NotFound("Instance is not a member of specified network")
    return {label: found[label]}


@routes.get("/v2.1/servers/{server_id}/os-security-groups")
async def list_groups(ctx: RequestContext, server_id: str) -> dict[str, Any]:
    return {"security_groups": await interfaces.groups(ctx, server_id)}
