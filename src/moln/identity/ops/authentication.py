"""From what somebody shows to a token: the methods, then the scope."""

from __future__ import annotations

from msgspec import Struct

from moln.identity.model.credentials import ApplicationCredential
from moln.identity.model.projects import Project
from moln.identity.model.tokens import OpenToken, Payload, Scope
from moln.identity.model.users import User
from moln.identity.ops import tokens
from moln.identity.ops.access import lacking
from moln.identity.ops.state import of
from moln.identity.ops.tokens import unauthorized
from moln.identity.store import credentials
from moln.identity.store import projects as project_store
from moln.identity.store import users as user_store
from moln.kernel.cloud import Cloud
from moln.kernel.db import Reader
from moln.kernel.errors import Unauthorized


class Named(Struct, frozen=True):
    """Something by its id, or by its name and that of its domain."""

    id: str | None = None
    name: str | None = None
    domain: Named | None = None


class Wanted(Struct, frozen=True):
    """The scope asked for; none of them: the user's default project, where they have one."""

    project: Named | None = None
    domain: Named | None = None
    system: bool = False
    unscoped: bool = False


class ProgramShown(Struct, frozen=True):
    """An application credential and its secret: by its id, or by its name and its user."""

    secret: str
    id: str | None = None
    name: str | None = None
    user: Named | None = None


class Shown(Struct, frozen=True):
    """What proves somebody: a user and password, a token, or both for one user; or an application credential alone."""

    user: Named | None = None
    password: str = ""
    token: str | None = None
    program: ProgramShown | None = None


async def authenticate(cloud: Cloud, shown: Shown, wanted: Wanted) -> tuple[str, OpenToken]:
    """A new token. Every attempt with a password costs exactly one hash. Raises: Unauthorized, Invalid."""
    if shown.program is not None:
        if wanted != Wanted():
            raise Unauthorized("Application credentials cannot request a scope.")
        person, by = await _by_program(cloud, shown.program)
        return await tokens.issue(cloud, person, ("application_credential",), Scope(project_id=by.project_id), None, by)
    user: User | None = None
    parent: Payload | None = None
    methods: tuple[str, ...] = ()
    if shown.user is not None:
        user = await _by_password(cloud, shown.user, shown.password)
        methods = ("password",)
    if shown.token is not None:
        parent = (await tokens.open_token(cloud, shown.token)).payload
        methods = tuple(sorted({*methods, *parent.methods, "token"}))
        if user is None:
            user = await user_store.find(cloud.db, parent.user_id)
        if user is None or user.id != parent.user_id:
            raise unauthorized()
    if user is None:
        raise unauthorized()
    scope = await _scope(cloud.db, wanted)
    if parent is not None and parent.application_credential_id is not None:  # what was delegated leads nowhere else
        if scope is not None and scope != parent.scope:
            raise unauthorized()
        delegated = await credentials.find_application(cloud.db, parent.application_credential_id)
        if delegated is None:
            raise unauthorized()
        return await tokens.issue(cloud, user, methods, parent.scope, parent, delegated)
    if scope is None:
        try:
            if user.default_project_id is not None:
                return await tokens.issue(cloud, user, methods, Scope(project_id=user.default_project_id), parent)
        except Unauthorized:
            pass  # a default project out of reach is no obstacle: the token is unscoped
        scope = Scope()
    return await tokens.issue(cloud, user, methods, scope, parent)


async def _by_password(cloud: Cloud, who: Named, password: str) -> User:
    """The user whose password it is; as slow and as silent when there is no such user. Raises: Unauthorized, Invalid."""
    if who.id is None and who.name is None:
        raise lacking("id or name", "user")
    if who.id is None and who.domain is None:
        raise lacking("domain", "user")
    user = await _find_user(cloud.db, who)
    hashed = await user_store.password_hash(cloud.db, user.id) if user else None
    right = await of(cloud).passwords.verify(hashed, password)
    if user is None or not right:
        raise unauthorized()
    user = await user_store.find(cloud.db, user.id)  # it may have changed during the hash
    if user is None or not user.enabled or hashed != await user_store.password_hash(cloud.db, user.id):
        raise unauthorized()
    domain = await project_store.find_domain(cloud.db, user.domain_id)
    if domain is None or not domain.enabled:
        raise unauthorized()
    return user


async def _by_program(cloud: Cloud, shown: ProgramShown) -> tuple[User, ApplicationCredential]:
    """The user whose credential it is; as slow and as silent when there is none. Raises: Unauthorized, Invalid."""
    db = cloud.db
    found: ApplicationCredential | None = None
    if shown.id is not None:
        found = await credentials.find_application(db, shown.id)
    else:
        if shown.name is None:
            raise lacking("id or name", "application_credential")
        who = shown.user or Named()
        if who.id is None and (who.name is None or who.domain is None):
            raise lacking("user", "application_credential")
        owner = await _find_user(db, who)
        found = await credentials.find_named(db, owner.id, shown.name) if owner else None
    hashed = await credentials.secret_hash(db, found.id) if found else None
    right = await of(cloud).passwords.verify(hashed, shown.secret)
    if found is None or not right or (found.expires_at is not None and found.expires_at <= cloud.clock.now_us()):
        raise unauthorized()
    user = await user_store.find(db, found.user_id)
    if user is None or not user.enabled:
        raise unauthorized()
    return user, found


async def _find_user(db: Reader, who: Named) -> User | None:
    if who.id is not None:
        return await user_store.find(db, who.id)
    domain = await _find_domain(db, who.domain or Named())
    return await user_store.find_named(db, who.name or "", domain.id) if domain else None


async def _find_domain(db: Reader, which: Named) -> Project | None:
    if which.id is not None:
        return await project_store.find_domain(db, which.id)
    return await project_store.find_domain_named(db, which.name or "")


async def _scope(db: Reader, wanted: Wanted) -> Scope | None:
    """The scope by ids; None, when the caller left it to us. Raises: Unauthorized, Invalid."""
    if wanted.system:
        return Scope(system=True)
    if wanted.unscoped:
        return Scope()
    if wanted.domain is not None:
        domain = await _find_domain(db, wanted.domain)
        if domain is None:
            raise unauthorized()
        return Scope(domain_id=domain.id)
    if wanted.project is None:
        return None
    if wanted.project.id is not None:
        return Scope(project_id=wanted.project.id)
    if wanted.project.domain is None:
        raise lacking("domain", "project")
    domain = await _find_domain(db, wanted.project.domain)
    project = await project_store.find_named(db, wanted.project.name or "", domain.id) if domain else None
    if project is None:
        raise unauthorized()
    return Scope(project_id=project.id)
