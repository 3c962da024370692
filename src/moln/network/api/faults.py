"""Neutron's error body: `{"NeutronError": {"type", "message", "detail"}}`."""

from __future__ import annotations

import msgspec

from moln.kernel import errors
from moln.kernel.context import RequestContext
from moln.kernel.errors import Failure

TYPES: dict[type[Failure], str] = {  # for failures that name no Neutron exception
    errors.Invalid: "HTTPBadRequest",
    errors.Forbidden: "PolicyNotAuthorized",
    errors.NotFound: "HTTPNotFound",
    errors.MethodNotAllowed: "HTTPMethodNotAllowed",
    errors.Conflict: "Conflict",
    errors.OverQuota: "OverQuota",
    errors.PreconditionFailed: "RevisionNumberConstraintFailed",
    errors.TooLarge: "HTTPRequestEntityTooLarge",
    errors.NotSupported: "NotImplementedError",
    errors.Unavailable: "ServiceUnavailable",
}
STATUSES: dict[type[Failure], int] = {errors.OverQuota: 409}


def fault(failure: Failure, status: int, ctx: RequestContext | None) -> tuple[bytes, str]:
    """The body and its media type."""
    kind = failure.type or next((TYPES[c] for c in type(failure).__mro__ if c in TYPES), "HTTPInternalServerError")
    body = {"NeutronError": {"type": kind, "message": failure.message, "detail": ""}}
    return msgspec.json.encode(body), "application/json"
