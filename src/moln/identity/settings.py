"""Settings of identity: the table `[identity]` of moln.toml."""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import urlsplit

from msgspec import Meta, Struct, field

from moln.kernel.cloud import Cloud

HERE = frozenset({"localhost", "127.0.0.1", "::1"})
ASYMMETRIC = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "Ed25519", "EdDSA"]


class OidcSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """An OpenID Connect provider, `[identity.federation.oidc.IDP]`, IDP being the identity provider's id here.

    issuer: its address, as it calls itself. client_id, client_secret: what it calls this cloud. protocol: of which protocol it is.
    scopes: what is asked of it. audiences: for whom else its access tokens may be, besides client_id. algorithms: of its signatures.
    ca_file: the authorities that its certificate may come from (PEM); empty: the system's.
    """

    issuer: str
    client_id: Annotated[str, Meta(min_length=1)]
    client_secret: str = ""
    protocol: str = "openid"
    scopes: tuple[str, ...] = ("openid", "profile", "email")
    audiences: tuple[str, ...] = ()
    algorithms: tuple[ASYMMETRIC, ...] = ("RS256", "PS256", "ES256", "Ed25519", "EdDSA")
    ca_file: str = ""

    def __post_init__(self) -> None:
        parts = urlsplit(self.issuer)
        if not parts.hostname or (parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in HERE)):
            raise ValueError("issuer has to begin with https://")


class FederationSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """oidc: the OpenID Connect providers that we ask ourselves, by the ids of their identity providers.
    trusted_dashboards: addresses that a browser may be sent back to with a token (`https://dashboard/auth/websso/`).
    saml_certificate, saml_key: files (PEM) with what signs assertions for other clouds; no key: it is in the certificate's file.
    client_ca: a file with the authorities whose clients may prove themselves by a certificate to us, where we serve TLS; empty: none may.
    oauth2_mapping: the mapping that says from a client's certificate which user it is (OAuth 2.0 mutual TLS).
    listen: where a proxy says who somebody is, in headers: the path of a socket that we make (its group may use it, mode 0660), or an
    address and port that only the proxy reaches; empty: nowhere. headers: how the names of those headers begin, in capitals and with `_`.
    """

    oidc: dict[str, OidcSettings] = {}
    trusted_dashboards: tuple[str, ...] = ()
    saml_certificate: str = ""
    saml_key: str = ""
    client_ca: str = ""
    oauth2_mapping: str = "oauth2_mapping"
    listen: str = ""
    headers: tuple[str, ...] = ("MELLON_", "OIDC_", "SHIB_", "SSL_CLIENT_", "REMOTE_USER")


class IdentitySettings(Struct, frozen=True, forbid_unknown_fields=True):
    """token_expiration_s: how long a token lives, in seconds. key_rotation_s: how long one key seals tokens, in seconds.
    expired_window_s: how long a token that has expired is still good beside a service's own, in seconds.
    receipt_expiration_s: how long a receipt of several methods lives, in seconds.
    lockout_attempts: wrong passwords in a row that lock a user out; 0: any number. lockout_s: for how long, in seconds.
    password_expires_days: how long a password lasts; 0: for ever. minimum_password_age_days: how long a user must keep a new one.
    unique_last_passwords: how many passwords in a row differ, the present one included; 0: none need to.
    password_regex: what a password must match; empty: anything. password_regex_description: the same in words, for who chose another.
    change_password_upon_first_use: whether a password that an administrator set has to be changed before anything else.
    inactive_days: after how many days without a sign-in a user cannot sign in; 0: never.
    signature_s: how old a request signed with an EC2 key may be, in seconds.
    federation_secret: what the proxy that vouches for federated users sends to prove itself; empty: there is none.
    federation: who else vouches for users, a table of its own (docs/operations.md, "Users from elsewhere").
    limit_model: how limits of projects bind: `flat`, each by its own, or `strict_two_level`, a domain's bounding its projects' together.
    """

    token_expiration_s: Annotated[int, Meta(ge=60, le=7 * 86400)] = 3600
    key_rotation_s: Annotated[int, Meta(ge=3600)] = 7 * 86400
    expired_window_s: Annotated[int, Meta(ge=0, le=14 * 86400)] = 2 * 86400
    receipt_expiration_s: Annotated[int, Meta(ge=10, le=3600)] = 300
    lockout_attempts: Annotated[int, Meta(ge=0)] = 0
    lockout_s: Annotated[int, Meta(ge=1)] = 1800
    password_expires_days: Annotated[int, Meta(ge=0)] = 0
    minimum_password_age_days: Annotated[int, Meta(ge=0)] = 0
    unique_last_passwords: Annotated[int, Meta(ge=0, le=24)] = 0
    password_regex: str = ""
    password_regex_description: str = ""
    change_password_upon_first_use: bool = False
    inactive_days: Annotated[int, Meta(ge=0)] = 0
    signature_s: Annotated[int, Meta(ge=60)] = 900
    federation_secret: str = ""
    federation: FederationSettings = field(default_factory=FederationSettings)
    limit_model: Literal["flat", "strict_two_level"] = "flat"


def of(cloud: Cloud) -> IdentitySettings:
    """The settings of this cloud's identity (app.py puts an area's table beside the kernel's own)."""
    settings: IdentitySettings = cloud.settings.identity  # type: ignore[attr-defined]
    return settings
