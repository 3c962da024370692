"""From what somebody shows to a token: the methods, whether they are enough, then the scope."""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from moln.identity import settings
from moln.identity.model.oauth1 import AccessToken
from moln.identity.model.tokens import Federated, OpenToken, Receipt, Scope, pack_receipt, unpack_receipt
from moln.identity.model.users import User
from moln.identity.ops import proving, tokens
from moln.identity.ops.access import lacking
from moln.identity.ops.examining import active_user
from moln.identity.ops.naming import Named, find_domain
from moln.identity.ops.proving import ProgramShown
from moln.identity.ops.state import of
from moln.identity.ops.tokens import Grounds, unauthorized
from moln.identity.store import credentials, trusts
from moln.identity.store import projects as project_store
from moln.kernel.cloud import Cloud
from moln.kernel.errors import Forbidden, Unauthorized


class Wanted(Struct, frozen=True):
    """The scope asked for; none of them: the user's default project, where they have one. trust: its id."""

    project: Named | None = None
    domain: Named | None = None
    system: bool = False
    unscoped: bool = False
    trust: str | None = None


class UserShown(Struct, frozen=True):
    """A user, and the password or passcode that should be theirs."""

    user: Named
    secret: str


class Shown(Struct, frozen=True):
    """What proves somebody, a part a method; all of them must prove one user. receipt: of methods shown before.

    access_token: of OAuth, its signature found good. mapped: who an identity provider says it is.
    """

    password: UserShown | None = None
    totp: UserShown | None = None
    token: str | None = None
    program: ProgramShown | None = None
    access_token: AccessToken | None = None
    mapped: tuple[User, Federated] | None = None
    receipt: str | None = None


class MoreNeeded(Unauthorized):
    """The user's rules ask for more methods. receipt: what counts as shown with it; text: the same sealed; rules: what would do."""

    def __init__(self, receipt: Receipt, text: str, user: User, rules: list[list[str]]):
        super().__init__("Additional authentications steps required.")
        self.receipt, self.text, self.user, self.rules = receipt, text, user, rules


async def authenticate(cloud: Cloud, shown: Shown, wanted: Wanted) -> tuple[str, OpenToken]:
    """A new token. Every attempt with a password costs exactly one hash. Raises: Unauthorized, MoreNeeded, Invalid, Forbidden."""
    if (shown.program or shown.access_token) and wanted != Wanted():
        raise Unauthorized("Application credentials cannot request a scope." if shown.program else "Cannot change what OAuth was granted for.")
    as_of = of(cloud).generation
    grounds, bound = await _prove(cloud, shown)
    grounds = replace(_enough(cloud, grounds, shown.receipt), as_of=as_of)
    if bound is not None:
        return await tokens.issue(cloud, grounds, bound)
    if wanted.trust is not None:
        return await _by_trust(cloud, grounds, wanted.trust)
    parent, scope = grounds.parent, await _scope(cloud, wanted)
    if parent is not None and parent.application_credential_id is not None:  # what was delegated leads nowhere else
        if scope is not None and scope != parent.scope:
            raise unauthorized()
        credential = await credentials.find_application(cloud.db, parent.application_credential_id)
        if credential is None:
            raise unauthorized()
        return await tokens.issue(cloud, replace(grounds, application_credential_id=credential.id, ends_at=credential.expires_at), parent.scope)
    if scope is None:
        default = grounds.user.default_project_id
        try:
            if default is not None:
                return await tokens.issue(cloud, grounds, Scope(project_id=default))
        except Unauthorized:
            pass  # a default project out of reach is no obstacle: the token is unscoped
        scope = Scope()
    return await tokens.issue(cloud, grounds, scope)


