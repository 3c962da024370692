"""The image area as app.py takes it."""

from __future__ import annotations

import shutil
from typing import Any

from moln.image.api import data, discovery, images
from moln.image.drivers.files import FileStore
from moln.image.drivers.sandbox import Sandbox
from moln.image.ops.quotas import QUOTA
from moln.image.work.files import FILES_MATCH_ROWS, IMAGE_FILES, LOST_UPLOADS, QUOTA_MATCHES_ROWS
from moln.kernel.cloud import Cloud
from moln.kernel.errors import Unavailable
from moln.kernel.http.schemas import Described
from moln.kernel.module import Module

GIB = 1 << 30


def module(settings: Any) -> Module:
    """A simulated cloud sniffs what is uploaded as any other; it boots nothing real, so it converts nothing and needs no qemu-img."""

    async def setup(cloud: Cloud) -> None:
        if not settings.simulate and not shutil.which("qemu-img"):
            raise Unavailable("qemu-img is missing: install qemu-utils (Debian, Ubuntu) or qemu-img (RHEL).")
        QUOTA.defaults |= {
            "image_count_total": settings.image.quota_images,
            "image_size_total": settings.image.quota_size_mib,
        }
        sandbox = Sandbox(at_once=settings.image.conversions, max_virtual=settings.image.max_virtual_gib * GIB)
        store = FileStore(cloud.home / settings.image.folder, sandbox, convert=not settings.simulate)
        await store.start()
        cloud.areas["image"] = store

    async def close(cloud: Cloud) -> None:
        await cloud.areas["image"].stop()

    return Module(
        "image",
        routes=(discovery.routes, images.routes, data.routes),
        reconcilers=(IMAGE_FILES, LOST_UPLOADS),
        invariants=(FILES_MATCH_ROWS, QUOTA_MATCHES_ROWS),
        setup=setup,
        close=close,
        describe=_describe,
    )


def _describe() -> Described:
    from moln.image.api.description import described

    return described()
