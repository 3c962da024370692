"""Tokens: sealed, opened once, cached, revoked."""

from __future__ import annotations

from msgspec import Struct

from moln.identity import settings
from moln.identity.model.tokens import Federated, OpenToken, Payload, Scope, audit_id, pack, unpack
from moln.identity.model.users import User
from moln.identity.ops.access import missing, require
from moln.identity.ops.examining import anew, examine, unauthorized
from moln.identity.ops.state import of, people_changed
from moln.identity.store import revocations
from moln.identity.store import users as user_store
from moln.identity.store.users import USERS
from moln.kernel.cloud import Cloud
from moln.kernel.context import Identity, RequestContext
from moln.kernel.db import Transaction
from moln.kernel.errors import NotFound, Unauthorized


class Grounds(Struct, frozen=True):
    """Why there may be a token: who it is for and how that was proved; what it derives from, and what lends it.

    thumbprint: of the certificate that it is bound to. ends_at: when what lends it ends, µs UTC.
    as_of: the state's generation before the user was read; -1: not to be relied on.
    """

    user: User
    methods: tuple[str, ...]
    parent: Payload | None = None
    application_credential_id: str | None = None
    trust_id: str | None = None
    access_token_id: str | None = None
    federated: Federated | None = None
    thumbprint: str | None = None
    ends_at: int | None = None
    as_of: int = -1


async def authenticate(cloud: Cloud, token: str) -> Identity:
    """Who a token proves. Raises: Unauthorized."""
    opened = of(cloud).token(token)
    if opened is not None and opened.payload.expires_at > cloud.clock.now_us():
        return opened.identity
    return (await open_token(cloud, token)).identity


async def open_token(cloud: Cloud, token: str) -> OpenToken:
    """What a token says now. Raises: Unauthorized, when it is not ours, expired, revoked, or its user, project or roles
    are gone or disabled.
    """
    state = of(cloud)
    opened = state.token(token)
    now = cloud.clock.now_us()
    if opened is not None:
        if opened.payload.expires_at > now:
            return opened
        state.forget(token)
        raise unauthorized()
    generation = state.generation
    try:
        payload = unpack(state.keys.open(token))
    except ValueError:
        raise unauthorized() from None
    if payload.expires_at <= now:
        raise unauthorized()
    opened = await examine(cloud.db, state, payload, now)
    state.keep(token, opened, generation)
    return opened


async def issue(cloud: Cloud, grounds: Grounds, scope: Scope) -> tuple[str, OpenToken]:
    """Seal a new token, or one derived from its parent: it expires no later. Raises: Unauthorized, without a role there."""
    state, now = of(cloud), cloud.clock.now_us()
    parent = grounds.parent
    own = audit_id(bytes.fromhex(cloud.ids.hex()))
    ends = now + settings.of(cloud).token_expiration_s * 1_000_000
    if parent is not None:
        ends = min(ends, parent.expires_at)
    if grounds.ends_at is not None:
        ends = min(ends, grounds.ends_at)
    payload = Payload(
        user_id=grounds.user.id,
        methods=grounds.methods,
        scope=scope,
        issued_at=max(now, grounds.user.tokens_from + 1),
        expires_at=ends,
        audit_ids=(own, parent.audit_ids[-1]) if parent else (own,),
        application_credential_id=grounds.application_credential_id,
        trust_id=grounds.trust_id,
        access_token_id=grounds.access_token_id,
        federated=grounds.federated or (parent.federated if parent else None),
        thumbprint=grounds.thumbprint or (parent.thumbprint if parent else None),
    )
    known, generation = (grounds.user, grounds.as_of) if grounds.as_of >= 0 else (None, state.generation)
    like = state.alike(payload)
    opened = anew(like, payload) if like else await examine(cloud.db, state, payload, now, new=True, user=known)
    token = state.keys.seal(pack(payload), now // 1_000_000)
    if len(token) > state.keys.longest:
        raise unauthorized(f"user {grounds.user.id} is in more groups than a token can tell")
    state.keep(token, opened, generation)
    return token, opened


async def open_late(cloud: Cloud, token: str) -> OpenToken:
    """What a token says now, or said until it expired, if that was not long ago. Raises: Unauthorized."""
    state, now = of(cloud), cloud.clock.now_us()
    try:
        payload = unpack(state.keys.open(token))
    except ValueError:
        raise unauthorized() from None
    if payload.expires_at > now:
        return await open_token(cloud, token)
    if payload.expires_at + settings.of(cloud).expired_window_s * 1_000_000 <= now:
        raise unauthorized()
    return await examine(cloud.db, state, payload, payload.expires_at - 1)


async def authenticate_late(cloud: Cloud, token: str, service_token: str) -> Identity:
    """Who a token proves, or proved, when the token of a service comes with it. Raises: Unauthorized."""
    if "service" not in (await authenticate(cloud, service_token)).roles:
        raise unauthorized()
    return (await open_late(cloud, token)).identity


async def subject(ctx: RequestContext, token: str | None, rule: str, late: bool = False) -> OpenToken:
    """The token that a request is about. late: though it has expired. Raises: NotFound, Forbidden."""
    if not token:
        require(ctx, rule)
        raise NotFound("Could not find token: .")
    try:
        opened = await (open_late if late else open_token)(ctx.cloud, token)
    except Unauthorized:
        raise NotFound("Failed to validate token") from None
    identity = opened.identity
    target = {"target.token.user_id": identity.user_id, "target.token.user.domain.id": identity.user_domain_id}
    if not ctx.allows("identity", rule, target):
        require(ctx, rule)
    return opened


async def revoke(ctx: RequestContext, token: str | None) -> None:
    """Void one token. Raises: NotFound, Forbidden."""
    opened = await subject(ctx, token, "identity:revoke_token")
    await ctx.db.write(_revoke_in, opened.payload, ctx.now_us)


async def _revoke_in(tx: Transaction, payload: Payload, now_us: int) -> None:
    row = {"audit_id": payload.audit_ids[0], "user_id": payload.user_id, "expires_at": payload.expires_at, "revoked_at": now_us}
    await tx.insert(revocations.REVOCATIONS, row, if_absent=True)
    await revocations.purge(tx, now_us)
    people_changed(tx, payload.user_id)


async def revoke_all_of(ctx: RequestContext, user_id: str) -> None:
    """Void every token of a user. Raises: NotFound, Forbidden."""
    user = await user_store.find(ctx.db, user_id)
    require(ctx, "identity:revoke_tokens_for_user", path={"user_id": user_id}, user=user)
    if user is None:
        raise missing("user", user_id)
    await ctx.db.write(revoke_all_in, user_id, ctx.now_us)


async def revoke_all_in(tx: Transaction, user_id: str, now_us: int) -> None:
    """The same inside a caller's transaction."""
    await tx.update(USERS, {"tokens_from": now_us}, id=user_id)
    people_changed(tx, user_id)
