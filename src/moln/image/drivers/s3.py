"""Images in an S3 bucket: one object each, brought in parts that are bounded in memory, read by ranges.

A `put` that breaks off leaves at most parts without an object: they are `names` like any other, and `remove` ends them.
"""

from __future__ import annotations

import asyncio
import http.client
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar
from xml.sax.saxutils import escape

from moln.image.drivers.s3_requests import Bucket, Requests, parse
from moln.kernel.errors import Failure, Unavailable

R = TypeVar("R")
PART = 8 << 20  # bytes sent at once; a put holds two of these
MOST_PARTS = 10_000  # of one object, S3's own bound
READ_PIECE = 1 << 20
READ_AGAIN = 3  # times that an answer may break off


class S3Backend:
    """Backend in a bucket. prefix: what the names of our objects begin with; threads: requests at a time; part: bytes."""

    kind = "s3"

    def __init__(self, bucket: Bucket, *, prefix: str = "", threads: int = 8, part: int = PART):
        self.requests = Requests(bucket)
        self.bucket = bucket
        self.prefix = prefix
        self.part = part
        self.threads = ThreadPoolExecutor(threads, thread_name_prefix="image-s3")

    async def stop(self) -> None:
        """See Backend."""
        self.requests.stop()
        self.threads.shutdown(wait=False, cancel_futures=True)

    async def run(self, work: Callable[..., R], *args: Any) -> R:
        return await asyncio.get_running_loop().run_in_executor(self.threads, work, *args)

    async def ask(
        self, method: str, key: str = "", query: Mapping[str, str] | None = None, body: bytes | bytearray = b""
    ) -> tuple[Mapping[str, str], bytes]:
        return await self.run(self.requests.ask, method, key, query, body)

    def url(self, data_id: str) -> str:
        """See Backend."""
        return f"s3+{self.bucket.endpoint.rstrip('/')}/{self.bucket.name}/{self.prefix}{data_id}"

    def about(self) -> dict[str, Any]:
        """See Backend."""
        return {
            "s3_store_host": self.bucket.endpoint, "s3_store_bucket": self.bucket.name,
            "s3_store_large_object_size": self.part >> 20, "s3_store_large_object_chunk_size": self.part >> 20,
        }  # fmt: skip

    async def put(self, data_id: str, size: int, pieces: AsyncIterator[bytes]) -> None:
        """See Backend."""
        key = self.prefix + data_id
        part = max(self.part, -(-size // MOST_PARTS))
        if size <= part:
            whole = bytearray()
            async for piece in pieces:
                whole += piece
                if len(whole) > size:
                    break
            check_length(len(whole), size)
            await self.ask("PUT", key, body=whole)
            return
        await self.abort(key)
        _, answer = await self.ask("POST", key, {"uploads": ""})
        upload = parse(answer).findtext("UploadId") or ""
        try:
            tags = await self._send(key, upload, part, size, pieces)
            listed = "".join(f"<Part><PartNumber>{n}</PartNumber><ETag>{escape(tag)}</ETag></Part>" for n, tag in enumerate(tags, 1))
            body = f"<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>".encode()
            _, answer = await self.ask("POST", key, {"uploadId": upload}, body)
            if parse(answer).tag == "Error":  # S3 says 200 before it knows
                raise Unavailable("The image store failed.", detail=answer[:500].decode(errors="replace"))
        except BaseException:
            with suppress(Failure):
                await asyncio.shield(self.ask("DELETE", key, {"uploadId": upload}))
            raise

    async def _send(self, key: str, upload: str, part: int, size: int, pieces: AsyncIterator[bytes]) -> list[str]:
        """The parts' tags. One part is on its way while the next one comes."""
        tags: list[str] = []
        waiting, sent = bytearray(), 0
        sending: asyncio.Task[tuple[Mapping[str, str], bytes]] | None = None

        async def send(last: bool) -> None:
            nonlocal sending, waiting, sent
            if sending is not None:
                tags.append((await asyncio.shield(sending))[0].get("etag", ""))
                sending = None
            if waiting:
                body, waiting = waiting[:part], waiting[part:]
                sent += len(body)
                number = {"partNumber": str(len(tags) + 1), "uploadId": upload}
                sending = asyncio.ensure_future(self.ask("PUT", key, number, body))
            if last and sending is not None:
                await send(last)

        try:
            async for piece in pieces:
                waiting += piece
                while len(waiting) >= part:
                    await send(last=False)
            await send(last=True)
        finally:
            if sending is not None:  # its thread goes on: the parts must not be ended under it
                await asyncio.wait({sending})
                with suppress(BaseException):
                    sending.result()
        check_length(sent, size)
        return tags

    async def read(self, data_id: str, start: int, length: int) -> AsyncIterator[bytes]:
        """See Backend. An answer that breaks off is asked for again from there."""
        key, tries = self.prefix + data_id, READ_AGAIN
        while length > 0:
            span = {"Range": f"bytes={start}-{start + length - 1}"}
            connection, response = await self.run(self.requests.open, "GET", key, None, b"", span)
            try:
                if response.status != 206 and (start or (response.length or 0) != length):
                    raise Unavailable("The image store failed.", detail=f"{response.status} instead of a range of {key}")
                while length > 0:
                    try:
                        piece = await self.run(response.read, min(READ_PIECE, length))
                    except (OSError, http.client.HTTPException):
                        piece = b""
                    if not piece:
                        break
                    start, length = start + len(piece), length - len(piece)
                    yield piece
            finally:
                if response.isclosed() or not length:
                    self.requests.keep(connection, response)
                else:
                    connection.close()
            if length > 0:
                tries -= 1
                if not tries:
                    raise Unavailable("The image store broke off.", detail=f"{length} bytes of {key} were left")

    async def size(self, data_id: str) -> int:
        """See Backend."""
        headers, _ = await self.ask("HEAD", self.prefix + data_id)
        return int(headers.get("content-length", 0))

    async def remove(self, data_id: str) -> None:
        """See Backend."""
        key = self.prefix + data_id
        await self.abort(key)
        await self.ask("DELETE", key)

    async def abort(self, key: str) -> None:
        """End every upload in parts that was begun for this object."""
        for found, upload in await self.uploads(key):
            if found == key:
                with suppress(Failure):
                    await self.ask("DELETE", key, {"uploadId": upload})

    async def uploads(self, prefix: str) -> list[tuple[str, str]]:
        """Keys and ids of the uploads in parts that did not end."""
        found, query = [], {"uploads": "", "prefix": prefix}
        while True:
            root = parse((await self.ask("GET", "", query))[1])
            found += [(one.findtext("Key") or "", one.findtext("UploadId") or "") for one in root.iter("Upload")]
            if root.findtext("IsTruncated") != "true":
                return found
            markers = {"key-marker": root.findtext("NextKeyMarker") or "", "upload-id-marker": root.findtext("NextUploadIdMarker") or ""}
            query = {**query, **markers}

    async def names(self) -> list[str]:
        """See Backend."""
        keys = {key for key, _ in await self.uploads(self.prefix)}
        query = {"list-type": "2", "prefix": self.prefix}
        while True:
            root = parse((await self.ask("GET", "", query))[1])
            keys |= {one.findtext("Key") or "" for one in root.iter("Contents")}
            if root.findtext("IsTruncated") != "true":
                break
            query = {**query, "continuation-token": root.findtext("NextContinuationToken") or ""}
        return sorted(name for key in keys if "/" not in (name := key[len(self.prefix) :]))


def check_length(found: int, size: int) -> None:
    """Raises: Unavailable, when what was read from elsewhere is not as long as it was said to be."""
    if found != size:
        raise Unavailable("The image's data is not as long as its record.", detail=f"{found} of {size} bytes")
