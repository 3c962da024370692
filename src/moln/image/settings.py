"""The settings of the image area (`[image]` in moln.toml)."""

from __future__ import annotations

from msgspec import Struct


class ImageSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """folder: where images lie, below the cloud's home or absolute; the node reads `base` there and writes `incoming`, and booting is
    fast when it is on the volumes' file system. max_size_gib: the largest image; max_virtual_gib: the largest disk inside one;
    page: images per page unless asked; conversions: children that look into images at a time.
    quota_images, quota_size_mib: what a project may store unless an operator says otherwise, -1: no bound.
    """

    folder: str = "pool/images"
    max_size_gib: int = 1024
    max_virtual_gib: int = 16384
    page: int = 25
    conversions: int = 2
    quota_images: int = -1
    quota_size_mib: int = -1
