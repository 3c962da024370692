"""What is done while the controller dies: each a beginning and a request."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from msgspec import Struct

from moln.compute.drivers.fake import FakeCompute
from moln.compute.model.flavors import Flavor
from moln.compute.model.server_groups import GroupPolicy
from moln.compute.model.server_requests import BlockDevice, NetworkRequest, ServerRequest
from moln.compute.model.servers import Server
from moln.compute.ops import (
    create,
    create_backup,
    create_image,
    flavors,
    interfaces,
    power,
    rebuild,
    resize,
    server_groups,
    servers,
    volume_attachments,
)
from moln.compute.store import servers as store
from moln.image.ops import data, images
from moln.image.ops.images import ImageSpec
from moln.kernel.cloud import Cloud
from moln.kernel.context import Identity, RequestContext
from moln.kernel.work import Workers
from moln.network.ops import networks, subnets
from moln.volume.ops import volumes
from moln.volume.ops.volumes import VolumeSpec

PROJECT = "0123456789abcdef0123456789abcdef"
WHO = Identity(user_id="alice", project_id=PROJECT, project_name="demo", roles=frozenset({"member", "reader", "admin"}))


class Controller(Protocol):
    """What dies."""

    cloud: Cloud
    workers: Workers
    nodes: dict[str, FakeCompute]


class Scene(Struct, frozen=True):
    """prepare: before anything dies. act: the request; the work that follows is done by whoever calls. nodes: how many there are."""

    name: str
    prepare: Callable[[Controller], Awaitable[None]]
    act: Callable[[Controller], Awaitable[None]]
    nodes: int = 1


def ctx_of(app: Controller) -> RequestContext:
    cloud = app.cloud
    return RequestContext(cloud, "req-" + cloud.ids.uuid(), WHO, (2, 100), cloud.clock.monotonic() + 60)


async def world(app: Controller) -> None:
    """An image, a network, a flavor, a server group."""
    ctx = ctx_of(app)
    image = await images.create(ctx, ImageSpec(name="image", disk_format="raw", container_format="bare"))

    async def zeros():  # type: ignore[no-untyped-def]
        yield b"\0" * 4096

    await data.upload(ctx, image.id, zeros())
    network = await ctx.db.write(networks.create_in, ctx, project_id=PROJECT, name="net")
    await ctx.db.write(
        subnets.create_in, ctx, project_id=PROJECT, network_id=network.id, cidr="10.1.0.0/24", ip_version=4, enable_dhcp=True,
        ipv6_ra_mode=None, ipv6_address_mode=None,
    )  # fmt: skip
    await flavors.create(ctx, Flavor("small", "small", 1, 128, 1, 1, created_at=ctx.now_us))
    await server_groups.create(ctx, "group", GroupPolicy.ANTI_AFFINITY, None)


async def only_image(app: Controller) -> str:
    found = await images.index(ctx_of(app), images.Wanted(), sort=(), marker=None, limit=1)
    return found[0].id


async def request(app: Controller) -> ServerRequest:
    network = (await networks.visible(app.cloud.db, ctx_of(app)))[0]
    (group, _), *_ = await server_groups.index(ctx_of(app), all_projects=False, limit=1, offset=0)
    blank = BlockDevice(source="blank", destination="volume", size_gib=1, delete_on_termination=True)
    kept = BlockDevice(source="blank", destination="volume", size_gib=1)
    return ServerRequest(
        name="vm", flavor_ref="small", image_ref=await only_image(app), networks=(NetworkRequest(network.id),) * 2,
        block_devices=(blank, kept), config_drive=True, user_data="aGVsbG8=", metadata={"a": "b"}, tags=("t",), scheduler_hints={"group": group.id},
    )  # fmt: skip


async def boot(app: Controller) -> None:
    await create.create(ctx_of(app), await request(app))


async def running(app: Controller) -> None:
    """A server that runs, and a volume beside it."""
    await world(app)
    await boot(app)
    await app.workers.settle()
    await volumes.create(ctx_of(app), VolumeSpec(1, name="spare", host="sim-1"))


async def the_server(app: Controller) -> Server:
    return (await app.cloud.db.all(store.ALL))[0]


async def attach(app: Controller) -> None:
    ctx, server = ctx_of(app), await the_server(app)
    found = await volumes.index(ctx, [("name", "eq", "spare")], sort=(), marker=None, limit=1)
    await volume_attachments.attach(ctx, server.id, found[0].id)


async def attached(app: Controller) -> None:
    await running(app)
    await app.workers.settle()
    await attach(app)


async def detach(app: Controller) -> None:
    server = await the_server(app)
    await volume_attachments.detach(ctx_of(app), server.id, server.volumes[-1].volume_id)


async def plug(app: Controller) -> None:
    server = await the_server(app)
    await interfaces.attach(ctx_of(app), server.id, NetworkRequest(server.nics[0].network_id))


async def unplug(app: Controller) -> None:
    server = await the_server(app)
    await interfaces.detach(ctx_of(app), server.id, server.nics[-1].port_id)


async def reboot(app: Controller) -> None:
    await power.ask(ctx_of(app), (await the_server(app)).id, power.HARD_REBOOT)


async def delete(app: Controller) -> None:
    await servers.delete(ctx_of(app), (await the_server(app)).id)


async def grown(app: Controller) -> None:
    """A server whose resize waits to be confirmed or reverted."""
    await growable(app)
    await app.workers.settle()
    await grow(app)
    await app.workers.settle()
    assert (await the_server(app)).status == "VERIFY_RESIZE"


async def growable(app: Controller) -> None:
    await running(app)
    ctx = ctx_of(app)
    await flavors.create(ctx, Flavor("big", "big", 2, 256, 2, 1, 256, created_at=ctx.now_us))


async def grow(app: Controller) -> None:
    await resize.resize(ctx_of(app), (await the_server(app)).id, "big")


async def confirm(app: Controller) -> None:
    await resize.confirm(ctx_of(app), (await the_server(app)).id)


async def revert(app: Controller) -> None:
    await resize.revert(ctx_of(app), (await the_server(app)).id)


async def remake(app: Controller) -> None:
    asked = rebuild.RebuildRequest(image_id=await only_image(app), metadata={"c": "d"})
    await rebuild.rebuild(ctx_of(app), (await the_server(app)).id, asked)


async def backed(app: Controller) -> None:
    """A server that boots from a volume."""
    await world(app)
    root = BlockDevice(source="image", destination="volume", source_id=await only_image(app), size_gib=1, boot_index=0)
    await create.create(ctx_of(app), ServerRequest(name="vm", flavor_ref="small", networks="none", block_devices=(root,)))


async def reimage(app: Controller) -> None:
    asked = rebuild.RebuildRequest(image_id=await only_image(app), reimage_volume=True)
    await rebuild.rebuild(ctx_of(app), (await the_server(app)).id, asked)


async def keep(app: Controller) -> None:
    """An image of a server that boots from a volume: snapshots, and no data."""
    await create_image.create(ctx_of(app), (await the_server(app)).id, "kept", {})


async def back_up(app: Controller) -> None:
    await create_backup.create(ctx_of(app), (await the_server(app)).id, "backup", "daily", 1, {})


async def backed_up(app: Controller) -> None:
    await running(app)
    await app.workers.settle()
    await back_up(app)


SCENES = (
    Scene("resize", growable, grow), Scene("confirm", grown, confirm), Scene("revert", grown, revert),
    Scene("rebuild", running, remake), Scene("reimage", backed, reimage), Scene("image-of-volumes", backed, keep), Scene("backup", backed_up, back_up), Scene("delete-resized", grown, delete),
    Scene("boot", world, boot), Scene("attach", running, attach), Scene("detach", attached, detach), Scene("plug", running, plug),
    Scene("unplug", running, unplug), Scene("reboot", running, reboot), Scene("delete", running, delete),
)  # fmt: skip
BY_NAME = {s.name: s for s in SCENES}
