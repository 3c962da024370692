"""Who may, in Keystone's rules and words."""

from __future__ import annotations

from typing import Any

from moln.kernel.context import RequestContext
from moln.kernel.errors import Conflict, Forbidden, Invalid, NotFound


def require(ctx: RequestContext, rule: str, *, path: dict[str, Any] | None = None, **target: Any) -> None:
    """Check `rule` against what it is about. Raises: Forbidden.

    target: things by kind ("user", "project", ...), which rules read as %(target.user.domain_id)s; those that are None
    do not exist. path: the variables of the request's path, which rules read by name.
    """
    about: dict[str, Any] = {"target": {kind: thing for kind, thing in target.items() if thing is not None}}
    if not ctx.allows("identity", rule, about | path if path else about):
        raise Forbidden(f"You are not authorized to perform the requested action: {rule}.")


def refuse_delegated(ctx: RequestContext) -> None:
    """A token of a restricted application credential, of OAuth or of an EC2 key makes and changes no credentials (OSSA-2020-004).

    Raises: Forbidden.
    """
    if ctx.who is not None and ctx.who.restricted:
        raise Forbidden("Could not complete the request: what the token comes from is restricted and cannot manage credentials.")


def refuse_lent(ctx: RequestContext) -> None:
    """A token that somebody lent (a trust, OAuth) or that was made of keys does not manage what lends. Raises: Forbidden."""
    refuse_delegated(ctx)
    if ctx.who is not None and (ctx.who.trust_id or ctx.who.access_token_id):
        raise Forbidden("Could not complete the request: the token is another's to use, and cannot manage credentials.")


def missing(kind: str, name: str) -> NotFound:
    return NotFound(f"Could not find {kind}: {name}.")


def taken(kind: str, name: str, domain_id: str | None = None) -> Conflict:
    where = f" at domain ID {domain_id}" if domain_id else ""
    return Conflict(f"Conflict occurred attempting to store {kind} - Duplicate entry found with name {name}{where}.")


def immutable(kind: str, id_: str, verb: str = "update") -> Forbidden:
    return Forbidden(
        f"Unable to {verb} immutable {kind} resource: `{id_}`. Set resource option \"immutable\" to false first."
    )


def lacking(attribute: str, target: str) -> Invalid:
    """Keystone's words for a missing part of a body."""
    return Invalid(
        f"Expecting to find {attribute} in {target}. The server could not comply with the request since it is either "
        "malformed or otherwise incorrect. The client is assumed to be in error.",
        field=attribute,
    )
