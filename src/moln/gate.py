"""What nodes on other machines may ask of a controller (kernel/nodes/gate.py): the images that their servers begin as,
who else has them, and their guests' metadata."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import msgspec

from moln.compute.ops import metadata, needed_images
from moln.image.drivers import peers
from moln.image.drivers.replicas import opened
from moln.image.ops import data, replicas
from moln.kernel import files
from moln.kernel.cloud import Cloud
from moln.kernel.errors import NotFound
from moln.kernel.link.streams import Opener, Stream
from moln.kernel.nodes import sparse
from moln.kernel.nodes.gate import of_bytes, spoken, written
from moln.kernel.nodes.lending import LENT, LOAN
from moln.lenders import Lenders, open_base

BASE, BRING, METADATA, LEAVE = "image.base", "image.bring", "metadata.answer", "node.leave"


def openers(
    cloud: Cloud, node: str, *, leave: Callable[..., Awaitable[bool]] | None = None, lenders: Lenders | None = None
) -> dict[str, tuple[Opener, Any]]:
    """By verb, for one node. leave: has the cloud refuse a node from now on. lenders: nodes that have images."""
    return {
        **({LEAVE: (partial(_leave, leave, node), tuple[bool])} if leave else {}),
        **({LOAN: (partial(_loan, cloud, lenders, node), tuple[str])} if lenders else {}),
        **({LENT: (partial(_lent, cloud, lenders, node), tuple[str, str])} if lenders else {}),
        BASE: (partial(_base, cloud, node), tuple[str]),
        BRING: (partial(_bring, cloud, node), tuple[str]),
        METADATA: (partial(_metadata, cloud, node), tuple[str, str, str, bytes | None]),
    }


def peer_openers(cloud: Cloud, controller: str) -> dict[str, tuple[Opener, Any]]:
    """By verb, for another controller: files of images (image/drivers/peers.py)."""
    return {peers.FILE: (partial(_file, cloud), tuple[str, str]), peers.PART: (partial(_part, cloud), tuple[str, int, int])}


async def _file(cloud: Cloud, kind: str, name: str) -> Stream:
    """All of one that is here. Raises: NotFound."""
    return await _sent(await asyncio.to_thread(opened, data.store_of(cloud), kind, name))


async def _part(cloud: Cloud, name: str, start: int, length: int) -> Stream:
    """Some bytes of data that is here. Raises: NotFound."""
    file = await asyncio.to_thread(opened, data.store_of(cloud), "data", name)

    async def write(writer: asyncio.StreamWriter) -> None:
        try:
            await sparse.send_part(file, writer, start, length)
        finally:
            os.close(file)

    return await written(write)


async def _leave(leave: Callable[..., Awaitable[bool]], node: str, force: bool) -> Stream:
    """The node is refused from now on, as if it were removed. Raises: Conflict, while the cloud has servers on it."""
    return await of_bytes(msgspec.msgpack.encode(await leave(node, force=force)))


async def _check(cloud: Cloud, node: str, name: str) -> None:
    """Raises: NotFound, for a raw disk that no server of this node begins as."""
    if not await needed_images.on_host(cloud, node, name):
        raise NotFound(f"No server on {node} begins as {name}.")


async def _loan(cloud: Cloud, lenders: Lenders, node: str, name: str) -> Stream:
    """Which nodes lend what a server of this node begins as, and what it is. Raises: NotFound, as _check, or when it is at another controller."""
    await _check(cloud, node, name)
    file = await open_base(cloud, name)
    try:
        return await of_bytes(msgspec.msgpack.encode(await lenders.loan(node, name, file)))
    finally:
        os.close(file)


async def _base(cloud: Cloud, node: str, name: str) -> Stream:
    """All of it, at whichever controller it is. Raises: NotFound, as _check; Unavailable, while no controller that has it answers."""
    await _check(cloud, node, name)
    try:
        return await _sent(await open_base(cloud, name))
    except NotFound:
        if (stream := await replicas.open_base(cloud, name)) is None:
            raise
        return stream


async def _lent(cloud: Cloud, lenders: Lenders, node: str, name: str, secret: str) -> Stream:
    """The same of one that an operator has this node fetch. Raises: NotFound."""
    lenders.take(node, name, secret)
    return await _sent(await open_base(cloud, name))


async def _sent(file: int) -> Stream:
    async def write(writer: asyncio.StreamWriter) -> None:
        try:
            await sparse.send(file, writer)
        finally:
            os.close(file)

    try:
        return await written(write)
    except BaseException:
        os.close(file)
        raise


async def _bring(cloud: Cloud, node: str, name: str) -> Stream:
    """Takes data that an image waits for, and says its size once it is safe. Raises: NotFound, when none of this node's waits for it."""
    if not await needed_images.from_host(cloud, node, name):
        raise NotFound(f"No image of a server or a volume on {node} waits for {name}.")
    path, most = cloud.home / cloud.settings.image.folder / "incoming" / name, cloud.settings.image.max_size_gib * data.GIB  # type: ignore[attr-defined]

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with files.appearing(path) as file:
            size = await sparse.take(reader, file, most)
            await asyncio.to_thread(os.fsync, file)
        await cloud.db.write(replicas.arrived_in, cloud, name)
        writer.write(sparse.SIZE.pack(size))
        await writer.drain()

    return await spoken(take)


async def _metadata(cloud: Cloud, node: str, network_id: str, address: str, path: str, posted: bytes | None) -> Stream:
    """Of a server of this node, and no other's."""
    if posted is not None:
        posted = posted[: metadata.MOST_POSTED + 1]
    return await of_bytes(msgspec.msgpack.encode(await metadata.answer(cloud, network_id, address, path, posted, host=node)))
