"""Scenes of images and volumes: what is done to them while the controller dies."""

from __future__ import annotations

from tests.faults.scenes import Scene, ctx_of, only_image, world

from moln.app import App
from moln.image.ops import data, images
from moln.image.ops.images import ImageSpec
from moln.volume.model.groups import Group
from moln.volume.model.volumes import Volume
from moln.volume.ops import actions, backups, group_snapshots, group_types, groups, snapshots, volumes
from moln.volume.ops.backups import BackupSpec
from moln.volume.ops.volumes import VolumeSpec


async def make(app: App) -> None:
    await volumes.create(ctx_of(app), VolumeSpec(1, name="made", image_id=await only_image(app), metadata={"a": "b"}))


async def made(app: App) -> None:
    """A volume."""
    await world(app)
    await make(app)


async def kept(app: App) -> None:
    """A volume with two snapshots."""
    await made(app)
    await app.workers.settle()
    for _ in range(2):
        await keep(app)


async def the_volume(app: App) -> Volume:
    return (await volumes.index(ctx_of(app), [("name", "eq", "made")], sort=(), marker=None, limit=1))[0]


async def keep(app: App) -> None:
    await snapshots.create(ctx_of(app), (await the_volume(app)).id, name="kept", metadata={"c": "d"})


async def copy(app: App) -> None:
    (found, *_) = await snapshots.index(ctx_of(app), [], sort=(), marker=None, limit=1)
    await volumes.create(ctx_of(app), VolumeSpec(None, name="copy", snapshot_id=found.id))


async def revert(app: App) -> None:
    found = await snapshots.index(ctx_of(app), [], sort=[("created_at", "desc")], marker=None, limit=1)
    await actions.revert(ctx_of(app), (await the_volume(app)).id, found[0].id)


async def grow(app: App) -> None:
    await actions.extend(ctx_of(app), (await the_volume(app)).id, 3, attached=False)


async def export(app: App) -> None:
    volume = await the_volume(app)
    await actions.upload_image(ctx_of(app), volume.id, name="copy", visibility="private", protected=False, force=False)


async def back_up(app: App) -> None:
    await backups.create(ctx_of(app), BackupSpec((await the_volume(app)).id, name="kept"))


async def backed_up(app: App) -> None:
    """A volume with a backup."""
    await made(app)
    await app.workers.settle()
    await back_up(app)


async def bring_back(app: App) -> None:
    (found, *_) = await backups.index(ctx_of(app), [], sort=(), marker=None, limit=1)
    await backups.restore(ctx_of(app), found.id, (await the_volume(app)).id, None)


async def bring_back_anew(app: App) -> None:
    (found, *_) = await backups.index(ctx_of(app), [], sort=(), marker=None, limit=1)
    await backups.restore(ctx_of(app), found.id, None, None)


async def drop_backup(app: App) -> None:
    (found, *_) = await backups.index(ctx_of(app), [], sort=(), marker=None, limit=1)
    await backups.delete(ctx_of(app), found.id)


async def grouped(app: App) -> None:
    """A group with two volumes, made."""
    await world(app)
    ctx = ctx_of(app)
    kind = await group_types.create(app.cloud.system_context(), name="plain", description=None, is_public=True, group_specs={})
    made = await groups.create(ctx, name="g", description=None, group_type=kind.id, volume_types=["__DEFAULT__"], zone=None)
    for _ in range(2):
        await volumes.create(ctx, VolumeSpec(1, name="made", volume_type="__DEFAULT__", group_id=made.id))
    await app.workers.settle()


async def the_group(app: App) -> Group:
    return (await groups.index(ctx_of(app), [("name", "eq", "g")], sort=(), marker=None, limit=1))[0]


async def keep_group(app: App) -> None:
    await group_snapshots.create(ctx_of(app), (await the_group(app)).id, name="kept", description=None)


async def copy_group(app: App) -> None:
    source = await the_group(app)
    await groups.create_from(ctx_of(app), name="copy", description=None, group_snapshot_id=None, source_group_id=source.id)


async def drop_group(app: App) -> None:
    await groups.delete(ctx_of(app), (await the_group(app)).id, volumes_too=True)


async def drop(app: App) -> None:
    await volumes.delete(ctx_of(app), (await the_volume(app)).id, cascade=True)


async def upload(app: App) -> None:
    ctx = ctx_of(app)
    image = await images.create(ctx, ImageSpec(name="second", disk_format="raw", container_format="bare", tags=["t"]))

    async def bytes_of() -> object:  # an upload of unannounced length
        for _ in range(3):
            yield b"\1" * 4096

    await data.upload(ctx, image.id, bytes_of())  # type: ignore[arg-type]


async def discard(app: App) -> None:
    await images.delete(ctx_of(app), await only_image(app))


SCENES = (
    Scene("volume-create", world, make), Scene("volume-snapshot", made, keep), Scene("volume-copy", kept, copy),
    Scene("volume-revert", kept, revert), Scene("volume-extend", made, grow), Scene("volume-to-image", made, export),
    Scene("volume-delete", kept, drop), Scene("backup-create", made, back_up),
    Scene("backup-restore", backed_up, bring_back), Scene("backup-to-new", backed_up, bring_back_anew),
    Scene("backup-delete", backed_up, drop_backup), Scene("group-snapshot", grouped, keep_group), Scene("group-copy", grouped, copy_group),
    Scene("group-delete", grouped, drop_group), Scene("image-upload", world, upload), Scene("image-delete", world, discard),
)  # fmt: skip
BY_NAME = {s.name: s for s in SCENES}
