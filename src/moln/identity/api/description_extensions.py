"""What the operations of the extensions take and answer: delegation, filters, federation, limits, domain configuration."""

from __future__ import annotations

from typing import Any

from moln.identity.api import endpoint_groups, federation, limits, oauth1, saml, trusts, websso
from moln.identity.api.token_views import TokenReply
from moln.kernel.http.openapi import KEYSTONE_FAULT

SELF = {"self": str}
PAGE = {"self": str, "next": str | None, "previous": str | None}
TRUST = {
    "id": str, "trustor_user_id": str, "trustee_user_id": str, "project_id": str | None, "impersonation": bool, "expires_at": str | None,
    "remaining_uses": int | None, "redelegation_count": int, "redelegated_trust_id": str | None, "deleted_at": None, "links": SELF,
    "roles?": [dict], "roles_links?": PAGE,
}  # fmt: skip
RULE = {"id": str, "path": str, "method": str, "service": str, "links": SELF}
CONSUMER = {"id": str, "description": str | None, "links": SELF}
ACCESS = {
    "id": str, "consumer_id": str, "project_id": str, "authorizing_user_id": str, "expires_at": str, "links": {"self": str, "roles": str},
}  # fmt: skip
GROUP = {"id": str, "name": str, "description": str | None, "filters": dict, "links": SELF}
REGISTERED = {
    "id": str, "service_id": str, "region_id": str | None, "resource_name": str, "default_limit": int, "description": str | None, "links": SELF,
}  # fmt: skip
LIMIT = {
    "id": str, "service_id": str, "region_id": str | None, "resource_name": str, "project_id": str | None, "domain_id": str | None,
    "resource_limit": int, "description": str | None, "links": SELF,
}  # fmt: skip
PROVIDER = {
    "id": str, "domain_id": str, "enabled": bool, "description": str | None, "remote_ids": [str], "authorization_ttl": int | None,
    "links": {"self": str, "protocols": str},
}  # fmt: skip
PROTOCOL = {"id": str, "mapping_id": str, "remote_id_attribute": str | None, "links": {"self": str, "identity_provider": str}}
MAPPING = {"id": str, "rules": [dict], "schema_version": str, "links": SELF}
SERVICE = {
    "id": str, "auth_url": str, "sp_url": str, "enabled": bool, "description": str | None, "relay_state_prefix": str, "links": SELF,
}  # fmt: skip
CONFIG = {"config": dict}
OAUTH2_FAULT = {"error": str, "error_description": str}


def _kept(path: str, id_: str, name: str, plural: str, view: Any, create: str = "POST") -> dict[str, Any]:
    """Of a collection: the list, and one of it as it is made, shown and changed."""
    one = f"{path}/{{{id_}}}"
    made = f"{create} {path if create == 'POST' else one}"
    return {f"GET {path}": {plural: [view], "links": PAGE}, made: {name: view}, f"GET {one}": {name: view}, f"PATCH {one}": {name: view}}


