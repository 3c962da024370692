"""OAuth 1.0a: a consumer asks, a user agrees, the consumer signs (RFC 5849)."""

from __future__ import annotations

import hmac
import secrets
import string

from msgspec import Struct

from moln.identity.model.oauth1 import ACCESS_S, HASHES, REQUEST_S, AccessToken, RequestToken, base_string, sign
from moln.identity.model.roles import Role
from moln.identity.model.tokens import Scope
from moln.identity.ops import scopes
from moln.identity.ops.access import missing, refuse_lent, require
from moln.identity.ops.examining import unauthorized
from moln.identity.ops.state import of, people_changed
from moln.identity.store import oauth1 as store
from moln.identity.store import projects as project_store
from moln.identity.store import users as user_store
from moln.identity.store.holding import hold
from moln.identity.store.oauth1 import ACCESS_TOKENS, CONSUMERS, REQUEST_TOKENS
from moln.identity.store.users import USERS
from moln.kernel.cloud import Cloud
from moln.kernel.context import RequestContext
from moln.kernel.db import Transaction
from moln.kernel.errors import Forbidden, Invalid

SKEW_S = 600  # how far a request's time may be from ours, in seconds
_LETTERS = string.ascii_letters + string.digits


class Signed(Struct, frozen=True):
    """A request as it was signed. urls: what its address may have been to who signed it. params: of the Authorization header.

    query: the parameters besides.
    """

    method: str
    urls: tuple[str, ...]
    params: dict[str, str]
    query: tuple[tuple[str, str], ...] = ()

    def get(self, name: str) -> str:
        """Raises: Invalid."""
        found = self.params.get(f"oauth_{name}")
        if not found:
            raise Invalid(f"The OAuth parameter oauth_{name} is missing.", field=f"oauth_{name}")
        return found


