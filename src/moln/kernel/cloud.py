"""What one process of the cloud shares: settings, clock, database, policy, and the way to the nodes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moln.kernel.clock import Clock, Ids
from moln.kernel.context import Identity, RequestContext
from moln.kernel.errors import Unauthorized
from moln.kernel.fairness import Fairness
from moln.kernel.metrics import Requests

if TYPE_CHECKING:
    from moln.kernel.audit import Audit
    from moln.kernel.config import Settings
    from moln.kernel.db import Database
    from moln.kernel.link import NodeLinks
    from moln.kernel.policy import Policy
    from moln.kernel.tracing import Tracer
    from moln.kernel.work.claims import Claims
    from moln.kernel.work.leaders import Leaders

Authenticate = Callable[["Cloud", str], Awaitable[Identity]]
AuthenticateLate = Callable[["Cloud", str, str], Awaitable[Identity]]


async def _nobody(cloud: Cloud, token: str) -> Identity:
    raise Unauthorized("The request you have made requires authentication.")


async def _nobody_late(cloud: Cloud, token: str, service_token: str) -> Identity:
    raise Unauthorized("The request you have made requires authentication.")


class Cloud:
    """Made once by app.py and given to everything that runs.

    areas: what an area keeps in memory for itself, by its name (a token cache, a host table).
    authenticate: from a token to who it proves; identity provides it. authenticate_late: the same of a token that has expired, for the
    service whose own token comes with it. requests: how many were answered, how, and how fast.
    audit: where requests that may change something are written down; None: nowhere. fairness: who may be served.
    tracer: makes spans; None, when nothing is traced. claims: who works on what; None, where there is one controller.
    leaders: who does what only one may do; None: whoever claims it.
    """

    def __init__(self, *, settings: Settings, db: Database, policy: Policy, links: NodeLinks, home: Path,
                 clock: Clock | None = None, ids: Ids | None = None, tracer: Tracer | None = None):  # fmt: skip
        self.settings = settings
        self.db = db
        self.policy = policy
        self.links = links
        self.home = home
        self.clock = clock or Clock()
        self.ids = ids or Ids()
        self.authenticate: Authenticate = _nobody
        self.authenticate_late: AuthenticateLate = _nobody_late
        self.areas: dict[str, Any] = {}
        self.requests = Requests()
        self.audit: Audit | None = None
        self.tracer = tracer
        self.claims: Claims | None = None
        self.leaders: Leaders | None = None
        self.fairness = Fairness(settings.project_requests_per_s)

    def system_context(self, request_id: str = "") -> RequestContext:
        """A context of the cloud itself, for work that no caller asked for: it may do everything.

        It has no system scope: most services' rules refuse that (oslo.policy's scope types).
        """
        who = Identity(user_id="moln", roles=frozenset({"admin", "manager", "member", "reader", "service"}))
        return RequestContext(self, request_id or "req-" + self.ids.uuid(), who, version=(99, 999))
