"""Who asks, for which project, at which microversion, until when."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from moln.kernel.errors import Forbidden

if TYPE_CHECKING:
    from moln.kernel.cloud import Cloud
    from moln.kernel.db import Database

Version = tuple[int, int]

POLICIES = {
    "identity": "keystone", "image": "glance", "placement": "placement", "compute": "nova", "network": "neutron",
    "volume": "cinder",
}  # fmt: skip
"""Whose rule names an area speaks: an operator's policy files are named so."""


class AccessRule(Struct, frozen=True):
    """A request that an application credential may make. path: may hold * and {name} for a segment, ** for any rest."""

    service: str
    method: str
    path: str


class Identity(Struct, frozen=True):
    """What a token proves (identity api-ref, "Authentication and token management").

    roles: names in lower case, implied ones included. system_scope: "all" or None. audit_id: names the token in logs.
    expires_at: µs UTC. restricted: what it was made of was delegated, and may make no further credentials. access_rules: the only
    requests that it is good for; None: all. trust_id, application_credential_id, access_token_id: what was delegated.
    bound_to: the thumbprint of the only certificate that it is good with.
    """

    user_id: str
    user_name: str = ""
    user_domain_id: str = "default"
    project_id: str | None = None
    project_name: str | None = None
    project_domain_id: str | None = None
    domain_id: str | None = None
    system_scope: str | None = None
    roles: frozenset[str] = frozenset()
    audit_id: str = ""
    expires_at: int = 0
    restricted: bool = False
    access_rules: tuple[AccessRule, ...] | None = None
    trust_id: str | None = None
    application_credential_id: str | None = None
    access_token_id: str | None = None
    groups: tuple[str, ...] = ()
    bound_to: str | None = None


_NOBODY = Identity(user_id="", user_domain_id="")


class RequestContext:
    """One request of one caller; also the credentials that policy checks read.

    version: the microversion asked for, (0, 0) where the service has none. deadline: of `clock.monotonic()`, seconds.
    proved: whom a sign-in has proved, for the audit log.
    """

    __slots__ = (
        "cloud", "request_id", "who", "version", "deadline", "user_id", "project_id", "domain_id", "system_scope", "roles",
        "user_domain_id", "project_domain_id", "proved", "_admin",
    )  # fmt: skip

    def __init__(self, cloud: Cloud, request_id: str, who: Identity | None, version: Version = (0, 0), deadline: float = 0.0):
        self.cloud = cloud
        self.request_id = request_id
        self.who = who
        self.version = version
        self.deadline = deadline
        self.proved: Identity | None = None
        self._admin: bool | None = None
        known = who or _NOBODY
        self.user_id: str | None = known.user_id or None
        self.project_id = known.project_id
        self.domain_id = known.domain_id
        self.system_scope = known.system_scope
        self.roles = known.roles
        self.user_domain_id: str | None = known.user_domain_id or None
        self.project_domain_id = known.project_domain_id

    @property
    def db(self) -> Database:
        return self.cloud.db

    @property
    def settings(self) -> Any:
        return self.cloud.settings

    @property
    def now_us(self) -> int:
        return self.cloud.clock.now_us()

    @property
    def new_id(self) -> Callable[[], str]:
        return self.cloud.ids.uuid

    @property
    def is_admin(self) -> bool:
        """Whether the caller is an administrator of the cloud (`context_is_admin`: the role admin)."""
        return "admin" in self.roles

    def at_least(self, major: int, minor: int) -> bool:
        return self.version >= (major, minor)

    def allows(self, service: str, rule: str, target: Any = None) -> bool:
        """Whether the policy of an area lets the caller do `rule` to `target` (a mapping or Struct; None: their own)."""
        return self.cloud.policy.allows(POLICIES[service], rule, self, target)

    def require(self, service: str, rule: str, target: Any = None) -> None:
        """Raises: Forbidden, when policy does not allow it."""
        if not self.cloud.policy.allows(POLICIES[service], rule, self, target):
            raise Forbidden(f"Policy doesn't allow {rule} to be performed.", type="PolicyNotAuthorized")
