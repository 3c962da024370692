"""Checks what signed images are before they count."""

from __future__ import annotations

import asyncio
import hashlib
import re
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path

from moln.image.drivers.base import ImageStore, Stored
from moln.image.model.images import HASH_ALGORITHM, Image
from moln.image.model.signatures import Signature, signature_of
from moln.kernel.cloud import Cloud
from moln.kernel.errors import Invalid

ID = re.compile("[0-9a-zA-Z-]{1,64}")


async def verify(cloud: Cloud, store: ImageStore, image: Image, stored: Stored) -> None:
    """The data that was just kept is what the image's signature says; nothing, when it says none. Raises: Invalid."""
    try:
        signature = signature_of(image.properties)
        if signature is not None:
            await verify_by(cloud, store, image, stored, signature)
    except ValueError as wrong:
        raise Invalid(f"Signature verification failed for image {image.id}: {wrong}.") from None


async def verify_by(cloud: Cloud, store: ImageStore, image: Image, stored: Stored, signature: Signature) -> None:
    """Raises: ValueError."""
    from moln.image.model.signature_check import check

    certificate = await asyncio.to_thread(find_certificate, cloud.home / cloud.settings.image.certificates, signature.certificate)
    digest = hashlib.new(signature.algorithm)
    if len(stored.digest) == 2 * digest.digest_size and signature.algorithm == HASH_ALGORITHM:
        value = bytes.fromhex(stored.digest)
    else:
        async with aclosing(store.read(image.data_id or "", 0, stored.size)) as pieces:
            async for piece in pieces:
                await asyncio.to_thread(digest.update, piece)
        value = digest.digest()
    now = datetime.fromtimestamp(cloud.clock.now_us() // 1_000_000, UTC)
    await asyncio.to_thread(check, signature, value, certificate, now)


def find_certificate(folder: Path, id: str) -> bytes:
    """What an operator left there as `<id>.pem`. Blocks. Raises: ValueError."""
    if ID.fullmatch(id):
        try:
            return (folder / f"{id}.pem").read_bytes()
        except OSError:
            pass
    raise ValueError("its certificate is not known here")
