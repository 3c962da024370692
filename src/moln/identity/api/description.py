"""What the identity API takes and answers."""

from __future__ import annotations

from typing import Any

from moln.identity.api import application_credentials, auth_bodies, catalog, credentials, domains, groups, projects, roles, users
from moln.identity.api import description_extensions as more
from moln.identity.api.token_views import TokenReply
from moln.identity.model.catalog import CatalogEntry
from moln.kernel.http.openapi import KEYSTONE_FAULT
from moln.kernel.http.schemas import Described

SELF = {"self": str}
PAGE = {"self": str, "next": str | None, "previous": str | None}
VIEWS: dict[str, Any] = {
    "domain": {"id": str, "name": str, "description": str | None, "enabled": bool, "tags": [str], "options": dict, "links": SELF},
    "project": {
        "id": str, "name": str, "domain_id": str | None, "description": str | None, "enabled": bool, "parent_id": str | None, "is_domain": bool,
        "tags": [str], "options": dict, "links": SELF,
    },
    "user": {
        "id": str, "name": str, "domain_id": str, "enabled": bool, "password_expires_at": str | None, "options": dict, "default_project_id?": str, "links": SELF,
    },
    "group": {"id": str, "name": str, "domain_id": str, "description": str | None, "links": SELF},
    "role": {"id": str, "name": str, "domain_id": str | None, "description": str | None, "options": dict, "links": SELF},
    "service": {"id": str, "name?": str | None, "type": str, "enabled": bool, "description?": str, "links": SELF},
    "endpoint": {
        "id": str, "interface": str, "region": str | None, "region_id": str | None, "service_id": str, "url": str, "enabled": bool, "links": SELF,
    },
    "region": {"id": str, "description": str | None, "parent_region_id": str | None, "links": SELF},
    "credential": {"id": str, "type": str, "user_id": str, "project_id": str | None, "blob": str, "links": SELF},
    "policy": {"id": str, "type": str, "blob": str, "links": SELF},
}  # fmt: skip
EC2 = {"user_id": str, "tenant_id": str | None, "access": str, "secret": str | None, "trust_id": str | None, "links": SELF}
PROGRAM = {
    "id": str, "name": str, "description": str | None, "user_id": str, "project_id": str, "roles": [{"id": str, "name": str}],
    "expires_at": str | None, "unrestricted": bool, "links": SELF,
}  # fmt: skip
SHORT_ROLE = {"id": str, "name": str, "links": SELF}
INFERENCE = {"prior_role": SHORT_ROLE, "implies": SHORT_ROLE}
INFERENCES = {"prior_role": SHORT_ROLE, "implies": [SHORT_ROLE]}
VERSION = {"id": str, "status": str, "updated": str, "links": [{"rel": str, "href": str}], "media-types": [dict]}
TAKEN: dict[str, tuple[Any, Any]] = {  # of each collection: the bodies of POST and of PATCH
    "domain": (domains._NewDomain, domains._Domain),
    "project": (projects._NewProject, projects._Project),
    "user": (users._NewUser, users._User),
    "group": (groups._NewGroup, groups._Group),
    "role": (roles._NewRole, roles._Role),
    "service": (catalog._NewService, catalog._Service),
    "endpoint": (catalog._NewEndpoint, catalog._Endpoint),
    "region": (catalog._NewRegion, catalog._Region),
    "credential": (credentials._NewCredential, credentials._Credential),
    "policy": (credentials._NewPolicy, credentials._Policy),
}
FILTERS = {
    "domain": ["enabled", "name"], "project": ["domain_id", "enabled", "is_domain", "name", "not-tags", "not-tags-any", "parent_id", "tags", "tags-any"],
    "user": ["domain_id", "enabled", "name"], "group": ["domain_id", "name"], "role": ["domain_id", "name"], "service": ["name", "type"],
    "endpoint": ["interface", "region_id", "service_id"], "region": ["parent_region_id"], "credential": ["type", "user_id"], "policy": ["type"],
}  # fmt: skip
PAGING = ["limit", "marker", "sort_dir", "sort_key"]
UNPAGED = {"credential"}


def _plural(name: str) -> str:
    return name[:-1] + "ies" if name.endswith("y") else name + "s"


def _page_of(name: str) -> dict[str, Any]:
    return {_plural(name): [VIEWS[name]], "links": PAGE}


