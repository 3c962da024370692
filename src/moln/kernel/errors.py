"""The dozen kinds of failure. kernel/http/faults.py alone maps them to status codes; an area's api/faults.py shapes the body."""

from __future__ import annotations


class Failure(Exception):
    """Something that its caller should be told.

    message: for the user, a whole sentence. detail: for the log only. field: the offending input, by its wire name.
    type: the exception name that some services put on the wire (Neutron's `NeutronError.type`).
    """

    type: str | None = None

    def __init__(self, message: str, *, detail: str | None = None, field: str | None = None, type: str | None = None):
        super().__init__(message)
        self.message = message
        self.detail = detail
        self.field = field
        if type is not None:
            self.type = type


class Invalid(Failure):
    """The input cannot be what it is (400)."""


class Unauthorized(Failure):
    """The caller has not proved who they are (401)."""


class Forbidden(Failure):
    """The caller is known and may not (403)."""


class NotFound(Failure):
    """There is no such thing, or the caller may not know of it (404)."""


class MethodNotAllowed(Failure):
    """The resource has no such method (405). allowed: the methods it has."""

    def __init__(self, message: str, allowed: tuple[str, ...] = ()):
        super().__init__(message)
        self.allowed = allowed


class NotAcceptable(Failure):
    """No representation that the caller asked for, such as an unknown microversion (406)."""


class Conflict(Failure):
    """The thing's present state forbids it (409)."""


class Gone(Failure):
    """It was there in older versions of the API (410)."""


class PreconditionFailed(Failure):
    """The caller's If-Match or revision is stale (412)."""


class TooLarge(Failure):
    """The body is longer than its bound (413)."""


class UnsupportedMedia(Failure):
    """The body's media type is not taken here (415)."""


class OverQuota(Failure):
    """The project may not have more of it (403, 409 or 413 by service). resources: those that would overflow."""

    def __init__(self, message: str, *, resources: tuple[str, ...] = (), type: str | None = None):
        super().__init__(message, type=type)
        self.resources = resources


class TooManyRequests(Failure):
    """Come back later (429). retry_after_s: seconds."""

    def __init__(self, message: str, *, retry_after_s: int = 1):
        super().__init__(message)
        self.retry_after_s = retry_after_s


class NotSupported(Failure):
    """The configuration truthfully cannot (501)."""


class Unavailable(Failure):
    """An engine is lost; trying again later may work (503). retry_after_s: seconds."""

    retry_after_s = 5


class Paused(Unavailable):
    """Nothing can be changed for some seconds, on purpose (503)."""

    retry_after_s = 2


class BackendUnreachable(Unavailable):
    """A driver got no answer: the outcome is unknown. Observe, then repeat."""


class BackendRefused(Failure):
    """A driver answered no: repeating the same call is pointless (a 409 if it reaches a caller)."""


class StaleGeneration(BackendRefused):
    """A node holds a higher generation of the resource than the command names."""
