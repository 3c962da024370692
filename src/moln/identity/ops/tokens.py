"""Tokens: sealed, opened once, cached, revoked."""

from __future__ import annotations

import base64

from moln.identity import settings
from moln.identity.model.credentials import ApplicationCredential
from moln.identity.model.projects import Project
from moln.identity.model.roles import implied
from moln.identity.model.tokens import OpenToken, Payload, Ref, Scope, audit_id, pack, unpack
from moln.identity.model.users import User
from moln.identity.ops import scopes
from moln.identity.ops.access import missing, require
from moln.identity.ops.state import State, of, people_changed
from moln.identity.store import credentials, revocations
from moln.identity.store import projects as project_store
from moln.identity.store import users as user_store
from moln.identity.store.users import USERS
from moln.kernel.cloud import Cloud
from moln.kernel.context import Identity, RequestContext
from moln.kernel.db import Reader, Transaction
from moln.kernel.errors import NotFound, Unauthorized

MAX_CHAIN = 2  # audit ids that a token carries: its own and the first of its chain


def unauthorized(detail: str | None = None) -> Unauthorized:
    """The one refusal that says nothing. detail: for the log."""
    return Unauthorized("The request you have made requires authentication.", detail=detail)


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
    opened = await _examine(cloud.db, state, payload)
    state.keep(token, opened, generation)
    return opened


async def issue(
    cloud: Cloud, user: User, methods: tuple[str, ...], scope: Scope, parent: Payload | None, by: ApplicationCredential | None = None
) -> tuple[str, OpenToken]:
    """Seal a new token, or one derived from `parent`: it expires no later. by: the credential that bounds it.

    Raises: Unauthorized, without a role there.
    """
    state, now = of(cloud), cloud.clock.now_us()
    own = audit_id(base64.b16decode(cloud.ids.uuid().replace("-", "").upper()))
    bounds = [now + settings.of(cloud).token_expiration_s * 1_000_000]
    bounds += [parent.expires_at] if parent else []
    bounds += [by.expires_at] if by and by.expires_at is not None else []
    payload = Payload(
        user_id=user.id,
        methods=methods,
        scope=scope,
        issued_at=max(now, user.tokens_from + 1),
        expires_at=min(bounds),
        audit_ids=(own, parent.audit_ids[-1]) if parent else (own,),
        application_credential_id=by.id if by else None,
    )
    generation = state.generation
    opened = await _examine(cloud.db, state, payload)
    token = state.keys.seal(pack(payload), now // 1_000_000)
    state.keep(token, opened, generation)
    return token, opened


async def _examine(db: Reader, state: State, payload: Payload) -> OpenToken:
    """Look up everything that a payload names, and refuse it where something is amiss."""
    user = await user_store.find(db, payload.user_id)
    if user is None or not user.enabled or payload.issued_at <= user.tokens_from:
        raise unauthorized()
    user_domain = await _domain(db, user.domain_id)
    if len(payload.audit_ids) > MAX_CHAIN or await revocations.is_revoked(db, payload.audit_ids[0]):
        raise unauthorized()
    scope = payload.scope
    project = domain = project_domain = None
    if scope.project_id is not None:
        project = await project_store.find(db, scope.project_id)
        if project is None or not project.enabled or project.domain_id is None:
            raise unauthorized()
        project_domain = await _domain(db, project.domain_id)
    elif scope.domain_id is not None:
        domain = await _domain(db, scope.domain_id)
    roles = await scopes.roles_on(db, state, user.id, scope, project)
    credential = None
    if payload.application_credential_id is not None:
        credential = await credentials.find_application(db, payload.application_credential_id)
        if credential is None or (credential.user_id, credential.project_id) != (user.id, scope.project_id):
            raise unauthorized()
        _, implications = await state.roles(db)
        delegated = set(implied(credential.roles, implications))
        roles = [role for role in roles if role.id in delegated]
    if scope != Scope() and not roles:
        raise unauthorized(f"user {user.id} has no role on {scope}")
    identity = Identity(
        user_id=user.id,
        user_name=user.name,
        user_domain_id=user.domain_id,
        project_id=scope.project_id,
        project_name=project.name if project else None,
        project_domain_id=project.domain_id if project else None,
        domain_id=scope.domain_id,
        system_scope="all" if scope.system else None,
        roles=frozenset(role.name.lower() for role in roles),
        audit_id=payload.audit_ids[0],
        expires_at=payload.expires_at,
        restricted=credential is not None and not credential.unrestricted,
    )
    return OpenToken(
        payload,
        identity,
        user=Ref(user.id, user.name),
        user_domain=_ref(user_domain),
        project=_ref(project) if project else None,
        project_domain=_ref(project_domain) if project_domain else None,
        domain=_ref(domain) if domain else None,
        roles=tuple(Ref(role.id, role.name) for role in roles),
        application_credential=credential,
    )


async def _domain(db: Reader, domain_id: str) -> Project:
    domain = await project_store.find_domain(db, domain_id)
    if domain is None or not domain.enabled:
        raise unauthorized()
    return domain


def _ref(thing: Project) -> Ref:
    return Ref(thing.id, thing.name)


async def subject(ctx: RequestContext, token: str | None, rule: str) -> OpenToken:
    """The token that a request is about. Raises: NotFound, Forbidden."""
    if not token:
        require(ctx, rule)
        raise NotFound("Could not find token: .")
    try:
        opened = await open_token(ctx.cloud, token)
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
    row = {"audit_id": payload.audit_ids[0], "user_id": payload.user_id, "expires_at": payload.expires_at}
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
