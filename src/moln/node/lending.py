"""Images between nodes: lent to whom a controller sends, and borrowed from whom it names.

What is lent is opened by a secret that the controller had made for one member and one time. What is borrowed must be what the controller
says that it is, whoever it came from.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from moln.compute.drivers.disks import READ_ONLY
from moln.kernel.errors import BackendRefused, BackendUnreachable, Failure, NotFound
from moln.kernel.files import known
from moln.kernel.http.certificates import member_host
from moln.kernel.link.streams import Opener, Stream
from moln.kernel.nodes import sparse
from moln.kernel.nodes.gate import ANY_CONTROLLER, GateClient, written
from moln.kernel.nodes.lending import LENT, Lender, Loan, Promises
from moln.kernel.nodes.passport import Passport

AT_ONCE, PROMISED = 4, 64  # that are lent; that are promised, most of which nobody comes for: a borrower has others
OPEN_S = 5.0  # seconds that a lender may take to begin
BEGIN_S, PACE = 15.0, 4 << 20  # seconds and bytes a second that a loan may take in all
SLACK = 64 << 20  # bytes: file systems differ in where holes are
log = logging.getLogger("moln.node")


class Lending:
    """`Lends` (kernel/nodes/lending.py). folder: of images, by name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.promises = Promises(PROMISED)
        self.lent = 0

    @property
    def openers(self) -> dict[str, tuple[Opener, Any]]:
        """What members may open, each with its secret."""
        return {LENT: (self.open, tuple[str, str])}

    async def lend(self, name: str) -> str:
        if not (self.folder / known(name)).exists():
            raise BackendRefused("The image is not here.")
        self.check()
        return self.promises.make(name)

    def check(self) -> None:
        """Raises: BackendUnreachable."""
        if self.lent >= AT_ONCE:
            raise BackendUnreachable("Too many take images from here.")

    async def open(self, name: str, secret: str) -> Stream:
        self.check()
        self.promises.take(known(name), secret)
        try:
            file = await asyncio.to_thread(os.open, self.folder / name, READ_ONLY)
        except OSError:
            raise NotFound("The image is not here any more.") from None

        async def write(writer: asyncio.StreamWriter) -> None:
            self.lent += 1
            try:
                await sparse.send(file, writer)
            finally:
                self.lent -= 1
                os.close(file)

        try:
            return await written(write)
        except BaseException:
            os.close(file)
            raise


class Borrowing:
    """passport: this node's."""

    def __init__(self, passport: Passport, now_us: Callable[[], int]) -> None:
        self.passport, self.now_us = passport, now_us

    async def borrow(self, name: str, loan: Loan, file: int) -> str:
        """Who lent it: it is all in the file, which was empty. Empty: nobody did, and it is again. Raises: OSError, when it cannot be."""
        for lender in loan.lenders:
            try:
                async with asyncio.timeout(BEGIN_S + loan.data / PACE):
                    await self._take(name, loan, lender, file)
                return lender.node or "a controller"
            except (Failure, OSError) as error:
                why = getattr(error, "message", "") or repr(error)
                log.warning("image %s does not come from %s: %s", name, lender.node or "a controller", why)
            os.ftruncate(file, 0)
        return ""

    async def _take(self, name: str, loan: Loan, lender: Lender, file: int) -> None:
        host, _, port = lender.address.rpartition(":")
        if not port.isdecimal():
            raise BackendUnreachable(f"{lender.address} is no address with a port.")
        peer = member_host("node", lender.node) if lender.node else ANY_CONTROLLER
        client = GateClient(host.strip("[]"), int(port), self.passport, self.now_us, peer)
        stream = await client.open(LENT, name, lender.secret, deadline_s=OPEN_S)
        try:
            size = await sparse.take(stream.reader, file, loan.size, 2 * loan.data + SLACK)
        finally:
            stream.close()
        if size != loan.size or await sparse.digest(file) != loan.digest:
            raise BackendUnreachable("It is not the image that it should be.")
