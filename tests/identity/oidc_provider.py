"""A small OpenID Connect provider on loopback: authlib's authorization server in Flask, with one user and one client.

A browser is signed in by being there: /authorize asks for no password.
"""

from __future__ import annotations

import threading
import time
from typing import Any

from authlib.integrations.flask_oauth2 import AuthorizationServer
from authlib.oauth2.rfc6749 import ClientMixin, grants
from authlib.oauth2.rfc7636 import CodeChallenge
from authlib.oauth2.rfc7662 import IntrospectionEndpoint
from authlib.oidc.core.grants import OpenIDCode
from flask import Flask, Response, jsonify, request
from joserfc import jwt
from joserfc.jwk import RSAKey
from werkzeug.serving import make_server

CLIENT, SECRET, BACK = "moln cloud", "s3cret:/+", "http://cloud.example:5000/identity/v3/auth/OS-FEDERATION/identity_providers/corp/protocols/openid/websso"
USER, PASSWORD = "ada", "analytical"


class Client(ClientMixin):
    def __init__(self, client_id: str, secret: str):
        self.client_id, self.secret = client_id, secret

    def get_client_id(self) -> str:
        return self.client_id

    def get_default_redirect_uri(self) -> str:
        return BACK

    def get_allowed_scope(self, scope: str) -> str:
        return scope

    def check_redirect_uri(self, redirect_uri: str) -> bool:
        return redirect_uri == BACK

    def check_client_secret(self, secret: str) -> bool:
        return secret == self.secret

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        return method == "client_secret_basic"

    def check_response_type(self, response_type: str) -> bool:
        return response_type == "code"

    def check_grant_type(self, grant_type: str) -> bool:
        return True


class Code:
    """An authorization code and what was asked with it."""

    def __init__(self, code: str, asked: dict[str, Any], client_id: str):
        self.code, self.asked, self.client_id = code, asked, client_id
        self.code_challenge, self.code_challenge_method = asked.get("code_challenge"), asked.get("code_challenge_method")

    def get_redirect_uri(self) -> str:
        return self.asked["redirect_uri"]

    def get_scope(self) -> str:
        return self.asked["scope"]

    def get_nonce(self) -> str | None:
        return self.asked.get("nonce")

    def get_auth_time(self) -> int:
        return int(time.time())

    def get_acr(self) -> None:
        return None

    def get_amr(self) -> None:
        return None


class Token:
    def __init__(self, token: dict[str, Any], client_id: str, subject: str):
        self.token, self.client_id, self.subject, self.active = token, client_id, subject, True

    def is_expired(self) -> bool:
        return not self.active

    def is_revoked(self) -> bool:
        return False


