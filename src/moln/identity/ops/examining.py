"""What a token's payload says now: everybody and everything that it names is looked up, and refused where something is amiss."""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from moln.identity.model.credentials import ApplicationCredential, KeptRule
from moln.identity.model.oauth1 import AccessToken
from moln.identity.model.projects import Project
from moln.identity.model.roles import Role, implied
from moln.identity.model.tokens import OpenToken, Payload, Ref, Scope
from moln.identity.model.trusts import Trust, origin
from moln.identity.model.users import User
from moln.identity.ops import scopes
from moln.identity.ops.state import State
from moln.identity.store import credentials, federation, oauth1, revocations, trusts
from moln.identity.store import projects as project_store
from moln.identity.store import users as user_store
from moln.kernel.context import AccessRule, Identity
from moln.kernel.db import Reader
from moln.kernel.errors import Unauthorized

MAX_CHAIN = 2  # audit ids that a token carries: its own and the first of its chain


def unauthorized(detail: str | None = None) -> Unauthorized:
    """The one refusal that says nothing. detail: for the log."""
    return Unauthorized("The request you have made requires authentication.", detail=detail)


class Lent(Struct):
    """What a token was delegated by. role_ids: the roles that were, None: all; lender: whose they are; users: who else matters.

    access_rules: the only requests that it is good for.
    """

    lender: str
    role_ids: list[str] | None = None
    application_credential: ApplicationCredential | None = None
    access_rules: tuple[KeptRule, ...] | None = None
    trust: Trust | None = None
    access_token: AccessToken | None = None
    users: tuple[str, ...] = ()


async def examine(db: Reader, state: State, payload: Payload, now_us: int, *, new: bool = False, user: User | None = None) -> OpenToken:
    """new: nobody has seen it yet, so nobody has revoked it. user: whose it is, where somebody has just looked. Raises: Unauthorized."""
    if user is None:
        user = await active_user(db, payload.user_id)
    if payload.issued_at <= user.tokens_from:
        raise unauthorized()
    user_domain = await active_domain(db, user.domain_id, state)
    if len(payload.audit_ids) > MAX_CHAIN or (not new and await revocations.is_revoked(db, payload.audit_ids[0])):
        raise unauthorized()
    if payload.federated is not None:
        provider = await federation.find_provider(db, payload.federated.idp_id)
        if provider is None or not provider.enabled:
            raise unauthorized()
    scope = payload.scope
    project = domain = project_domain = None
    if scope.project_id is not None:
        project = await project_store.find(db, scope.project_id)
        if project is None or not project.enabled or project.domain_id is None:
            raise unauthorized()
        project_domain = await active_domain(db, project.domain_id, state)
    elif scope.domain_id is not None:
        domain = await active_domain(db, scope.domain_id, state)
    lent = await _lent(db, payload, user, now_us)
    roles = await _roles(db, state, payload, lent, project)
    if scope != Scope() and not roles:
        raise unauthorized(f"user {user.id} has no role on {scope}")
    return OpenToken(
        payload,
        _identity(payload, user, project, roles, lent),
        user=Ref(user.id, user.name),
        user_domain=_ref(user_domain),
        project=_ref(project) if project else None,
        project_domain=_ref(project_domain) if project_domain else None,
        domain=_ref(domain) if domain else None,
        roles=tuple(Ref(role.id, role.name) for role in roles),
        application_credential=lent.application_credential,
        access_rules=lent.access_rules,
        trust=lent.trust,
        access_token=lent.access_token,
        users=(user.id, *lent.users),
        password_expires_at=user.expires_at,
        account=user,
    )


def anew(like: OpenToken, payload: Payload) -> OpenToken:
    """What a new token says, of one of the same user on the same scope that is kept: whatever changes for them, that is forgotten."""
    identity = replace(like.identity, audit_id=payload.audit_ids[0], expires_at=payload.expires_at)
    return replace(like, payload=payload, identity=identity, rendered={})


