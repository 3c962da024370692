"""What points at nothing: there should be none of it."""

from __future__ import annotations

import sqlalchemy as sa

from moln.identity.store.catalog import ENDPOINTS, REGIONS, SERVICES
from moln.identity.store.credentials import ACCESS_RULES, APPLICATION_CREDENTIALS, CREDENTIALS, POLICIES
from moln.identity.store.directory import ENTRIES
from moln.identity.store.domain_configs import OPTIONS
from moln.identity.store.endpoint_groups import BY_ENDPOINT, BY_GROUP
from moln.identity.store.endpoint_groups import GROUPS as ENDPOINT_GROUPS
from moln.identity.store.endpoint_policies import ASSOCIATIONS
from moln.identity.store.federation import FEDERATED_USERS, PROTOCOLS, PROVIDERS
from moln.identity.store.groups import GROUPS, MEMBERSHIPS
from moln.identity.store.limits import LIMITS, REGISTERED
from moln.identity.store.oauth1 import ACCESS_TOKENS, CONSUMERS, REQUEST_TOKENS
from moln.identity.store.projects import PROJECTS
from moln.identity.store.roles import GRANTS, IMPLIED, ROLES
from moln.identity.store.trusts import TRUSTS
from moln.identity.store.users import OLD_PASSWORDS, SIGN_INS, USERS
from moln.kernel.db import Query, Reader

MOST = 100
POINTERS = (  # a column, what it names, which rows
    (USERS.c.domain_id, PROJECTS, sa.true()),
    (GROUPS.c.domain_id, PROJECTS, sa.true()),
    (PROJECTS.c.domain_id, PROJECTS, sa.true()),
    (PROJECTS.c.parent_id, PROJECTS, sa.true()),
    (ROLES.c.domain_id, PROJECTS, sa.true()),
    (MEMBERSHIPS.c.group_id, GROUPS, sa.true()),
    (MEMBERSHIPS.c.user_id, USERS, sa.true()),
    (GRANTS.c.actor_id, USERS, GRANTS.c.actor_kind == "user"),
    (GRANTS.c.actor_id, GROUPS, GRANTS.c.actor_kind == "group"),
    (GRANTS.c.target_id, PROJECTS, GRANTS.c.target_kind != "system"),
    (GRANTS.c.role_id, ROLES, sa.true()),
    (IMPLIED.c.prior_id, ROLES, sa.true()),
    (IMPLIED.c.implied_id, ROLES, sa.true()),
    (CREDENTIALS.c.user_id, USERS, sa.true()),
    (APPLICATION_CREDENTIALS.c.user_id, USERS, sa.true()),
    (APPLICATION_CREDENTIALS.c.project_id, PROJECTS, sa.true()),
    (TRUSTS.c.trustor_user_id, USERS, sa.true()),
    (TRUSTS.c.trustee_user_id, USERS, sa.true()),
    (TRUSTS.c.project_id, PROJECTS, sa.true()),
    (TRUSTS.c.redelegated_trust_id, TRUSTS, sa.true()),
    (ACCESS_RULES.c.user_id, USERS, sa.true()),
    (ACCESS_TOKENS.c.authorizing_user_id, USERS, sa.true()),
    (ACCESS_TOKENS.c.consumer_id, CONSUMERS, sa.true()),
    (ACCESS_TOKENS.c.project_id, PROJECTS, sa.true()),
    (REQUEST_TOKENS.c.consumer_id, CONSUMERS, sa.true()),
    (SIGN_INS.c.user_id, USERS, sa.true()),
    (OLD_PASSWORDS.c.user_id, USERS, sa.true()),
    (BY_ENDPOINT.c.endpoint_id, ENDPOINTS, sa.true()),
    (BY_ENDPOINT.c.project_id, PROJECTS, sa.true()),
    (BY_GROUP.c.endpoint_group_id, ENDPOINT_GROUPS, sa.true()),
    (BY_GROUP.c.project_id, PROJECTS, sa.true()),
    (ASSOCIATIONS.c.policy_id, POLICIES, sa.true()),
    (ASSOCIATIONS.c.endpoint_id, ENDPOINTS, ASSOCIATIONS.c.endpoint_id != ""),
    (ASSOCIATIONS.c.service_id, SERVICES, ASSOCIATIONS.c.service_id != ""),
    (ASSOCIATIONS.c.region_id, REGIONS, ASSOCIATIONS.c.region_id != ""),
    (LIMITS.c.project_id, PROJECTS, sa.true()),
    (LIMITS.c.domain_id, PROJECTS, sa.true()),
    (LIMITS.c.service_id, SERVICES, sa.true()),
    (REGISTERED.c.service_id, SERVICES, sa.true()),
    (OPTIONS.c.domain_id, PROJECTS, sa.true()),
    (PROVIDERS.c.domain_id, PROJECTS, sa.true()),
    (PROTOCOLS.c.idp_id, PROVIDERS, sa.true()),
    (FEDERATED_USERS.c.user_id, USERS, sa.true()),
    (ENTRIES.c.id, USERS, ENTRIES.c.kind == "user"),
    (ENTRIES.c.id, GROUPS, ENTRIES.c.kind == "group"),
    (ENDPOINTS.c.service_id, SERVICES, sa.true()),
    (ENDPOINTS.c.region_id, REGIONS, sa.true()),
)


def _query(column: sa.Column[str], target: sa.Table, which: sa.ColumnElement[bool]) -> Query[str]:
    named = sa.alias(target)
    there = sa.select(named.c.id).where(named.c.id == column).correlate(column.table).exists()
    return Query(sa.select(column).where(column.is_not(None), which, ~there).limit(MOST), str)


_QUERIES = [(f"{c.table.name}.{c.name}", target.name, _query(c, target, which)) for c, target, which in POINTERS]


async def find(db: Reader) -> list[tuple[str, str, str]]:
    """(column, the table it should find the id in, the id), for each that finds nothing."""
    return [(column, table, id_) for column, table, query in _QUERIES for id_ in await db.all(query)]