ANSWERS: dict[str, Any] = {
    f"GET {trusts.PATH}": {"trusts": [TRUST], "links": PAGE},
    f"POST {trusts.PATH}": {"trust": TRUST},
    f"GET {trusts.PATH}/{{trust_id}}": {"trust": TRUST},
    "GET /v3/users/{user_id}/access_rules": {"access_rules": [RULE], "links": PAGE},
    "GET /v3/users/{user_id}/access_rules/{access_rule_id}": {"access_rule": RULE},
    **_kept(f"{oauth1.ROOT}/consumers", "consumer_id", "consumer", "consumers", CONSUMER),
    f"POST {oauth1.ROOT}/consumers": {"consumer": CONSUMER | {"secret": str}},
    f"GET {oauth1.TOKENS}": {"access_tokens": [ACCESS], "links": PAGE},
    f"GET {oauth1.TOKEN}": {"access_token": ACCESS},
    f"PUT {oauth1.ROOT}/authorize/{{request_token_id}}": {"token": {"oauth_verifier": str}},
    "POST /v3/auth/tokens": {201: TokenReply, 401: (KEYSTONE_FAULT, {"receipt": dict, "required_auth_methods": [[str]]})},
    "POST /v3/OS-OAUTH2/token": {200: {"access_token": str, "token_type": str, "expires_in": int}, 400: OAUTH2_FAULT, 401: OAUTH2_FAULT},
    "POST /v3/ec2tokens": TokenReply,
    "POST /v3/s3tokens": TokenReply,
    f"POST {saml.PATH}": bytes,
    f"POST {saml.PATH}/ecp": bytes,
    "GET /v3/OS-FEDERATION/saml2/metadata": bytes,
    "GET /v3/OS-REVOKE/events": {"events": [dict], "links": PAGE},
    **_kept(endpoint_groups.GROUPS, "endpoint_group_id", "endpoint_group", "endpoint_groups", GROUP),
    **_kept("/v3/registered_limits", "registered_limit_id", "registered_limit", "registered_limits", REGISTERED),
    "POST /v3/registered_limits": {"registered_limits": [REGISTERED]},
    **_kept("/v3/limits", "limit_id", "limit", "limits", LIMIT),
    "POST /v3/limits": {"limits": [LIMIT]},
    "GET /v3/limits/model": {"model": {"name": str, "description": str}},
    **_kept(federation.PROVIDERS, "idp_id", "identity_provider", "identity_providers", PROVIDER, "PUT"),
    **_kept(federation.PROTOCOLS, "protocol_id", "protocol", "protocols", PROTOCOL, "PUT"),
    **_kept(federation.MAPPINGS, "mapping_id", "mapping", "mappings", MAPPING, "PUT"),
    **_kept(federation.SERVICES, "sp_id", "service_provider", "service_providers", SERVICE, "PUT"),
    "GET /v3/domains/{domain_id}/config": CONFIG,
    "PUT /v3/domains/{domain_id}/config": CONFIG,
    "PATCH /v3/domains/{domain_id}/config": CONFIG,
    "GET /v3/domains/config/default": CONFIG,
}
BODIES: dict[str, Any] = {
    f"POST {trusts.PATH}": {"trust": trusts._New},
    f"POST {saml.PATH}": {"auth": saml.Wanted},
    f"POST {saml.PATH}/ecp": {"auth": saml.Wanted},
    f"POST {oauth1.ROOT}/consumers": {"consumer": oauth1._Consumer},
    f"PATCH {oauth1.ROOT}/consumers/{{consumer_id}}": {"consumer": oauth1._Consumer},
    f"PUT {oauth1.ROOT}/authorize/{{request_token_id}}": oauth1._Roles,
    f"POST {endpoint_groups.GROUPS}": {"endpoint_group": endpoint_groups._NewGroup},
    f"PATCH {endpoint_groups.GROUP}": {"endpoint_group": endpoint_groups._Group},
    "POST /v3/registered_limits": {"registered_limits": [limits.NewRegistered]},
    "PATCH /v3/registered_limits/{registered_limit_id}": {"registered_limit": limits.Registered},
    "POST /v3/limits": {"limits": [limits.NewLimit]},
    "PATCH /v3/limits/{limit_id}": {"limit": limits.ChangedLimit},
    f"PUT {federation.PROVIDERS}/{{idp_id}}": {"identity_provider": federation._Provider},
    f"PATCH {federation.PROVIDERS}/{{idp_id}}": {"identity_provider": federation._Provider},
    f"PUT {federation.PROTOCOLS}/{{protocol_id}}": {"protocol": federation._NewProtocol},
    f"PATCH {federation.PROTOCOLS}/{{protocol_id}}": {"protocol": federation._Protocol},
    f"PUT {federation.MAPPINGS}/{{mapping_id}}": {"mapping": federation._NewMapping},
    f"PATCH {federation.MAPPINGS}/{{mapping_id}}": {"mapping": federation._Mapping},
    f"PUT {federation.SERVICES}/{{sp_id}}": {"service_provider": federation._NewService},
    f"PATCH {federation.SERVICES}/{{sp_id}}": {"service_provider": federation._Service},
    **{f"{method} /v3/domains/{{domain_id}}/config": CONFIG for method in ("PUT", "PATCH")},
}
QUERIES: dict[str, Any] = {
    f"GET {trusts.PATH}": ["trustee_user_id", "trustor_user_id"],
    "GET /v3/users/{user_id}/access_rules": ["method", "path", "service"],
    "GET /v3/OS-REVOKE/events": ["since"],
    "GET /v3/limits": ["domain_id", "project_id", "region_id", "resource_name", "service_id"],
    "GET /v3/registered_limits": ["region_id", "resource_name", "service_id"],
    f"GET {federation.PROVIDERS}": ["enabled", "id"],
    f"GET {federation.SERVICES}": ["enabled", "id"],
    f"GET {endpoint_groups.GROUPS}": ["name"],
    **{f"{method} {path}": ["code", "iss", "origin", "state"] for method in ("GET", "POST") for path in (websso.OF_PROVIDER, websso.OF_PROTOCOL)},
}