def _identity(payload: Payload, user: User, project: Project | None, roles: list[Role], lent: Lent) -> Identity:
    credential, rules = lent.application_credential, lent.access_rules
    return Identity(
        user_id=user.id,
        user_name=user.name,
        user_domain_id=user.domain_id,
        project_id=payload.scope.project_id,
        project_name=project.name if project else None,
        project_domain_id=project.domain_id if project else None,
        domain_id=payload.scope.domain_id,
        system_scope="all" if payload.scope.system else None,
        roles=frozenset(role.name.lower() for role in roles),
        audit_id=payload.audit_ids[0],
        expires_at=payload.expires_at,
        restricted=(credential is not None and not credential.unrestricted) or (payload.lent and lent.trust is None),
        access_rules=None if rules is None else tuple(AccessRule(r.service, r.method, r.path) for r in rules),
        trust_id=payload.trust_id,
        application_credential_id=payload.application_credential_id,
        access_token_id=payload.access_token_id,
        groups=payload.federated.group_ids if payload.federated else (),
        bound_to=payload.thumbprint,
    )


async def _roles(db: Reader, state: State, payload: Payload, lent: Lent, project: Project | None) -> list[Role]:
    """The lender's roles on the scope, less what was not lent. Raises: Unauthorized, when a trust lends what its trustor has no more."""
    groups = payload.federated.group_ids if payload.federated else ()
    roles = await scopes.roles_on(db, state, lent.lender, payload.scope, project, groups)
    if lent.role_ids is None:
        return roles
    known, implications = await state.roles(db)
    if lent.trust is not None:
        global_ones = {role_id for role_id in lent.role_ids if role_id in known and known[role_id].domain_id is None}
        if not global_ones <= {role.id for role in roles}:
            raise unauthorized("the trustor lacks a role of the trust")
    delegated = set(implied(lent.role_ids, implications))
    return [role for role in roles if role.id in delegated]


async def _lent(db: Reader, payload: Payload, user: User, now_us: int) -> Lent:
    """Raises: Unauthorized, when what the token came from is gone or over."""
    project_id = payload.scope.project_id
    if payload.application_credential_id is not None:
        credential = await credentials.find_application(db, payload.application_credential_id)
        if credential is None or (credential.user_id, credential.project_id) != (user.id, project_id):
            raise unauthorized()
        rules = await credentials.rules_of(db, credential)
        return Lent(user.id, credential.roles, application_credential=credential, access_rules=rules)
    if payload.trust_id is not None:
        return await _by_trust(db, payload, user, now_us)
    if payload.access_token_id is not None:
        access = await oauth1.find_access(db, payload.access_token_id)
        if access is None or (access.authorizing_user_id, access.project_id) != (user.id, project_id) or access.expires_at <= now_us:
            raise unauthorized()
        return Lent(user.id, access.role_ids, access_token=access)
    return Lent(user.id)


async def _by_trust(db: Reader, payload: Payload, user: User, now_us: int) -> Lent:
    trust = await trusts.find(db, payload.trust_id or "")
    if trust is None or (trust.expires_at is not None and trust.expires_at <= now_us) or trust.project_id != payload.scope.project_id:
        raise unauthorized()
    if user.id != (trust.trustor_user_id if trust.impersonation else trust.trustee_user_id):
        raise unauthorized()
    chain = await trusts.chain(db, trust)
    if chain is None:
        raise unauthorized()
    people = {person: await active_user(db, person) for link in chain for person in (link.trustor_user_id, link.trustee_user_id)}
    for domain_id in {person.domain_id for person in people.values()}:
        await active_domain(db, domain_id)
    return Lent(origin(chain), trust.roles if trust.project_id else None, trust=trust, users=tuple(people))


async def active_user(db: Reader, user_id: str) -> User:
    """Raises: Unauthorized."""
    user = await user_store.find(db, user_id)
    if user is None or not user.enabled:
        raise unauthorized()
    return user


async def active_domain(db: Reader, domain_id: str, state: State | None = None) -> Project:
    """state: what it may be remembered by. Raises: Unauthorized."""
    domain = await (state.domain(db, domain_id) if state else project_store.find_domain(db, domain_id))
    if domain is None or not domain.enabled:
        raise unauthorized()
    return domain


def _ref(thing: Project) -> Ref:
    return Ref(thing.id, thing.name)
