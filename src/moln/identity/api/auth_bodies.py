"""What `POST /v3/auth/tokens` takes, and what it amounts to."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct

from moln.identity.model.tokens import METHODS
from moln.identity.ops.access import lacking
from moln.identity.ops.authentication import Shown, UserShown, Wanted
from moln.identity.ops.naming import Named
from moln.identity.ops.proving import ProgramShown
from moln.kernel.errors import Invalid, Unauthorized

MAX_METHODS = 8
BY_USER = frozenset({"password", "totp"})


class _User(Struct):
    id: str | None = None
    name: str | None = None
    password: str | None = None
    passcode: Annotated[str, Meta(max_length=64)] | None = None
    domain: Named | None = None


class _ByUser(Struct):
    user: _User


class _Token(Struct):
    id: str


class _Program(Struct):
    secret: str
    id: str | None = None
    name: str | None = None
    user: _User | None = None


class _System(Struct):
    all: bool = False


class _TrustRef(Struct):
    id: str


class _Scope(Struct, rename={"trust": "OS-TRUST:trust"}):
    project: Named | None = None
    domain: Named | None = None
    system: _System | None = None
    unscoped: dict[str, Any] | None = None
    trust: _TrustRef | None = None


class _Identity(Struct):
    methods: Annotated[list[str], Meta(max_length=MAX_METHODS)]
    password: _ByUser | None = None
    totp: _ByUser | None = None
    token: _Token | None = None
    application_credential: _Program | None = None
    oauth1: dict[str, Any] | None = None


class Auth(Struct):
    identity: _Identity
    scope: _Scope | str | None = None


def shown(auth: dict[str, Any], identity: _Identity) -> Shown:
    """auth: the same as it came. Whether OAuth is among the methods, the caller sees. Raises: Invalid, Unauthorized."""
    methods = set(identity.methods)
    for method in identity.methods:
        if method not in METHODS or method in ("mapped", "ec2credential", "oauth2_credential"):
            raise Unauthorized("Attempted to authenticate with an unsupported method.")
        if method not in auth["identity"] and method != "oauth1":
            raise lacking(method, "identity")
    for alone in ("application_credential", "oauth1"):
        if alone in methods and methods != {alone}:
            raise Unauthorized(f"{alone} is shown alone.")
    if "application_credential" in methods and identity.application_credential is not None:
        given = identity.application_credential
        who = Named(given.user.id, given.user.name, given.user.domain) if given.user else None
        return Shown(program=ProgramShown(given.secret, given.id, given.name, who))
    password = _by_user(identity.password, "password") if "password" in methods else None
    totp = _by_user(identity.totp, "totp") if "totp" in methods else None
    token = identity.token.id if "token" in methods and identity.token is not None else None
    if password is None and totp is None and token is None and "oauth1" not in methods:
        raise lacking("password or token", "identity")
    return Shown(password, totp, token)


def _by_user(given: _ByUser | None, method: str) -> UserShown | None:
    if given is None:
        return None
    user = given.user
    if user.id is None and user.name is None:
        raise Invalid(f"Invalid input for field identity/{method}/user: id or name must be present.", field="user")
    check_named(user.domain, f"identity/{method}/user/domain")
    return UserShown(Named(user.id, user.name, user.domain), (user.password if method == "password" else user.passcode) or "")


def check_named(thing: Named | None, where: str) -> None:
    """Raises: Invalid, when it names nothing."""
    if thing is not None and thing.id is None and thing.name is None:
        raise Invalid(f"Invalid input for field {where}: id or name must be present.", field=where.rpartition("/")[2])


def wanted(scope: _Scope | str | None) -> Wanted:
    """Raises: Invalid."""
    if scope is None:
        return Wanted()
    if isinstance(scope, str):
        if scope != "unscoped":
            raise Invalid("Invalid input for field scope: the only word for a scope is 'unscoped'.", field="scope")
        return Wanted(unscoped=True)
    given = [part for part in (scope.project, scope.domain, scope.system, scope.unscoped, scope.trust) if part is not None]
    if len(given) != 1:
        raise lacking("system, project, domain, OS-TRUST:trust or unscoped", "scope")
    if scope.system is not None and not scope.system.all:
        raise Invalid("Invalid input for field scope/system: only all is a system scope.", field="system")
    check_named(scope.project, "scope/project")
    check_named(scope.domain, "scope/domain")
    if scope.project is not None:
        check_named(scope.project.domain, "scope/project/domain")
    trust = scope.trust.id if scope.trust is not None else None
    return Wanted(scope.project, scope.domain, scope.system is not None, scope.unscoped is not None, trust)
