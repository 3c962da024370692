"""What a new flavor makes of a server's own disks (nova's libvirt driver: the root disk and ephemeral ones grow and never shrink)."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import structs

from moln.compute.model.servers import DiskKind, Flavor, LocalDisk, Server, free_device
from moln.kernel.errors import Invalid


class CannotResizeDisk(Invalid):
    """In Nova's words."""

    def __init__(self, reason: str):
        super().__init__(f"Server disk was unable to be resized because: {reason}", field="flavorRef")


def disks_after(server: Server, new: Flavor, new_id: Callable[[], str]) -> tuple[LocalDisk, ...]:
    """The disks under another flavor: the same, grown; swap made anew where its size differs. Raises: CannotResizeDisk, Forbidden."""
    old = server.flavor
    kept: list[LocalDisk] = []
    for disk in server.disks:
        match disk.kind:
            case DiskKind.ROOT:
                if new.disk == 0 and old.disk != 0:
                    raise CannotResizeDisk("Resize to zero disk flavor is not allowed.")
                if new.disk and new.disk < disk.size_gib:
                    raise CannotResizeDisk("Unable to resize disk down.")
                kept.append(structs.replace(disk, size_gib=max(disk.size_gib, new.disk)))
            case DiskKind.EPHEMERAL:
                grows = disk.size_gib == old.ephemeral
                kept.append(structs.replace(disk, size_gib=max(disk.size_gib, new.ephemeral)) if grows else disk)
            case DiskKind.SWAP if new.swap == old.swap:
                kept.append(disk)
    if new.ephemeral < sum(d.size_gib for d in server.disks if d.kind is DiskKind.EPHEMERAL):
        raise CannotResizeDisk("Unable to resize disk down.")

    def add(kind: DiskKind, size_gib: int) -> None:
        kept.append(LocalDisk(new_id(), kind, free_device(server.volumes, (*server.disks, *kept)), size_gib))

    if new.ephemeral and not any(d.kind is DiskKind.EPHEMERAL for d in kept):
        add(DiskKind.EPHEMERAL, new.ephemeral)
    if new.swap and new.swap != old.swap:
        add(DiskKind.SWAP, max(1, -(-new.swap // 1024)))
    return tuple(kept)


def copied(old: tuple[LocalDisk, ...], new: tuple[LocalDisk, ...], new_id: Callable[[], str]) -> dict[str, str]:
    """Ids for copies of the disks that stay and hold something that a revert must bring back."""
    stay = {d.id for d in new}
    return {d.id: new_id() for d in old if d.id in stay and d.kind is not DiskKind.SWAP}
