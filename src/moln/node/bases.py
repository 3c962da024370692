"""Images on a node of another machine's cloud: fetched when a disk is to begin as one, from another node that has it or else from a
controller, kept while there is room (room.py), and lent to other nodes (lending.py). And the other way round: what a node copies for the image store is brought to a controller."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec

from moln.kernel import files
from moln.kernel.errors import BackendUnreachable, Failure
from moln.kernel.files import known
from moln.kernel.nodes import sparse
from moln.kernel.nodes.gate import GateClient
from moln.kernel.nodes.lending import LOAN, Loan, State
from moln.node.lending import Borrowing
from moln.node.room import Room

VERB, BRING = "image.base", "image.bring"
SAFE_S = 120.0  # seconds that a controller may take to have all of it on its disk
LOAN_BYTES = 64 << 10  # that a controller says about one
TOLD = 256  # that controllers are told of, at most: the last that were used
log = logging.getLogger("moln.node")


class Bases:
    """In `images/base`, as on the controller. borrowing: from other nodes; None: from controllers alone. changed: told what is here, when it changes."""

    def __init__(
        self, images: Path, gate: GateClient, borrowing: Borrowing | None = None, *,
        room: Room | None = None, changed: Callable[[list[str]], object] = lambda names: None,
    ) -> None:  # fmt: skip
        self.folder = images / "base"
        self.gate, self.borrowing, self.changed = gate, borrowing, changed
        self.room = room or Room(images)
        self.coming: dict[str, asyncio.Task[None]] = {}
        self.held: list[str] = []

    def prepare(self) -> None:
        """Nothing half fetched is left; nor what nobody has used for long, or what there is no room for. Blocks."""
        self.room.prepare()
        self.folder.with_name("incoming").mkdir(parents=True, exist_ok=True)
        self.room.make()
        self.look()

    def look(self) -> bool:
        """Whether other images are here than before. Blocks."""
        before, self.held = set(self.held), [image.name for image in self.room.kept()[-TOLD:]]
        return set(self.held) != before

    async def ensure(self, name: str) -> None:
        """It is here. A call that is given up meanwhile leaves it coming; the next one waits for the same.

        Raises: BackendUnreachable, BackendRefused.
        """
        path = self.folder / known(name)
        if path.exists():
            with contextlib.suppress(OSError):
                await asyncio.to_thread(os.utime, path)
            return
        await asyncio.shield(self.come(path))

    async def prefetch(self, name: str, loan: Loan) -> None:
        """`Fetches` (kernel/nodes/lending.py). No server here need begin as it: the loan is the controller's word."""
        path = self.folder / known(name)
        if not path.exists():
            self.come(path, loan)

    async def state(self, name: str) -> State:
        path = self.folder / known(name)
        return "coming" if name in self.coming else "here" if path.exists() else "absent"

    def come(self, path: Path, loan: Loan | None = None) -> asyncio.Task[None]:
        """What fetches it; one task however often it is asked for."""
        name = path.name
        task = self.coming.get(name)
        if task is None:
            task = self.coming[name] = asyncio.create_task(self.fetch(path, loan), name=f"image {name}")
            task.add_done_callback(lambda done: self.came(name, done))
        return task

    def came(self, name: str, task: asyncio.Task[None]) -> None:
        self.coming.pop(name, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.warning("image %s did not come: %s", name, error)

    async def fetch(self, path: Path, loan: Loan | None = None) -> None:
        began = time.monotonic()
        if loan is None and self.borrowing:
            loan = await self.loan(path.name)
        try:
            with self.room.using(path.name):
                await self.make_room(loan.data if loan else 0)
                with files.appearing(path, mode=0o644) as file:
                    lender = await self.borrowing.borrow(path.name, loan, file) if self.borrowing and loan else ""
                    if not lender:
                        await self.from_controller(path.name, file)
                    size = os.fstat(file).st_size
                await self.make_room()
                if await asyncio.to_thread(self.look):
                    self.changed(self.held)
        except OSError as error:
            raise BackendUnreachable("This host cannot keep the image.", detail=f"{path}: {error}") from error
        log.info("image %s came from %s: %d MiB in %.1f s", path.name, lender or "a controller", size >> 20, time.monotonic() - began)

    async def loan(self, name: str) -> Loan | None:
        """Which nodes lend it; None: no controller says so, nor what it is."""
        try:
            return msgspec.msgpack.decode(await self.gate.read(LOAN, name, most=LOAN_BYTES), type=Loan)
        except (Failure, msgspec.MsgspecError) as error:
            log.info("no controller says who has image %s: %s", name, error)
            return None

    async def from_controller(self, name: str, file: int) -> None:
        stream = await self.gate.open(VERB, name)
        try:
            await sparse.take(stream.reader, file)
        finally:
            stream.close()

    async def make_room(self, coming: int = 0) -> None:
        for name in await asyncio.to_thread(self.room.make, coming):
            log.info("image %s had to go: nobody uses it, or room is needed", name)

    async def begin(self, disk_id: str, name: str, make: Callable[[], Awaitable[Any]], *, anew: bool = False) -> Any:
        """Have a disk or a volume begin as an image, which is here until it has. anew: also where there is one already.

        Raises: BackendUnreachable, BackendRefused.
        """
        path = known(disk_id)
        if not anew and await asyncio.to_thread(self.room.has, path):
            return await make()  # it began before, perhaps elsewhere
        with self.room.using(known(name)):
            await self.ensure(name)
            made = await make()
            with contextlib.suppress(OSError):  # then only the image goes sooner
                await asyncio.to_thread(self.room.note, name, path)
        return made

    async def bring(self, name: str) -> None:
        """A controller has what the driver left under this name; nothing of it is left here. Raises: BackendUnreachable, BackendRefused."""
        path, began = self.folder.with_name("incoming") / known(name), time.monotonic()
        stream = await self.gate.open(BRING, name)
        try:
            with open(path, "rb", opener=unfollowed) as file:  # noqa: ASYNC230
                size = os.fstat(file.fileno()).st_size
                await sparse.send(file.fileno(), stream.writer)
            async with asyncio.timeout(SAFE_S):
                answer = sparse.SIZE.unpack(await stream.reader.readexactly(sparse.SIZE.size))
        except (OSError, asyncio.IncompleteReadError) as error:
            raise BackendUnreachable("The image was not taken.", detail=f"{path}: {error!r}") from error
        finally:
            stream.close()
        if answer != (size,):
            raise BackendUnreachable("The image was not taken whole.")
        await asyncio.to_thread(files.vanish, path)
        log.info("image %s was brought: %d MiB in %.1f s", name, size >> 20, time.monotonic() - began)

    async def stop(self) -> None:
        for task in list(self.coming.values()):
            task.cancel()
        await asyncio.gather(*self.coming.values(), return_exceptions=True)


def unfollowed(path: str, flags: int) -> int:
    """An opener that follows no link."""
    return os.open(path, flags | os.O_NOFOLLOW)


class WithBases:
    """A compute driver or a VolumeDriver that has each image there before a disk or a volume begins as it, and brings what becomes one."""

    def __init__(self, driver: Any, bases: Bases) -> None:
        self._driver = driver
        self._bases = bases

    def __getattr__(self, name: str) -> Any:
        return getattr(self._driver, name)

    async def _begin(self, disk_id: str, image_id: str, make: Callable[[], Awaitable[Any]], *, anew: bool = False) -> Any:
        """Where the driver has the image in a place that nodes share, no file of it is needed here."""
        has_base = getattr(self._driver, "has_base", None)
        if has_base is not None and await has_base(image_id):
            return await make()
        return await self._bases.begin(disk_id, image_id, make, anew=anew)

    async def ensure_disk(self, disk_id: str, size_gib: int, image_id: str | None = None) -> Any:
        async def make() -> Any:
            return await self._driver.ensure_disk(disk_id, size_gib, image_id)

        return await self._begin(disk_id, image_id, make) if image_id is not None else await make()

    async def ensure_volume(self, volume_id: str, size_gib: int, source: str = "blank", source_id: str = "") -> None:
        async def make() -> None:
            await self._driver.ensure_volume(volume_id, size_gib, source, source_id)

        await (self._begin(volume_id, source_id, make) if source == "image" else make())

    async def reimage_volume(self, volume_id: str, image_id: str) -> None:
        await self._begin(volume_id, image_id, lambda: self._driver.reimage_volume(volume_id, image_id), anew=True)

    async def ensure_image_data(self, image_id: str, *of: str) -> Any:
        made = await self._driver.ensure_image_data(image_id, *of)
        await self._bases.bring(image_id)
        return made
