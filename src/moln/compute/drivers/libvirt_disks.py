"""A libvirt host's own disks, raw files beside each other or images in Ceph: made, copied (sharing blocks where that can be), put back and grown."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from moln.compute.drivers.base import Disk, DiskFile
from moln.compute.drivers.disks import DiskFolder
from moln.compute.drivers.domain_xml import Look, RbdLook
from moln.compute.drivers.libvirt_link import LibvirtLink

if TYPE_CHECKING:
    from moln.compute.drivers.rbd_disks import RbdDisks
    from moln.kernel.rbd import RbdPool


class LibvirtDisks:
    """DiskCopies, and ComputeDriver's disks, for LibvirtDriver, whose the rest is."""

    files: DiskFolder | RbdDisks
    turn: Callable[[str], AbstractAsyncContextManager[None]]
    blocking: Callable[..., Any]
    settings: Any
    look: Look
    link: LibvirtLink

    def keep_in_ceph(self, pool: RbdPool) -> None:
        """Disks are images in this pool. Imported only there. Raises: Invalid."""
        from moln.compute.drivers import libvirt_secrets as secrets
        from moln.compute.drivers.rbd_disks import RbdDisks

        access, self.ensure_key = pool.access, secrets.ensure
        self.files = RbdDisks(pool, self.settings.images)
        self.look = replace(self.look, rbd=RbdLook(access.conf, access.user, secrets.id_of(access)))

    async def unlock(self, disks: Iterable[Disk]) -> None:
        """libvirt knows the key for those that are in Ceph: it forgets it when it ends, and the key may have changed."""
        if self.settings.rbd is not None and any(disk.protocol == "rbd" for disk in disks):
            await self.link.call(self.ensure_key, self.settings.rbd.access)

    async def ensure_disk(self, disk_id: str, size_gib: int, image_id: str | None = None) -> DiskFile:
        async with self.turn(disk_id):
            made: DiskFile = await self.blocking(self.files.ensure, disk_id, size_gib, image_id)
        return made

    async def has_base(self, image_id: str) -> bool:
        """Whether a disk may begin as this image though no file of it is here."""
        return bool(await self.blocking(self.files.has_base, image_id))

    async def remove_disk(self, disk_id: str) -> None:
        async with self.turn(disk_id):
            await self.blocking(self.files.remove, disk_id)

    async def ensure_disk_copy(self, copy_id: str, disk_id: str) -> None:
        async with self.turn(disk_id):
            await self.blocking(self.files.copy, copy_id, disk_id)

    async def restore_disk(self, disk_id: str, copy_id: str) -> None:
        async with self.turn(disk_id):
            await self.blocking(self.files.restore, disk_id, copy_id)

    async def grow_disk(self, disk_id: str, size_gib: int) -> None:
        async with self.turn(disk_id):
            await self.blocking(self.files.grow, disk_id, size_gib)
