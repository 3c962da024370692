"""From kinds of failure to status codes, and the body shapes that several services share."""

from __future__ import annotations

import msgspec

from moln.kernel import errors
from moln.kernel.context import RequestContext
from moln.kernel.errors import Failure

STATUSES: dict[type[Failure], int] = {
    errors.Invalid: 400,
    errors.Unauthorized: 401,
    errors.Forbidden: 403,
    errors.OverQuota: 403,
    errors.NotFound: 404,
    errors.MethodNotAllowed: 405,
    errors.NotAcceptable: 406,
    errors.Conflict: 409,
    errors.BackendRefused: 409,
    errors.Gone: 410,
    errors.PreconditionFailed: 412,
    errors.TooLarge: 413,
    errors.UnsupportedMedia: 415,
    errors.TooManyRequests: 429,
    errors.NotSupported: 501,
    errors.Unavailable: 503,
}

TITLES = {
    400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed",
    406: "Not Acceptable", 409: "Conflict", 410: "Gone", 412: "Precondition Failed", 413: "Request Entity Too Large",
    415: "Unsupported Media Type", 429: "Too Many Requests", 500: "Internal Server Error", 501: "Not Implemented",
    503: "Service Unavailable",
}  # fmt: skip


def status_of(failure: Failure, statuses: dict[type[Failure], int]) -> int:
    """The most derived class decides; a service's own table comes first."""
    for kind in type(failure).__mro__:
        if kind in statuses:
            return statuses[kind]
        if kind in STATUSES:
            return STATUSES[kind]
    return 500


def keystone_body(failure: Failure, status: int, ctx: RequestContext | None) -> tuple[bytes, str]:
    """`{"error": {"code", "message", "title"}}`: identity's, and the 401 that every service gives."""
    error = {"code": status, "message": failure.message, "title": TITLES.get(status, "Error")}
    return msgspec.json.encode({"error": error}), "application/json"
