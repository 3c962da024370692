"""Trusts: what one user lets another do in their name (identity v3-ext api-ref, "OS-TRUST")."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

MAX_REDELEGATION = 3  # times that a trust may be passed on (Keystone's max_redelegation_count)


class Trust(Struct, frozen=True):
    """The trustor's roles on a project, lent to the trustee.

    impersonation: its tokens speak as the trustor. roles: ids. expires_at: µs UTC. remaining_uses: tokens that it still gives; None: any
    number. redelegation_count: how often it may be passed on from here. redelegated_trust_id: the trust that was passed on.
    """

    id: str
    trustor_user_id: str
    trustee_user_id: str
    impersonation: bool
    project_id: str | None = None
    roles: list[str] = []
    expires_at: int | None = None
    remaining_uses: int | None = None
    redelegation_count: int = 0
    redelegated_trust_id: str | None = None


def widens(new: Trust, of: Trust) -> str | None:
    """Why a trust may not be passed on as this; None, when it may."""
    if not 0 < of.redelegation_count <= MAX_REDELEGATION:
        return f"Remaining redelegation depth of {of.redelegation_count} out of allowed range of [0..{MAX_REDELEGATION}]"
    if new.remaining_uses is not None:
        return f'Field "remaining_uses" is set to {new.remaining_uses} while it must not be set in order to redelegate a trust'
    if of.expires_at is not None and (new.expires_at is None or new.expires_at > of.expires_at):
        return "Requested expiration time is more than redelegated trust can provide"
    if new.impersonation and not of.impersonation:
        return "Impersonation is not allowed because redelegated trust does not specify impersonation."
    if new.project_id != of.project_id:
        return "A redelegated trust is for the project of the trust that it comes from."
    if not set(new.roles) <= set(of.roles):
        return "Some of requested roles are not in redelegated trust"
    return None


def origin(chain: Iterable[Trust]) -> str:
    """Whose roles a trust lends after all: the trustor of the first of its chain, which comes last."""
    return list(chain)[-1].trustor_user_id
