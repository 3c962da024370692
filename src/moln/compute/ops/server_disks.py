"""A server's disks: its own, and the volumes that are made or taken in the boot's transaction."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from msgspec import Struct, structs

from moln.compute.model.server_requests import BlockDevice, Malformed, ServerRequest, check_boot_order
from moln.compute.model.servers import Attached, DiskKind, LocalDisk, free_device
from moln.compute.ops import image_mappings
from moln.image.model.images import Image
from moln.image.ops import images
from moln.kernel.context import RequestContext
from moln.kernel.db import Reader, Transaction
from moln.kernel.errors import Forbidden, Invalid, NotFound
from moln.volume.ops import attachments, for_compute, volumes
from moln.volume.ops.access import get_snapshot
from moln.volume.ops.volumes import VolumeSpec

GIB = 1 << 30
_log = logging.getLogger("moln.compute")


class Sizes(Struct, frozen=True):
    """What of a flavor concerns disks. root, ephemeral: GiB; swap, ram: MiB."""

    root_gib: int
    ephemeral_gib: int
    swap_mib: int
    ram_mib: int


class DiskPlan(Struct, frozen=True):
    """image: what the server itself boots from, None for a volume. locals: (kind, GiB). volumes: in the order of their devices.

    image_properties: of the image at the bottom of the root disk, wherever it lies. hosts: where volumes and snapshots lie that are there, and that
    no other host reaches; near: where those lie that others reach, too.
    """

    image: Image | None
    locals: tuple[tuple[DiskKind, int], ...]
    volumes: tuple[BlockDevice, ...]
    image_properties: dict[str, str]
    hosts: frozenset[str] = frozenset()
    near: frozenset[str] = frozenset()

    @property
    def local_gib(self) -> int:
        return sum(size for _, size in self.locals)


async def plan(ctx: RequestContext, request: ServerRequest, sizes: Sizes) -> DiskPlan:
    """Check what is asked for. Raises: Invalid, Forbidden, in Nova's words."""
    if request.image_ref and any(d.boot_index == 0 and d.destination == "volume" for d in request.block_devices):
        await _image(ctx, request.image_ref, "Can not find requested image")
        request = structs.replace(request, image_ref=None)  # the mapping says what is booted, as in Nova
    devices = list(request.block_devices)
    image = None
    named_image = await _find_image(ctx, request.image_ref, "Can not find requested image") if request.image_ref else None
    mapped = named_image if named_image is not None and image_mappings.maps(named_image) else None
    if mapped is not None:
        devices = image_mappings.merged(image_mappings.devices(mapped), devices)
        check_boot_order(devices)
    elif named_image is not None:
        image = named_image
        images.check_bootable(image)
        named = [d for d in devices if d.source == "image" and d.destination == "local" and d.boot_index == 0]
        devices = [d for d in devices if d not in named]
        check_boot_order([BlockDevice(source="image", destination="local", boot_index=0), *devices])
        check_image(image, sizes)
    elif not devices:
        raise Invalid("Missing imageRef attribute" if request.image_ref is None else "Invalid imageRef provided.", field="imageRef")
    else:
        check_boot_order(devices)
    if image is not None and sizes.root_gib == 0:
        if not ctx.allows("compute", "os_compute_api:servers:create:zero_disk_flavor"):
            raise Forbidden("Only volume-backed servers are allowed for flavors with zero disk.")
    root = next((d for d in devices if d.boot_index == 0), None)
    properties: dict[str, str] = dict(image.properties) if image else {}
    holders: set[str] = set()
    for device in devices:
        source = await _check_source(ctx, device)
        if device is root:
            properties = source.properties
        if source.host is not None:
            holders.add(source.host)
    if mapped is not None:
        properties |= {k: v for k, v in mapped.properties.items() if k.startswith(("hw_", "os_", "img_", "trait:"))}
    remote = [d for d in devices if d.destination == "volume"]
    if request.max_count > 1 and any(d.source == "volume" for d in remote):
        raise Invalid("Cannot attach one or more volumes to multiple instances")
    remote.sort(key=lambda d: d is not root)
    locals_ = [(DiskKind.ROOT, sizes.root_gib or gib(image.virtual_size or image.size or 0))] if image else []
    return DiskPlan(image, (*locals_, *_ephemerals(devices, sizes)), tuple(remote), properties, *_places(ctx, holders))


