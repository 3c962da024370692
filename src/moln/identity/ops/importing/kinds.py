"""What a Keystone's things are kept as: the tables, what makes a row the same, and what may differ without saying so."""

from __future__ import annotations

import sqlalchemy as sa
from msgspec import Struct

from moln.identity.store.catalog import ENDPOINTS, REGIONS, SERVICES
from moln.identity.store.credentials import ACCESS_RULES, APPLICATION_CREDENTIALS, CREDENTIALS, POLICIES
from moln.identity.store.directory import ENTRIES
from moln.identity.store.domain_configs import OPTIONS
from moln.identity.store.endpoint_groups import BY_ENDPOINT, BY_GROUP
from moln.identity.store.endpoint_groups import GROUPS as ENDPOINT_GROUPS
from moln.identity.store.endpoint_policies import ASSOCIATIONS
from moln.identity.store.federation import FEDERATED_USERS, MAPPINGS, PROTOCOLS, PROVIDERS, REMOTE_IDS, SERVICE_PROVIDERS
from moln.identity.store.groups import GROUPS, MEMBERSHIPS
from moln.identity.store.limits import LIMITS, REGISTERED
from moln.identity.store.oauth1 import CONSUMERS
from moln.identity.store.projects import PROJECTS
from moln.identity.store.roles import GRANTS, IMPLIED, ROLES
from moln.identity.store.trusts import TRUSTS
from moln.identity.store.users import OLD_PASSWORDS, SIGN_INS, USERS


class Kind(Struct, frozen=True):
    """key: the columns by which a row is known. unique: others that no two rows share, in words for whom they stop.
    changing: columns that differ from Keystone's once the thing is in use here.
    """

    name: str
    table: sa.Table
    key: tuple[str, ...] = ("id",)
    unique: tuple[str, ...] = ()
    changing: tuple[str, ...] = ()


_PASSWORD = ("password_hash", "tokens_from", "password_set_at", "password_expires_at")
_NAMED = ("domain_id", "name")
KINDS = (
    Kind("domain", PROJECTS, unique=("name", "is_domain")),
    Kind("project", PROJECTS, unique=_NAMED),
    Kind("user", USERS, unique=_NAMED, changing=_PASSWORD),
    Kind("group", GROUPS, unique=_NAMED),
    Kind("directory user", USERS, unique=_NAMED, changing=("name", "enabled", "default_project_id", "options", "extra", *_PASSWORD)),
    Kind("directory group", GROUPS, unique=_NAMED, changing=("name", "description", "extra")),
    Kind("directory entry", ENTRIES, unique=("domain_id", "kind", "local_id"), changing=("present", "signed_in_at")),
    Kind("membership", MEMBERSHIPS, ("group_id", "user_id")),
    Kind("role", ROLES, unique=_NAMED),
    Kind("implied role", IMPLIED, ("prior_id", "implied_id")),
    Kind("assignment", GRANTS, ("actor_kind", "actor_id", "target_kind", "target_id", "role_id", "inherited")),
    Kind("region", REGIONS),
    Kind("service", SERVICES),
    Kind("endpoint", ENDPOINTS),
    Kind("endpoint group", ENDPOINT_GROUPS),
    Kind("project endpoint", BY_ENDPOINT, ("endpoint_id", "project_id")),
    Kind("project endpoint group", BY_GROUP, ("endpoint_group_id", "project_id")),
    Kind("policy", POLICIES),
    Kind("policy association", ASSOCIATIONS, ("endpoint_id", "service_id", "region_id")),
    Kind("credential", CREDENTIALS, changing=("sealed",)),
    Kind("access rule", ACCESS_RULES, unique=("user_id", "service", "method", "path")),
    Kind("application credential", APPLICATION_CREDENTIALS, unique=("user_id", "name"), changing=("secret_hash",)),
    Kind("trust", TRUSTS, changing=("remaining_uses",)),
    Kind("consumer", CONSUMERS, changing=("sealed",)),
    Kind("registered limit", REGISTERED),
    Kind("limit", LIMITS),
    Kind("identity provider", PROVIDERS),
    Kind("remote id", REMOTE_IDS, ("remote_id",)),
    Kind("mapping", MAPPINGS),
    Kind("protocol", PROTOCOLS, ("idp_id", "id")),
    Kind("federated user", FEDERATED_USERS, ("user_id",), unique=("idp_id", "protocol_id", "unique_id")),
    Kind("service provider", SERVICE_PROVIDERS),
    Kind("domain option", OPTIONS, ("domain_id", "group", "option"), changing=("value",)),
)
OF_NEW_USERS = (("old password", OLD_PASSWORDS), ("sign-in", SIGN_INS))
"""What comes with a user, and never again: here it goes its own way."""