def described() -> Described:
    answers, bodies, queries = ANSWERS | more.ANSWERS, BODIES | more.BODIES, QUERIES | more.QUERIES
    for name, view in VIEWS.items():
        path, one = f"/v3/{_plural(name)}", f"/v3/{_plural(name)}/{{{name}_id}}"
        answers |= {f"GET {path}": _page_of(name), f"GET {one}": {name: view}, f"POST {path}": {name: view}, f"PATCH {one}": {name: view}}
        bodies |= {f"POST {path}": {name: TAKEN[name][0]}, f"PATCH {one}": {name: TAKEN[name][1]}}
        queries[f"GET {path}"] = [*FILTERS[name], *([] if name in UNPAGED else PAGING)]
    answers["GET /v3/projects/{project_id}"] = {"project": VIEWS["project"] | {"parents?": Any, "subtree?": Any}}
    answers |= {f"GET {path}": _page_of("role") for path in GRANTS}
    return Described(answers, bodies, queries, HEADERS, KEYSTONE_FAULT)


GRANTS = [
    f"/v3/{before}{target}{actor}s/{{actor_id}}/roles{after}"
    for before, after in (("", ""), ("OS-INHERIT/", "/inherited_to_projects"))
    for target in ("projects/{target_id}/", "domains/{target_id}/", "system/")
    for actor in ("user", "group")
    if not (before and target == "system/")
]
PROGRAMS = "/v3/users/{user_id}/application_credentials"
EC2S = "/v3/users/{user_id}/credentials/OS-EC2"
TAGS = {"tags": [str], "links": SELF}
IMPLIED = "/v3/roles/{prior_role_id}/implies/{implied_role_id}"
ANSWERS: dict[str, Any] = {
    "GET /": {"versions": {"values": [VERSION]}},
    "GET /v3": {"version": VERSION},
    "POST /v3/auth/tokens": TokenReply,
    "GET /v3/auth/tokens": TokenReply,
    "HEAD /v3/auth/tokens": None,
    "GET /v3/auth/catalog": {"catalog": [CatalogEntry], "links": SELF},
    "GET /v3/auth/projects": _page_of("project"),
    "GET /v3/auth/domains": _page_of("domain"),
    "GET /v3/auth/system": {"system": [{"all": bool}], "links": SELF},
    "GET /v3/users/{user_id}/projects": _page_of("project"),
    "GET /v3/users/{user_id}/groups": _page_of("group"),
    "GET /v3/groups/{group_id}/users": _page_of("user"),
    f"GET {PROGRAMS}": {"application_credentials": [PROGRAM], "links": PAGE},
    f"POST {PROGRAMS}": {"application_credential": PROGRAM | {"secret": str}},
    f"GET {PROGRAMS}/{{credential_id}}": {"application_credential": PROGRAM},
    f"GET {EC2S}": {"credentials": [EC2], "links": PAGE},
    f"POST {EC2S}": {"credential": EC2},
    f"GET {EC2S}/{{access}}": {"credential": EC2},
    "GET /v3/projects/{project_id}/tags": TAGS,
    "PUT /v3/projects/{project_id}/tags": TAGS,
    "PUT /v3/projects/{project_id}/tags/{tag}": None,
    "PUT /v3/regions/{region_id}": {"region": VIEWS["region"]},
    "GET /v3/role_assignments": {"role_assignments": [{"scope": dict, "role": dict, "links": {str: str}}], "links": PAGE},
    "GET /v3/role_inferences": {"role_inferences": [INFERENCES], "links": SELF},
    "GET /v3/roles/{prior_role_id}/implies": {"role_inference": INFERENCES, "links": SELF},
    f"GET {IMPLIED}": {"role_inference": INFERENCE, "links": SELF},
    f"PUT {IMPLIED}": {"role_inference": INFERENCE, "links": SELF},
}
HEADERS = {f"{method} /v3/auth/tokens": ["X-Subject-Token"] for method in ("GET", "HEAD", "DELETE")}
BODIES: dict[str, Any] = {
    "POST /v3/auth/tokens": {"auth": auth_bodies.Auth},
    "POST /v3/users/{user_id}/password": {"user": users._PasswordChange},
    f"POST {PROGRAMS}": {"application_credential": application_credentials._New},
    f"POST {EC2S}": credentials._NewEc2,
    "PUT /v3/projects/{project_id}/tags": {"tags?": projects.Tags},
    "PUT /v3/regions/{region_id}": {"region": catalog._NewRegion},
}
QUERIES: dict[str, Any] = {
    "POST /v3/auth/tokens": ["nocatalog"],
    "GET /v3/auth/tokens": ["allow_expired", "nocatalog"],
    "HEAD /v3/auth/tokens": ["allow_expired"],
    "GET /v3/users/{user_id}/projects": ["enabled", "name"],
    f"GET {PROGRAMS}": ["name"],
    "GET /v3/projects/{project_id}": ["parents_as_ids", "parents_as_list", "subtree_as_ids", "subtree_as_list"],
    "GET /v3/role_assignments": [
        "effective", "group.id", "include_names", "include_subtree", "role.id", "scope.OS-INHERIT:inherited_to", "scope.domain.id", "scope.project.id",
        "scope.system", "user.id",
    ],
}  # fmt: skip
