"""Nova's error bodies: one key, named by the status code, around the code and the message."""

from __future__ import annotations

import msgspec

from moln.kernel.context import RequestContext
from moln.kernel.errors import Failure, TooManyRequests

NAMES = {
    400: "badRequest", 401: "unauthorized", 403: "forbidden", 404: "itemNotFound", 405: "badMethod", 409: "conflictingRequest",
    413: "overLimit", 415: "badMediaType", 429: "overLimit", 501: "notImplemented", 503: "serviceUnavailable",
}  # fmt: skip


def fault(failure: Failure, status: int, ctx: RequestContext | None) -> tuple[bytes, str]:
    """`{"itemNotFound": {"code": 404, "message": …}}` (compute api guide, "Faults")."""
    inner: dict[str, object] = {"code": status, "message": failure.message}
    if isinstance(failure, TooManyRequests):
        inner["retryAfter"] = str(failure.retry_after_s)
    return msgspec.json.encode({NAMES.get(status, "computeFault"): inner}), "application/json"