class OidcProvider:
    """issuer: its address once it serves. opaque: whether access tokens are no JWTs. claims: what it says of the user.

    spoil: changed into what an ID token says, after everything else. key: what signs; its public half is published.
    """

    def __init__(self) -> None:
        self.key = RSAKey.generate_key(2048, {"kid": "first", "use": "sig"}, auto_kid=False)
        self.published = [self.key]
        self.clients = {CLIENT: Client(CLIENT, SECRET), "stranger": Client("stranger", SECRET)}
        self.opaque = False
        self.claims: dict[str, Any] = {"sub": "0042", "name": "Ada", "email": "ada@corp.example", "groups": ["developers", "nobody;admins"]}
        self.spoil: dict[str, Any] = {}
        self.codes: dict[str, Code] = {}
        self.tokens: dict[str, Token] = {}
        self.described: dict[str, Any] = {}
        self._app = Flask("provider")
        self._server = make_server("127.0.0.1", 0, self._app, threaded=True)
        self.issuer = f"http://127.0.0.1:{self._server.server_port}"
        self._authorization = AuthorizationServer(self._app, query_client=self.clients.get, save_token=self._save)
        self._register()
        self._route()
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def sign(self, claims: dict[str, Any], *, key: Any = None, **header: Any) -> str:
        return jwt.encode({"alg": "RS256", "kid": "first"} | header, claims, key or self.key, [header.get("alg", "RS256"), "HS256"])

    def access_claims(self, client_id: str = CLIENT, subject: str = "0042") -> dict[str, Any]:
        now = int(time.time())
        return {"iss": self.issuer, "sub": subject, "aud": "account", "azp": client_id, "iat": now, "exp": now + 300}

    def _save(self, token: dict[str, Any], asked: Any) -> None:
        subject = self.claims["sub"] if asked.user else f"service-account-{asked.client.client_id}"
        self.tokens[token["access_token"]] = Token(token, asked.client.client_id, subject)

    def _register(self) -> None:
        world = self

        class CodeGrant(grants.AuthorizationCodeGrant):
            def save_authorization_code(self, code: str, asked: Any) -> Code:
                world.codes[code] = Code(code, dict(asked.payload.data), asked.client.client_id)
                return world.codes[code]

            def query_authorization_code(self, code: str, client: Client) -> Code | None:
                found = world.codes.get(code)
                return found if found and found.client_id == client.client_id else None

            def delete_authorization_code(self, code: Code) -> None:
                del world.codes[code.code]

            def authenticate_user(self, code: Code) -> str:
                return USER

        class PasswordGrant(grants.ResourceOwnerPasswordCredentialsGrant):
            def authenticate_user(self, username: str, password: str) -> str | None:
                return USER if (username, password) == (USER, PASSWORD) else None

        class IdToken(OpenIDCode):
            def exists_nonce(self, nonce: str, asked: Any) -> bool:
                return False

            def get_jwt_config(self, grant: Any, client: Any = None) -> dict[str, Any]:
                return {"key": world.key, "alg": "RS256", "iss": world.issuer, "exp": 300}

            def generate_user_info(self, user: Any, scope: str) -> dict[str, Any]:
                return {"sub": world.claims["sub"]} | world.spoil

            def get_encode_header(self, client: Any) -> dict[str, Any]:
                return {"alg": "RS256", "kid": "first"}

            def get_client_algorithm(self, client: Any) -> str:
                return "RS256"

            def resolve_client_private_key(self, client: Any) -> Any:
                return world.key

            def get_client_claims(self, client: Any) -> dict[str, Any]:
                return {"iss": world.issuer}

        class Introspection(IntrospectionEndpoint):
            def query_token(self, token: str, hint: str) -> Token | None:
                return world.tokens.get(token)

            def check_permission(self, token: Token, client: Client, asked: Any) -> bool:
                return True

            def introspect_token(self, token: Token) -> dict[str, Any]:
                return {"client_id": token.client_id, "sub": token.subject, "iss": world.issuer, "exp": int(time.time()) + 300}

        server = self._authorization
        server.register_grant(CodeGrant, [IdToken(), CodeChallenge(required=True)])
        server.register_grant(PasswordGrant)
        server.register_grant(grants.ClientCredentialsGrant)
        server.register_endpoint(Introspection)
        server.register_token_generator("default", self._generate)

    def _generate(self, grant_type: str, client: Client, user: Any = None, scope: str = "", **_: Any) -> dict[str, Any]:
        subject = self.claims["sub"] if user else f"service-account-{client.client_id}"
        text = f"opaque-{len(self.tokens)}" if self.opaque else self.sign(self.access_claims(client.client_id, subject) | {"jti": str(len(self.tokens))})
        return {"token_type": "Bearer", "access_token": text, "expires_in": 300, "scope": scope or "openid"}

    def _route(self) -> None:
        app, server = self._app, self._authorization

        @app.get("/.well-known/openid-configuration")
        def description() -> Any:
            return jsonify({
                "issuer": self.issuer, "authorization_endpoint": self.issuer + "/authorize", "token_endpoint": self.issuer + "/token",
                "jwks_uri": self.issuer + "/keys", "introspection_endpoint": self.issuer + "/introspect", "userinfo_endpoint": self.issuer + "/userinfo",
            } | self.described)  # fmt: skip

        @app.get("/keys")
        def keys() -> Any:
            return jsonify({"keys": [key.as_dict(private=False) for key in self.published]})

        @app.get("/authorize")
        def authorize() -> Any:
            return server.create_authorization_response(grant_user=USER, grant=server.get_consent_grant(end_user=USER))

        @app.post("/token")
        def token() -> Any:
            return server.create_token_response()

        @app.post("/introspect")
        def introspect() -> Any:
            return server.create_endpoint_response("introspection")

        @app.get("/userinfo")
        def userinfo() -> Any:
            bearer = request.headers.get("Authorization", "").removeprefix("Bearer ")
            known = self.tokens.get(bearer)
            if known is None or known.subject != self.claims["sub"]:
                return Response(status=401)
            return jsonify(self.claims)