def _places(ctx: RequestContext, holders: set[str]) -> tuple[frozenset[str], frozenset[str]]:
    """(hosts that the server must be on, hosts that it had better be on), for what lies on these."""
    bound = {host for holder in holders if (host := for_compute.bound_to(ctx.cloud, holder)) is not None}
    return frozenset(bound), frozenset(host for holder in holders - bound if (host := for_compute.near(ctx.cloud, holder)) is not None)


class _Source(Struct, frozen=True):
    """What a device begins as. properties: of the image at its bottom; host: the node it lies on."""

    properties: dict[str, str] = {}
    host: str | None = None


def _ephemerals(devices: Sequence[BlockDevice], sizes: Sizes) -> list[tuple[DiskKind, int]]:
    """Blank local disks: those asked for, else the flavor's one; and its swap."""
    blank = [d for d in devices if d.destination == "local" and d.source == "blank"]
    swaps = [d for d in blank if d.swap]
    asked = [d.size_gib or sizes.ephemeral_gib for d in blank if not d.swap]
    if sum(asked) > sizes.ephemeral_gib:
        raise Invalid("Block Device Mapping is Invalid: The ephemeral disks are larger than the flavor allows.")
    if len(swaps) > 1:
        raise Malformed("More than one swap drive requested.")
    out = [(DiskKind.EPHEMERAL, size) for size in (asked or ([sizes.ephemeral_gib] if sizes.ephemeral_gib else []))]
    if sizes.swap_mib:
        out.append((DiskKind.SWAP, max(1, -(-sizes.swap_mib // 1024))))
    return out


def gib(size: int) -> int:
    """Bytes in whole GiB, rounded up."""
    return max(1, -(-size // GIB))


async def image_of_volume(db: Reader, volume_id: str) -> str | None:
    """The image that a volume began as."""
    found = await for_compute.find_volume(db, volume_id)
    return found.image_metadata.get("image_id") if found is not None else None


async def _image(ctx: RequestContext, image_id: str, otherwise: str) -> Image:
    image = await _find_image(ctx, image_id, otherwise)
    images.check_bootable(image)
    return image


async def _find_image(ctx: RequestContext, image_id: str, otherwise: str) -> Image:
    """Raises: Invalid."""
    try:
        return await images.find_for(ctx.db, ctx, image_id)
    except (NotFound, Forbidden):
        raise Invalid(otherwise, field="imageRef") from None


def check_image(image: Image, sizes: Sizes) -> None:
    """Raises: Invalid, when the flavor is too small for the image."""
    if image.min_ram > sizes.ram_mib:
        raise Invalid("Flavor's memory is too small for requested image.", field="flavorRef")
    if not sizes.root_gib:
        return
    size = image.virtual_size or image.size or 0
    if size > sizes.root_gib * GIB:
        raise Invalid(
            f"Flavor's disk is too small for requested image. Flavor disk is {sizes.root_gib * GIB} bytes, image is {size} bytes.",
            field="flavorRef",
        )
    if image.min_disk > sizes.root_gib:
        raise Invalid(
            "The created instance's disk would be too small for its requested size: Flavor's disk is smaller than the minimum size "
            f"specified in image metadata. Flavor disk is {sizes.root_gib * GIB} bytes, minimum size is {image.min_disk * GIB} bytes.",
            field="flavorRef",
        )


def check_disk_config(image_id: str, properties: dict[str, str], disk_config: str | None) -> None:
    """Raises: Invalid, when the image forbids what is asked (nova.compute.api._check_auto_disk_config)."""
    if disk_config == "AUTO" and str(properties.get("auto_disk_config", "")).strip().lower() == "disabled":
        raise Invalid(f"Requested image {image_id} has automatic disk resize disabled.", field="OS-DCF:diskConfig")


async def _check_source(ctx: RequestContext, device: BlockDevice) -> _Source:
    """Raises: Invalid."""
    what = device.source_id or ""
    if device.destination == "local":
        if device.source != "blank":
            raise Malformed("Mapping image to local is not supported.")
        return _Source()
    match device.source:
        case "blank":
            if not device.size_gib:
                raise Invalid("Block Device Mapping is Invalid: Blank volumes (source: 'blank', dest: 'volume') need to have non-zero size")
        case "image":
            bad = f"Block Device Mapping is Invalid: failed to get image {what}."
            image = await _image(ctx, what, bad)
            if not device.size_gib:
                raise Invalid(
                    "Block Device Mapping is Invalid: Images with destination_type 'volume' need to have a non-zero size specified"
                )
            if image.min_disk > device.size_gib or (image.virtual_size or 0) > device.size_gib * GIB:
                raise Invalid(
                    f"Volume is smaller than the minimum size specified in image metadata. Volume size is {device.size_gib * GIB} bytes, "
                    f"minimum size is {max(image.min_disk * GIB, image.virtual_size or 0)} bytes."
                )
            return _Source(dict(image.properties))
        case "snapshot":
            try:
                snapshot = await get_snapshot(ctx.db, ctx, what)
            except (NotFound, Forbidden):
                raise Invalid(f"Block Device Mapping is Invalid: failed to get snapshot {what}.") from None
            if device.size_gib and device.size_gib < snapshot.size_gib:
                raise Invalid(f"Block Device Mapping is Invalid: the snapshot has {snapshot.size_gib} GiB.")
            return _Source(host=snapshot.host)
        case "volume":
            try:
                found = await volumes.get(ctx.db, ctx, what)
            except (NotFound, Forbidden):
                raise Invalid(f"Block Device Mapping is Invalid: failed to get volume {what}.") from None
            if device.boot_index == 0 and not found.bootable:
                raise Invalid(f"Block Device Mapping is Invalid: Volume {what} is not bootable.")
            return _Source(dict(found.image_metadata), found.host)
    return _Source()


async def allocate_in(tx: Transaction, ctx: RequestContext, plan: DiskPlan, *, server_id: str, host: str,
                      project_id: str) -> tuple[tuple[LocalDisk, ...], tuple[Attached, ...]]:  # fmt: skip
    """Name the disks, make or reserve the volumes. Raises: Invalid, Conflict, OverQuota."""
    disks: list[LocalDisk] = []
    attached: list[Attached] = []

    def device() -> str:
        return free_device(tuple(attached), tuple(disks))

    def add_local(kind: DiskKind, size: int) -> None:
        base = plan.image.data_id if plan.image and kind is DiskKind.ROOT else None
        disks.append(LocalDisk(ctx.new_id(), kind, device(), size, base, 0 if kind is DiskKind.ROOT else None))

    async def add_volume(asked: BlockDevice) -> None:
        volume_id = asked.source_id or ""
        if asked.source != "volume":
            spec = VolumeSpec(
                asked.size_gib, name="", volume_type=asked.volume_type, host=host,
                image_id=asked.source_id if asked.source == "image" else None,
                snapshot_id=asked.source_id if asked.source == "snapshot" else None,
            )  # fmt: skip
            volume_id = (await volumes.create_in(tx, ctx, spec)).id
        name = device()
        attachment = await attachments.reserve_in(tx, ctx, volume_id, server_id, device=name)
        attached.append(Attached(
            volume_id, attachment.id, name, ctx.new_id(), asked.boot_index, asked.delete_on_termination, asked.tag, "attaching",
        ))  # fmt: skip

    pending = list(plan.volumes)
    if plan.image is None and pending:
        await add_volume(pending.pop(0))
    for kind, size in plan.locals:
        add_local(kind, size)
    for asked in pending:
        await add_volume(asked)
    return tuple(disks), tuple(attached)


async def release_in(tx: Transaction, ctx: RequestContext, held: Sequence[Attached]) -> None:
    """Detach every volume; those that are to go with the server are deleted, but for those that still have snapshots."""
    for attached in held:
        await attachments.detach_in(tx, attached.attachment_id, now_us=ctx.now_us)
        if attached.delete_on_termination:
            try:
                await volumes.delete_in(tx, ctx, attached.volume_id, force=True)
            except (NotFound, Invalid) as stays:
                _log.info("volume %s stays: %s", attached.volume_id, stays)
