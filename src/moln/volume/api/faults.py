"""Cinder's service description and the body of its failures."""

from __future__ import annotations

import msgspec

from moln.kernel.context import RequestContext
from moln.kernel.errors import Failure, OverQuota
from moln.kernel.http import Service
from moln.volume.api.versions import MAX_VERSION, MIN_VERSION

NAMES = {
    400: "badRequest", 401: "unauthorized", 403: "forbidden", 404: "itemNotFound", 405: "badMethod", 406: "notAcceptable",
    409: "conflictingRequest", 413: "overLimit", 415: "badMediaType", 429: "overLimit", 501: "notImplemented",
    503: "serviceUnavailable",
}  # fmt: skip


def fault(failure: Failure, status: int, ctx: RequestContext | None) -> tuple[bytes, str]:
    body: dict[str, object] = {"code": status, "message": failure.message}
    if isinstance(failure, OverQuota):
        body["retryAfter"] = "0"
    return msgspec.json.encode({NAMES.get(status, "computeFault"): body}), "application/json"


SERVICE = Service(
    "volume", "/volume", fault, header="volume", min_version=MIN_VERSION, max_version=MAX_VERSION, project_in_path=True,
    root="/v3", statuses={OverQuota: 413}, exact=True,
)  # fmt: skip