def _check(cloud: Cloud, signed: Signed, consumer_secret: str, token_secret: str = "") -> None:
    """Raises: Unauthorized, Invalid."""
    how, given = signed.get("signature_method"), signed.get("signature")
    if how not in HASHES or signed.params.get("oauth_version", "1.0") != "1.0":
        raise Invalid(f"Only OAuth 1.0 with one of {', '.join(HASHES)} is understood.", field="oauth_signature_method")
    try:
        at = int(signed.get("timestamp"))
    except ValueError:
        raise Invalid("oauth_timestamp is no number.", field="oauth_timestamp") from None
    signed.get("nonce")
    if abs(cloud.clock.now_us() // 1_000_000 - at) > SKEW_S:
        raise unauthorized("an OAuth request of another time")
    pairs = [*signed.query, *((k, v) for k, v in signed.params.items() if k not in ("oauth_signature", "realm"))]
    for url in signed.urls:
        right = sign(how, base_string(signed.method, url, pairs), consumer_secret, token_secret)
        if right is not None and hmac.compare_digest(right.encode(), given.encode()):
            return
    raise unauthorized("an OAuth signature that does not fit")


def _open(cloud: Cloud, sealed: str) -> str:
    return of(cloud).vault.open(sealed).decode()


async def _consumer_secret(cloud: Cloud, signed: Signed) -> tuple[str, str]:
    """The consumer's id and secret. Raises: Unauthorized, Invalid."""
    consumer = await store.find_consumer(cloud.db, signed.get("consumer_key"))
    if consumer is None:
        raise unauthorized()
    return consumer.id, _open(cloud, consumer.sealed)


async def ask(cloud: Cloud, signed: Signed, project_id: str) -> tuple[RequestToken, str]:
    """What a consumer wants of a project, and the secret that goes with it. Raises: Unauthorized, Invalid, NotFound."""
    consumer_id, secret = await _consumer_secret(cloud, signed)
    _check(cloud, signed, secret)
    if await project_store.find(cloud.db, project_id) is None:
        raise missing("project", project_id)
    now, own = cloud.clock.now_us(), cloud.ids.hex()
    made = RequestToken(cloud.ids.hex(), of(cloud).vault.seal(own.encode(), now // 1_000_000), consumer_id, project_id, now + REQUEST_S * 1_000_000)
    await cloud.db.write(_ask_in, made, now)
    return made, own


async def _ask_in(tx: Transaction, made: RequestToken, now_us: int) -> None:
    await store.purge(tx, now_us)
    if not await hold(tx, CONSUMERS, made.consumer_id):
        raise unauthorized()
    await tx.insert(REQUEST_TOKENS, made)


async def agree(ctx: RequestContext, token_id: str, asked: list[tuple[str | None, str | None]]) -> str:
    """Lend roles on the project asked for; the verifier that the consumer has to be told. Raises: Forbidden, NotFound, Unauthorized."""
    require(ctx, "identity:authorize_request_token")
    refuse_lent(ctx)
    request = await store.find_request(ctx.db, token_id)
    if request is None or request.expires_at <= ctx.now_us:
        raise missing("request token", token_id)
    project = await project_store.find(ctx.db, request.requested_project_id)
    state = of(ctx.cloud)
    held = await scopes.roles_on(ctx.db, state, ctx.user_id or "", Scope(project_id=request.requested_project_id), project)
    chosen = []
    for id_, name in asked:
        role = next((r for r in held if r.id == id_ or (id_ is None and r.name == name)), None)
        if role is None:
            raise Forbidden("authorizing user does not have role required")
        chosen.append(role.id)
    if not chosen:
        raise Invalid("At least one role is needed.", field="roles")
    verifier = "".join(secrets.choice(_LETTERS) for _ in range(8))
    columns = {"verifier": verifier, "authorizing_user_id": ctx.user_id, "role_ids": sorted(set(chosen))}
    await ctx.db.write(_agree_in, token_id, columns)
    return verifier


async def _agree_in(tx: Transaction, token_id: str, columns: dict[str, object]) -> None:
    if not await tx.update(REQUEST_TOKENS, columns, id=token_id):
        raise missing("request token", token_id)


async def exchange(cloud: Cloud, signed: Signed) -> tuple[AccessToken, str]:
    """An access token for a request token that a user agreed to, and its secret. Raises: Unauthorized, Invalid, NotFound."""
    consumer_id, secret = await _consumer_secret(cloud, signed)
    request = await store.find_request(cloud.db, signed.get("token"))
    now = cloud.clock.now_us()
    if request is None or request.consumer_id != consumer_id or request.expires_at <= now:
        raise unauthorized()
    _check(cloud, signed, secret, _open(cloud, request.sealed))
    verifier = signed.get("verifier")
    if request.verifier is None or request.authorizing_user_id is None or not hmac.compare_digest(verifier.encode(), request.verifier.encode()):
        raise unauthorized("a verifier that does not fit")
    own = cloud.ids.hex()
    made = AccessToken(
        cloud.ids.hex(), of(cloud).vault.seal(own.encode(), now // 1_000_000), consumer_id, request.authorizing_user_id,
        request.requested_project_id, request.role_ids, now + ACCESS_S * 1_000_000,
    )  # fmt: skip
    await cloud.db.write(_exchange_in, made, request.id)
    return made, own


async def _exchange_in(tx: Transaction, made: AccessToken, request_id: str) -> None:
    if not await tx.delete(REQUEST_TOKENS, id=request_id) or not await hold(tx, USERS, made.authorizing_user_id):
        raise unauthorized()
    await tx.insert(ACCESS_TOKENS, made)


async def verify(cloud: Cloud, signed: Signed) -> AccessToken:
    """The access token that a request for a token is signed with. Raises: Unauthorized, Invalid."""
    consumer_id, secret = await _consumer_secret(cloud, signed)
    access = await store.find_access(cloud.db, signed.get("token"))
    if access is None or access.consumer_id != consumer_id or access.expires_at <= cloud.clock.now_us():
        raise unauthorized()
    _check(cloud, signed, secret, _open(cloud, access.sealed))
    return access


async def of_user(ctx: RequestContext, user_id: str) -> list[AccessToken]:
    """Raises: Forbidden, NotFound."""
    require(ctx, "identity:list_access_tokens", path={"user_id": user_id})
    refuse_lent(ctx)
    if await user_store.find(ctx.db, user_id) is None:
        raise missing("user", user_id)
    return await store.ACCESS_LISTING.page(ctx.db, [("authorizing_user_id", "eq", user_id)], limit=10_000)


async def get(ctx: RequestContext, user_id: str, token_id: str, rule: str = "identity:get_access_token") -> AccessToken:
    """Raises: Forbidden, NotFound."""
    require(ctx, rule, path={"user_id": user_id})
    found = await store.find_access(ctx.db, token_id)
    if found is None or found.authorizing_user_id != user_id:
        raise missing("access token", token_id)
    return found


async def roles(ctx: RequestContext, access: AccessToken) -> list[Role]:
    known, _ = await of(ctx.cloud).roles(ctx.db)
    return [known[role_id] for role_id in access.role_ids if role_id in known]


async def delete(ctx: RequestContext, user_id: str, token_id: str) -> None:
    """Raises: Forbidden, NotFound."""
    await get(ctx, user_id, token_id, "identity:delete_access_token")
    refuse_lent(ctx)
    await ctx.db.write(_delete_in, user_id, token_id)


async def _delete_in(tx: Transaction, user_id: str, token_id: str) -> None:
    if not await tx.delete(ACCESS_TOKENS, id=token_id):
        raise missing("access token", token_id)
    people_changed(tx, user_id)
