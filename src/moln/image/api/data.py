"""/v2/images/{id}/file: an image's data, streamed both ways."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any

import falcon.asgi

from moln.image.api.faults import SERVICE, page
from moln.image.ops import data as ops
from moln.image.ops import imports
from moln.kernel.context import RequestContext
from moln.kernel.errors import Invalid, UnsupportedMedia
from moln.kernel.http import Reply, Routes

routes = Routes(SERVICE)
STALL_S = 60.0  # an upload may pause for so long between two pieces


@routes.put("/v2/images/{image_id}/file", status=204)
async def upload_image(ctx: RequestContext, image_id: str, request: falcon.asgi.Request) -> None:
    if request.content_type != "application/octet-stream":
        raise UnsupportedMedia("The data of an image is application/octet-stream.")
    where = request.get_header("X-Image-Meta-Store")
    await ops.upload(ctx, image_id, pieces(request), length=request.content_length, where=where)


@routes.put("/v2/images/{image_id}/stage", status=204)
async def stage_image(ctx: RequestContext, image_id: str, request: falcon.asgi.Request) -> None:
    if request.content_type != "application/octet-stream":
        raise UnsupportedMedia("The data of an image is application/octet-stream.")
    await imports.stage(ctx, image_id, pieces(request), length=request.content_length)


async def pieces(request: falcon.asgi.Request) -> AsyncIterator[bytes]:
    """The body as it comes. Raises: Invalid, when the client goes away or stalls before its end: half a body is no body."""
    left = False
    receive = request._receive

    async def watched() -> Any:
        nonlocal left
        event = await receive()
        left |= event["type"] == "http.disconnect"
        return event

    request._receive = watched  # before the first look at request.stream, which takes it over
    body = aiter(request.stream)
    length = request.content_length
    received = 0
    while True:
        try:
            async with asyncio.timeout(STALL_S):
                piece = await anext(body)
        except StopAsyncIteration:
            break
        except TimeoutError:
            raise Invalid("The data stopped coming.") from None
        received += len(piece)
        yield piece
    if left or (length is not None and received < length):
        raise Invalid("The data ended before its announced end.")


@routes.get("/v2/images/{image_id}/file")
async def download_image(ctx: RequestContext, image_id: str, request: falcon.asgi.Request) -> Reply:
    image = await ops.download(ctx, image_id)
    if image.data_id is None or image.size is None:
        return Reply(status=204)
    headers = {"Content-Type": "application/octet-stream", "Accept-Ranges": "bytes"}
    start, length, status = 0, image.size, 200
    asked = request.get_header("Range")
    if asked is not None:
        span = to_span(asked, image.size)
        if span is None:
            headers |= {"Content-Range": f"bytes */{image.size}", "Content-Type": "text/html; charset=UTF-8"}
            return Reply(page(416, "The byte range cannot be served."), 416, headers)
        start, end = span
        length, status = end - start + 1, 206
        headers["Content-Range"] = f"bytes {start}-{end}/{image.size}"
    elif image.checksum:
        headers["Content-MD5"] = image.checksum
    headers["Content-Length"] = str(length)
    if request.method == "HEAD":
        return Reply(b"", status, headers)
    return Reply(status=status, headers=headers, stream=await ops.begin_read(ctx, image, start, length))


def to_span(asked: str, size: int) -> tuple[int, int] | None:
    """First and last byte of a Range header with one range (RFC 9110, 14.1.2); None when it cannot be served."""
    found = re.fullmatch(r"bytes=([0-9]{0,18})-([0-9]{0,18})", asked.replace(" ", ""))
    if not found or not (found[1] or found[2]) or not size:
        return None
    if not found[1]:
        wanted = min(int(found[2]), size)
        return (size - wanted, size - 1) if wanted else None
    start = int(found[1])
    end = min(int(found[2]), size - 1) if found[2] else size - 1
    return (start, end) if start <= end else None
