"""Users whom an OpenID Connect provider vouches for to us: a browser sent there and back, or a token that a client brings from there."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import TYPE_CHECKING

from moln.identity import settings
from moln.identity.model import oidc as model
from moln.identity.model.oidc import Claims, SignIn
from moln.identity.model.tokens import OpenToken
from moln.identity.ops import mapped
from moln.identity.ops.examining import unauthorized
from moln.identity.ops.state import of
from moln.identity.settings import OidcSettings
from moln.identity.store import federation as store
from moln.kernel.cloud import Cloud
from moln.kernel.errors import BackendRefused, Invalid, NotFound, NotSupported, Unauthorized

if TYPE_CHECKING:
    from moln.identity.drivers.oidc import Provider

LONGEST_ORIGIN = 256  # characters: it goes into a cookie


def configured(cloud: Cloud, idp_id: str, protocol_id: str) -> OidcSettings | None:
    """What the settings say of a provider that we ask ourselves."""
    found = settings.of(cloud).federation.oidc.get(idp_id)
    return found if found is not None and found.protocol == protocol_id else None


def _provider(cloud: Cloud, idp_id: str, wanted: OidcSettings) -> Provider:
    """Raises: NotSupported."""
    known = of(cloud).oidc
    if idp_id not in known:
        try:
            from moln.identity.drivers.oidc import Provider  # needed by few clouds, and not small
        except ModuleNotFoundError as absent:
            raise NotSupported(f"OpenID Connect needs the Python package {absent.name}: pip install 'moln[federation]'.") from None
        known[idp_id] = Provider(wanted, cloud.clock.monotonic)
    return known[idp_id]


async def the_one_with(cloud: Cloud, protocol_id: str) -> str:
    """The provider that a protocol alone means. Raises: NotFound, Invalid."""
    found = [idp for idp in await store.providers_with(cloud.db, protocol_id) if configured(cloud, idp, protocol_id)]
    if not found:
        raise NotFound(f"No identity provider of this cloud does {protocol_id} itself.")
    if len(found) > 1:
        raise Invalid("Several identity providers have this protocol: ask at the address of one of them.", field="protocol_id")
    return found[0]


def check_origin(cloud: Cloud, origin: str) -> str:
    """Raises: Unauthorized, Invalid, when nobody may be sent there with a token."""
    if not origin:
        raise Invalid("Request must have an origin query parameter", field="origin")
    if origin not in settings.of(cloud).federation.trusted_dashboards or len(origin) > LONGEST_ORIGIN:
        raise Unauthorized(f"{origin[:LONGEST_ORIGIN]} is not a trusted dashboard host")
    return origin


async def begin(cloud: Cloud, idp_id: str, protocol_id: str, redirect_uri: str, origin: str) -> tuple[str, SignIn, str]:
    """Where a browser signs in, what it has to bring back, and the same sealed. Raises: NotFound, Forbidden, Unavailable."""
    await mapped.named(cloud, idp_id, protocol_id)
    wanted = configured(cloud, idp_id, protocol_id)
    if wanted is None:
        raise NotFound(f"This cloud does not ask identity provider {idp_id} itself.")
    now = cloud.clock.now_us()
    coming = model.sign_in(idp_id, protocol_id, secrets.token_urlsafe(24), secrets.token_urlsafe(24), secrets.token_urlsafe(48), origin, now)
    url = await _provider(cloud, idp_id, wanted).sign_in_url(redirect_uri, coming.state, coming.nonce, coming.verifier)
    return url, coming, of(cloud).keys.seal(model.pack(coming), now // 1_000_000)


def short(state: str) -> str:
    """What tells one sign-in of a browser from another, without telling the state."""
    return hashlib.sha256(state.encode()).hexdigest()[:12]


async def finish(cloud: Cloud, idp_id: str, protocol_id: str, redirect_uri: str, sealed: str, state: str, code: str, issuer: str
                 ) -> tuple[str, OpenToken, str]:  # fmt: skip
    """The token of somebody who is back from their provider, and where they go with it. sealed: what their browser was given.

    issuer: who says to have sent them (RFC 9207), or nothing. Raises: Unauthorized, Forbidden, NotFound, Unavailable.
    """
    wanted = configured(cloud, idp_id, protocol_id)
    try:
        coming = model.unpack(of(cloud).keys.open(sealed))
    except ValueError:
        raise unauthorized("no browser that began a sign-in here") from None
    now = cloud.clock.now_us()
    if wanted is None or (coming.idp_id, coming.protocol_id) != (idp_id, protocol_id) or coming.expires_at <= now:
        raise unauthorized("the sign-in is over")
    if not hmac.compare_digest(coming.state.encode(), state.encode()) or issuer not in ("", wanted.issuer):
        raise unauthorized("the sign-in is another's")
    await mapped.named(cloud, idp_id, protocol_id)
    provider = _provider(cloud, idp_id, wanted)
    try:
        tokens = await provider.exchange(code, coming.verifier, redirect_uri)
        claims = await provider.verify(str(tokens.get("id_token")), now // 1_000_000)
        if fault := model.id_token_fault(claims, wanted.client_id, coming.nonce):
            raise BackendRefused(f"the ID token is not good: {fault}")
        more = await provider.userinfo(str(tokens["access_token"])) if tokens.get("access_token") else {}
    except BackendRefused as refused:
        raise unauthorized(f"{idp_id}: {refused.message}") from None
    said = model.assertion(wanted.issuer, _together(claims, more))
    token, opened = await mapped.authenticate(cloud, idp_id, protocol_id, said, wanted.issuer)
    return token, opened, coming.origin


async def by_token(cloud: Cloud, idp_id: str, protocol_id: str, token: str) -> tuple[str, OpenToken]:
    """A token of ours for one of the provider's: an access token or an ID token. Raises: Unauthorized, Forbidden, NotFound, Unavailable."""
    await mapped.named(cloud, idp_id, protocol_id)
    wanted = configured(cloud, idp_id, protocol_id)
    if wanted is None:
        raise unauthorized(f"a token of {idp_id}, whom we do not ask")
    provider, now_s = _provider(cloud, idp_id, wanted), cloud.clock.now_us() // 1_000_000
    accepted = frozenset({wanted.client_id, *wanted.audiences})
    try:
        claims = await provider.verify(token, now_s) if token.count(".") == 2 else await _introspected(provider, token, now_s)
        if not model.is_for(claims, accepted):
            raise BackendRefused("the token is another client's")
        more = await provider.userinfo(token)
    except BackendRefused as refused:
        raise unauthorized(f"{idp_id}: {refused.message}") from None
    said = model.assertion(wanted.issuer, _together(claims, more))
    return await mapped.authenticate(cloud, idp_id, protocol_id, said, wanted.issuer)


async def _introspected(provider: Provider, token: str, now_s: int) -> Claims:
    """What the provider says of a token that says nothing itself. Raises: BackendRefused."""
    said = await provider.introspect(token)
    if said is None:
        raise BackendRefused("the token is no JWT, and the provider has nothing that says what it is")
    expires = said.get("exp")
    if said.get("active") is not True or (isinstance(expires, int | float) and expires <= now_s):
        raise BackendRefused("the token is not active")
    if said.get("iss", provider.settings.issuer) != provider.settings.issuer or not isinstance(said.get("sub"), str):
        raise BackendRefused("the token is another provider's, or names nobody")
    return {"iss": provider.settings.issuer, **said}


def _together(claims: Claims, more: Claims) -> Claims:
    """What was signed, and what the provider's userinfo adds, where it speaks of the same person."""
    return {**more, **claims} if more.get("sub") == claims["sub"] else claims
