"""Headers of every answer, worked out once: what a browser may make of it (OWASP, "REST Security Cheat Sheet")."""

from __future__ import annotations

from typing import Any

import falcon.asgi

from moln.kernel.config import Settings

NOTHING = "default-src 'none'; frame-ancestors 'none'"  # an answer of an API is no page; pages say more themselves
YEAR_S, DAY_S = 365 * 86400, 86400


def security_headers(settings: Settings) -> dict[str, str]:
    """What each answer has unless a page says otherwise.

    Strict-Transport-Security (RFC 6797) only where we serve TLS ourselves. Under the cloud's own authority it lasts a day: whoever
    tries `--tls` on a laptop and ends it again must not be locked out for a year.
    """
    found = {
        "x-content-type-options": "nosniff",
        "content-security-policy": NOTHING,
        "cache-control": "no-store",  # nearly every answer is one project's, some hold a secret
    }
    if settings.serves_tls:
        found["strict-transport-security"] = f"max-age={YEAR_S if settings.tls_certificate else DAY_S}"
    return found


def response_type(headers: dict[str, str]) -> type[falcon.asgi.Response]:
    """Falcon's response with these headers from the start: handlers, faults, unknown paths and pages alike begin with them."""

    class Answer(falcon.asgi.Response):
        __slots__ = ()

        def __init__(self, options: Any = None):
            super().__init__(options)
            self._headers = headers.copy()

    return Answer
