"""An OpenID Connect provider as its client sees it (Discovery 1.0, Core 1.0, RFC 7636, RFC 7662, RFC 9068).

httpx and joserfc come with the extra `federation`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import ssl
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, urlencode

import httpx
import msgspec
from joserfc import errors, jws, jwt
from joserfc.jwk import JWKRegistry, Key
from msgspec import Struct

from moln.identity.model.oidc import Claims
from moln.identity.settings import HERE, OidcSettings
from moln.kernel.errors import BackendRefused, BackendUnreachable

TIMEOUT_S = 10.0
ANSWER_BOUND = 1 << 20  # bytes
KEPT_S = 3600.0  # how long the provider's description and keys are good, in seconds
AGAIN_S = 60.0  # an unknown key has them fetched again, no sooner than after so many seconds
LEEWAY_S = 60  # clocks may differ by so much
TYPES = frozenset({"jwt", "at+jwt", "application/at+jwt"})


class Description(Struct, frozen=True):
    """What Discovery 1.0 calls metadata."""

    issuer: str
    authorization_endpoint: str = ""
    token_endpoint: str = ""
    jwks_uri: str = ""
    introspection_endpoint: str = ""
    userinfo_endpoint: str = ""
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic",)
    response_modes_supported: tuple[str, ...] = ("query", "fragment")

    @property
    def posts(self) -> bool:
        """Whether it sends browsers back with a form alone (OAuth 2.0 Form Post Response Mode)."""
        return "form_post" in self.response_modes_supported and "query" not in self.response_modes_supported


class Provider:
    """Raises from every call: BackendUnreachable, when the provider does not answer or not as it should; BackendRefused, when it says no."""

    def __init__(self, settings: OidcSettings, monotonic: Callable[[], float]):
        self.settings = settings
        self._monotonic = monotonic
        verify = ssl.create_default_context(cafile=settings.ca_file or None)
        self._http = httpx.AsyncClient(timeout=TIMEOUT_S, follow_redirects=False, verify=verify, limits=httpx.Limits(max_connections=32))
        self._description: tuple[float, Description] | None = None
        self._keys: tuple[float, list[Key]] | None = None

    async def close(self) -> None:
        await self._http.aclose()

    async def sign_in_url(self, redirect_uri: str, state: str, nonce: str, verifier: str) -> str:
        """Where a browser goes to sign in."""
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")
        description = await self.description()
        asked = {
            "response_type": "code", "client_id": self.settings.client_id, "redirect_uri": redirect_uri, "scope": " ".join(self.settings.scopes),
            "state": state, "nonce": nonce, "code_challenge": challenge, "code_challenge_method": "S256",
        }  # fmt: skip
        if description.posts:
            asked["response_mode"] = "form_post"
        where = self._endpoint(description.authorization_endpoint)
        return f"{where}{'&' if '?' in where else '?'}{urlencode(asked)}"

    async def exchange(self, code: str, verifier: str, redirect_uri: str) -> dict[str, Any]:
        """The tokens that a code is good for."""
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": redirect_uri, "code_verifier": verifier}
        return await self._as_client((await self.description()).token_endpoint, form)

    async def introspect(self, token: str) -> Claims | None:
        """What the provider says of an access token; None, when it does not say such things."""
        endpoint = (await self.description()).introspection_endpoint
        return await self._as_client(endpoint, {"token": token, "token_type_hint": "access_token"}) if endpoint else None

    async def userinfo(self, access_token: str) -> Claims:
        """What the provider says of whom an access token is of; nothing, when it says nothing to its bearer."""
        endpoint = (await self.description()).userinfo_endpoint
        if not endpoint:
            return {}
        try:
            return await self._ask("GET", endpoint, headers={"Authorization": f"Bearer {access_token}"})
        except BackendRefused:
            return {}

    async def verify(self, token: str, now_s: int) -> Claims:
        """The claims of a JWT of this provider that is good now: signature, issuer and times. Raises: BackendRefused."""
        try:
            header = jws.extract_compact(token.encode()).headers()
            if not isinstance(header, dict) or str(header.get("typ", "jwt")).lower() not in TYPES:
                raise BackendRefused("the token is of another type")
            claims = jwt.decode(token, await self._key(header), algorithms=list(self.settings.algorithms)).claims
            jwt.JWTClaimsRegistry(
                now=now_s, leeway=LEEWAY_S, iss={"essential": True, "value": self.settings.issuer}, exp={"essential": True}, sub={"essential": True}
            ).validate(claims)
        except (errors.JoseError, ValueError, TypeError, KeyError, RecursionError) as error:
            raise BackendRefused("the token is not good", detail=repr(error)) from None
        if not isinstance(claims["sub"], str):
            raise BackendRefused("the token names nobody")
        return claims

    async def _key(self, header: dict[str, Any]) -> Key:
        """The key that a token says it is signed with. Raises: BackendRefused."""
        kid = header.get("kid")
        for age_s in (KEPT_S, AGAIN_S):
            keys = [key for key in await self._all_keys(age_s) if kid is None or key.kid == kid]
            if len(keys) == 1:
                return keys[0]
        raise BackendRefused("the token is signed with no key of the provider, or does not say with which")

    async def _all_keys(self, age_s: float) -> list[Key]:
        """Its keys as they were at most so many seconds ago. None of them is a secret: who knows it could sign."""
        if self._keys is None or self._keys[0] + age_s <= self._monotonic():
            said = await self._ask("GET", self._endpoint((await self.description()).jwks_uri))
            found = []
            for raw in said.get("keys") or []:
                if isinstance(raw, dict) and raw.get("kty") in ("RSA", "EC", "OKP") and raw.get("use", "sig") == "sig":
                    try:
                        found.append(JWKRegistry.import_key(raw))
                    except (errors.JoseError, ValueError, TypeError, KeyError):
                        continue  # of a kind that we do not know
            self._keys = self._monotonic(), found
        return self._keys[1]

    async def description(self) -> Description:
        if self._description is None or self._description[0] + KEPT_S <= self._monotonic():
            issuer = self.settings.issuer
            said = await self._ask("GET", issuer.rstrip("/") + "/.well-known/openid-configuration")
            try:
                known = msgspec.convert(said, Description)
            except msgspec.ValidationError as error:
                raise BackendUnreachable(f"The provider {issuer} describes itself in a way that is not understood.", detail=str(error)) from None
            if known.issuer != issuer:
                raise BackendUnreachable(f"The provider calls itself {known.issuer[:200]!r}, not {issuer!r} as the settings have it.")
            self._description = self._monotonic(), known
        return self._description[1]

    def _endpoint(self, url: str) -> str:
        """Raises: BackendUnreachable, where secrets would go in the clear."""
        if not url:
            raise BackendUnreachable(f"The provider {self.settings.issuer} does not do this.")
        try:
            parts = httpx.URL(url)
        except httpx.InvalidURL:
            raise BackendUnreachable(f"The provider {self.settings.issuer} names an address that is none.") from None
        if parts.scheme != "https" and not (parts.scheme == "http" and parts.host in HERE):
            raise BackendUnreachable(f"The provider {self.settings.issuer} names an address without TLS.")
        return url

    async def _as_client(self, url: str, form: dict[str, str]) -> dict[str, Any]:
        """A form, and who we are (RFC 6749, 2.3.1)."""
        methods = (await self.description()).token_endpoint_auth_methods_supported
        client_id, secret = self.settings.client_id, self.settings.client_secret
        headers = {}
        if not secret or ("client_secret_basic" not in methods and "client_secret_post" in methods):
            form = form | {"client_id": client_id} | ({"client_secret": secret} if secret else {})
        else:
            pair = f"{quote(client_id, safe='')}:{quote(secret, safe='')}"
            headers["Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
        return await self._ask("POST", url, data=form, headers=headers)

    async def _ask(self, method: str, url: str, **more: Any) -> dict[str, Any]:
        """A small answer in JSON."""
        headers = {"Accept": "application/json"} | more.pop("headers", {})
        try:
            async with self._http.stream(method, self._endpoint(url), headers=headers, **more) as answer:
                raw = b""
                async for part in answer.aiter_bytes():
                    raw += part
                    if len(raw) > ANSWER_BOUND:
                        raise BackendUnreachable(f"The provider {self.settings.issuer} answered too much.")
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise BackendUnreachable(f"The provider {self.settings.issuer} does not answer.", detail=repr(error)) from None
        if answer.status_code in (400, 401, 403, 404):
            raise BackendRefused(f"the provider answered {answer.status_code} {raw[:200]!r}")
        if answer.status_code != 200:
            raise BackendUnreachable(f"The provider {self.settings.issuer} answered {answer.status_code}.")
        try:
            said = json.loads(raw)
        except (ValueError, RecursionError):
            said = None
        if not isinstance(said, dict):  # such as a userinfo that is signed
            raise BackendUnreachable(f"The provider {self.settings.issuer} did not answer with JSON.")
        return said
