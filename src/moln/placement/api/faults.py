"""Placement's error bodies (placement api-ref, "Errors")."""

from __future__ import annotations

import msgspec

from moln.kernel import log
from moln.kernel.context import RequestContext
from moln.kernel.errors import Failure
from moln.kernel.http.faults import TITLES

CODE = "placement.undefined_code"
_SHAPE = ("Invalid input for field", "Additional properties", "'")  # how the kernel begins what it says of a body's shape


def fault(failure: Failure, status: int, ctx: RequestContext | None) -> tuple[bytes, str]:
    """`{"errors": [{"status", "title", "detail", "code", "request_id"}]}`; the code since 1.23."""
    detail = failure.message
    if status == 400 and detail.startswith(_SHAPE):
        detail = "JSON does not validate: " + detail
    error: dict[str, object] = {
        "status": status, "title": TITLES.get(status, "Error"), "detail": detail,
        "request_id": ctx.request_id if ctx else log.request_id.get(),
    }  # fmt: skip
    if ctx is None or ctx.version >= (1, 23):
        kind = failure.type or ""
        error["code"] = kind if kind.startswith("placement.") else CODE
    if status == 406:
        error["min_version"], error["max_version"] = "1.0", "1.39"
    return msgspec.json.encode({"errors": [error]}), "application/json"
