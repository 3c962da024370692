"""What policy says to somebody, and why: for `moln policy check`."""

from __future__ import annotations

from typing import Any

from moln.identity.model.tokens import Payload, Scope
from moln.identity.ops.access import missing
from moln.identity.ops.examining import examine
from moln.identity.ops.naming import Named, find_domain
from moln.identity.ops.state import of
from moln.identity.store import projects as project_store
from moln.identity.store import users as user_store
from moln.kernel.cloud import Cloud
from moln.kernel.context import RequestContext
from moln.kernel.db import Reader
from moln.kernel.errors import Unauthorized
from moln.kernel.policy_explain import explain

AT_DEFAULT = "default"  # the domain of names that name none


async def check(cloud: Cloud, user: str, action: str, scope: dict[str, str | None], target: dict[str, Any]) -> dict[str, Any]:
    """user: an id, a name, or name@domain. scope: a project or domain by id or name, or system. target: what the rule reads.

    Raises: NotFound.
    """
    found = await user_store.find(cloud.db, user)
    if found is None:
        name, _, domain = user.rpartition("@") if "@" in user else (user, "", AT_DEFAULT)
        there = await _domain(cloud.db, domain)
        found = await user_store.find_named(cloud.db, name, there)
    if found is None:
        raise missing("user", user)
    where = Scope(system=True) if scope.get("system") else Scope()
    if scope.get("project"):
        where = Scope(project_id=await _project(cloud.db, scope["project"] or ""))
    elif scope.get("domain"):
        where = Scope(domain_id=await _domain(cloud.db, scope["domain"] or ""))
    now = cloud.clock.now_us()
    payload = Payload(found.id, ("password",), where, max(now, found.tokens_from + 1), now + 1_000_000, ("A" * 22,))
    try:
        who = (await examine(cloud.db, of(cloud), payload, now)).identity
    except Unauthorized:
        return {"allowed": False, "summary": f"{found.name} can have no token there: disabled, or without a role.", "lines": []}
    verdict = explain(cloud.policy, action, RequestContext(cloud, "req-policy", who), target or None)
    roles = ", ".join(sorted(who.roles)) or "no role"
    said = "may" if verdict.allowed else "may not"
    return {"allowed": verdict.allowed, "summary": f"{found.name} ({roles}) {said} {action}.", "lines": verdict.lines}


async def _domain(db: Reader, which: str) -> str:
    found = await find_domain(db, Named(id=which)) or await find_domain(db, Named(name=which))
    if found is None:
        raise missing("domain", which)
    return found.id


async def _project(db: Reader, which: str) -> str:
    """By id, or by name in the default domain or as name@domain."""
    found = await project_store.find(db, which)
    if found is None:
        name, _, domain = which.rpartition("@") if "@" in which else (which, "", AT_DEFAULT)
        found = await project_store.find_named(db, name, await _domain(db, domain))
    if found is None:
        raise missing("project", which)
    return found.id
