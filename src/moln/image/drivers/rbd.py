"""Images in a pool of Ceph's RBD, each with a protected snapshot that clones may stand on.

librbd is in no package of PyPI and its threads are many: the system's Python asks it, in a process for each request (rbd_child.py),
which ends with it, and which is killed when the cluster does not move.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from msgspec import Struct, to_builtins

from moln.image.drivers.rbd_child import ABSENT, FAILED, ORDER, SHORT, SNAP
from moln.kernel.errors import NotFound, Unavailable

CHILD = Path(__file__).with_name("rbd_child.py")
PYTHON = "/usr/bin/python3"
PIECE = 1 << 20
AT_ONCE = 16  # children, some 40 MiB each
ANSWER = 64 << 20
SAID = 2000  # bytes of a child's complaint that the log gets
LEAVE_S = 10.0  # for a child to clean up after itself


class Cluster(Struct, frozen=True):
    """conf: ceph.conf; user: without `client.`; keyring: a file, empty: where ceph.conf says; timeout_s: how long nothing may move."""

    conf: str
    user: str
    keyring: str
    pool: str
    timeout_s: float = 30.0


class RbdBackend:
    """Backend in a pool. python: the interpreter that has rados and rbd."""

    kind = "rbd"

    def __init__(self, cluster: Cluster, *, python: str = PYTHON):
        self.cluster = cluster
        self.python = python
        self.told = json.dumps(to_builtins(cluster))
        self.turns = asyncio.Semaphore(AT_ONCE)

    async def stop(self) -> None:
        """See Backend. Children belong to requests, and end with them."""

    def url(self, data_id: str) -> str:
        """See Backend."""
        return f"rbd://{self.fsid()}/{self.cluster.pool}/{data_id}/{SNAP}"

    def fsid(self) -> str:
        """The cluster's, if its file says so."""
        with suppress(OSError):
            if found := re.search(r"^\s*fsid\s*=\s*(\S+)", Path(self.cluster.conf).read_text(), re.MULTILINE):
                return found[1]
        return ""

    def about(self) -> dict[str, Any]:
        """See Backend."""
        return {"pool": self.cluster.pool, "user": self.cluster.user, "chunk_size": 1 << ORDER, "thin_provisioning": True}

    @asynccontextmanager
    async def child(self, *args: str, stdin: bool = False) -> AsyncIterator[Child]:
        """A process that answers one request. Raises: Unavailable."""
        try:
            async with asyncio.timeout(self.cluster.timeout_s):
                await self.turns.acquire()
        except TimeoutError:
            raise Unavailable("The image store is busy.", detail="too many requests to the cluster") from None
        try:
            process = await asyncio.create_subprocess_exec(
                self.python, "-I", str(CHILD), self.told, *args, stdin=asyncio.subprocess.PIPE if stdin else asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, limit=PIECE, env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
            )  # fmt: skip
            found = Child(process, self.cluster.timeout_s)
            try:
                yield found
            finally:
                await asyncio.shield(found.end())
        except OSError as error:
            raise Unavailable("The image store cannot be asked.", detail=str(error)) from error
        finally:
            self.turns.release()

    async def put(self, data_id: str, size: int, pieces: AsyncIterator[bytes]) -> None:
        """See Backend."""
        async with self.child("put", data_id, str(size), stdin=True) as child:
            async for piece in pieces:
                if not await child.write(piece):
                    break
            await child.done()

    async def read(self, data_id: str, start: int, length: int) -> AsyncIterator[bytes]:
        """See Backend."""
        async with self.child("read", data_id, str(start), str(length)) as child:
            while length > 0:
                piece = await child.read(min(PIECE, length))
                if not piece:
                    break
                length -= len(piece)
                yield piece
            await child.done()

    async def size(self, data_id: str) -> int:
        """See Backend."""
        return int(json.loads(await self.ask("size", data_id)))

    async def remove(self, data_id: str) -> None:
        """See Backend."""
        await self.ask("remove", data_id)

    async def names(self) -> list[str]:
        """See Backend."""
        return sorted(json.loads(await self.ask("names")))

    async def ask(self, *args: str) -> bytes:
        async with self.child(*args) as child:
            answer = await child.read(ANSWER)
            await child.done()
            return answer


class Child:
    """A process at work. timeout_s: for each piece."""

    def __init__(self, process: asyncio.subprocess.Process, timeout_s: float):
        self.process = process
        self.timeout_s = timeout_s + LEAVE_S  # the child gives up by itself first, and says why
        assert process.stderr
        self.complaint = asyncio.ensure_future(process.stderr.read(SAID))

    async def write(self, piece: bytes) -> bool:
        """False: it listens no longer. Raises: Unavailable."""
        assert self.process.stdin
        try:
            async with asyncio.timeout(self.timeout_s):
                self.process.stdin.write(piece)
                await self.process.stdin.drain()
        except (BrokenPipeError, ConnectionResetError):
            return False
        except TimeoutError:
            raise Unavailable("The image store does not answer.", detail="the child took nothing") from None
        return True

    async def read(self, length: int) -> bytes:
        """So many bytes, or what came before the end. Raises: Unavailable."""
        assert self.process.stdout
        parts, left = [], length
        try:
            while left:
                async with asyncio.timeout(self.timeout_s):
                    part = await self.process.stdout.read(left)
                if not part:
                    break
                parts.append(part)
                left -= len(part)
        except TimeoutError:
            raise Unavailable("The image store does not answer.", detail="the child said nothing") from None
        return b"".join(parts)

    async def done(self) -> None:
        """It ended well. Raises: NotFound, Unavailable."""
        if self.process.stdin:
            self.process.stdin.close()
        try:
            async with asyncio.timeout(self.timeout_s):
                status = await self.process.wait()
        except TimeoutError:
            raise Unavailable("The image store does not answer.", detail="the child does not end") from None
        said = (await self.complaint).decode(errors="replace").strip()
        match status:
            case 0:
                return
            case _ if status == ABSENT:
                raise NotFound("The image has no data.", detail=said)
            case _ if status == SHORT:
                raise Unavailable("The image's data is not as long as its record.")
            case _ if status == FAILED:
                raise Unavailable("The image store failed.", detail=said)
        raise Unavailable("The image store cannot be asked.", detail=f"status {status}: {said}")

    async def end(self) -> None:
        """It is gone, whatever it did; one that was fed may first take away what it began."""
        if self.process.returncode is None and self.process.stdin:
            self.process.stdin.close()
            with suppress(TimeoutError):
                async with asyncio.timeout(LEAVE_S):
                    await self.process.wait()
        if self.process.returncode is None:
            with suppress(ProcessLookupError):
                self.process.kill()
            await self.process.wait()
        if self.process.stdin:
            with suppress(OSError):
                self.process.stdin.close()
                await self.process.stdin.wait_closed()
        self.complaint.cancel()