async def _prove(cloud: Cloud, shown: Shown) -> tuple[Grounds, Scope | None]:
    """Whom all that is shown proves, and the only scope that it is good for. Raises: Unauthorized, Invalid, Forbidden."""
    if shown.program is not None:
        user, by = await proving.by_program(cloud, shown.program)
        grounds = Grounds(user, ("application_credential",), application_credential_id=by.id, ends_at=by.expires_at)
        return grounds, Scope(project_id=by.project_id)
    if shown.access_token is not None:
        access = shown.access_token
        user = await active_user(cloud.db, access.authorizing_user_id)
        return Grounds(user, ("oauth1",), access_token_id=access.id, ends_at=access.expires_at), Scope(project_id=access.project_id)
    proved: list[User] = []
    methods: set[str] = set()
    if shown.mapped is not None:
        proved.append(shown.mapped[0])
        methods.add("mapped")
    if shown.password is not None:
        proved.append(await proving.by_password(cloud, shown.password.user, shown.password.secret))
        methods.add("password")
    if shown.totp is not None:
        proved.append(await proving.by_totp(cloud, shown.totp.user, shown.totp.secret))
        methods.add("totp")
    parent = None
    if shown.token is not None:
        opened = await tokens.open_token(cloud, shown.token)
        parent = opened.payload
        if parent.lent:
            raise Forbidden("Using a token that was delegated to create another token. Create a new one of what delegates it instead.")
        methods |= {*parent.methods, "token"}
        if not proved:
            proved.append(opened.account or await active_user(cloud.db, parent.user_id))
    if not proved or {user.id for user in proved} | ({parent.user_id} if parent else set()) != {proved[0].id}:
        raise unauthorized()
    return Grounds(proved[0], tuple(sorted(methods)), parent, federated=shown.mapped[1] if shown.mapped else None), None


def _enough(cloud: Cloud, grounds: Grounds, receipt: str | None) -> Grounds:
    """The grounds with what a receipt says was shown before. A token was asked for all of it already. Raises: Unauthorized, MoreNeeded."""
    state, now = of(cloud), cloud.clock.now_us()
    user, methods = grounds.user, set(grounds.methods)
    if receipt is not None:
        try:
            before = unpack_receipt(state.keys.open(receipt))
        except ValueError:
            raise unauthorized() from None
        if before.expires_at <= now or before.user_id != user.id or before.issued_at <= user.tokens_from:
            raise unauthorized()
        methods |= set(before.methods)
    rules = user.rules
    if rules and grounds.parent is None and not any(set(rule) <= methods for rule in rules):
        issued = max(now, user.tokens_from + 1)
        made = Receipt(user.id, tuple(sorted(methods)), issued, now + settings.of(cloud).receipt_expiration_s * 1_000_000)
        raise MoreNeeded(made, state.keys.seal(pack_receipt(made), now // 1_000_000), user, rules)
    return replace(grounds, methods=tuple(sorted(methods)))


async def _by_trust(cloud: Cloud, grounds: Grounds, trust_id: str) -> tuple[str, OpenToken]:
    """A token of a trust for its trustee. Raises: Unauthorized, Forbidden."""
    trust, now = await trusts.find(cloud.db, trust_id), cloud.clock.now_us()
    if trust is None or (trust.expires_at is not None and trust.expires_at <= now):
        raise unauthorized()
    if grounds.parent is not None and grounds.parent.application_credential_id is not None:
        raise unauthorized()
    if grounds.user.id != trust.trustee_user_id:
        raise Forbidden("User is not a trustee.")
    if trust.remaining_uses == 0:
        raise Forbidden(f"No remaining uses for trust: {trust.id}")
    user = grounds.user
    if trust.impersonation:
        user = await active_user(cloud.db, trust.trustor_user_id)
    lent = replace(grounds, user=user, trust_id=trust.id, ends_at=trust.expires_at, federated=None)
    token, opened = await tokens.issue(cloud, lent, Scope(project_id=trust.project_id))
    if trust.remaining_uses is not None and not await cloud.db.write(trusts.use, trust.id):
        raise Forbidden(f"No remaining uses for trust: {trust.id}")
    return token, opened


async def _scope(cloud: Cloud, wanted: Wanted) -> Scope | None:
    """The scope by ids; None, when the caller left it to us. Raises: Unauthorized, Invalid."""
    db = cloud.db
    if wanted.system:
        return Scope(system=True)
    if wanted.unscoped:
        return Scope()
    if wanted.domain is not None:
        domain = await find_domain(db, wanted.domain)
        if domain is None:
            raise unauthorized()
        return Scope(domain_id=domain.id)
    if wanted.project is None:
        return None
    if wanted.project.id is not None:
        return Scope(project_id=wanted.project.id)
    if wanted.project.domain is None:
        raise lacking("domain", "project")
    domain = await find_domain(db, wanted.project.domain, of(cloud))
    project = await project_store.find_named(db, wanted.project.name or "", domain.id) if domain else None
    if project is None:
        raise unauthorized()
    return Scope(project_id=project.id)
