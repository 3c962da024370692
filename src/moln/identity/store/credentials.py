"""identity_credentials, identity_application_credentials, identity_access_rules and identity_policies."""

from __future__ import annotations

import sqlalchemy as sa

from moln.identity.model.credentials import ApplicationCredential, Credential, KeptRule, Policy
from moln.kernel.db import INT, TEXT, Listing, Query, QueryBeside, Reader, Transaction, column, in_list, table

CREDENTIALS = table(
    "identity_credentials",
    column("id", TEXT, unique=True),
    column("type"),
    column("user_id", TEXT, index=True),
    column("sealed"),
    column("project_id", TEXT, null=True, index=True),
    column("extra"),
)
APPLICATION_CREDENTIALS = table(
    "identity_application_credentials",
    column("id", TEXT, unique=True),
    column("name"),
    column("user_id", TEXT, index=True),
    column("project_id", TEXT, index=True),
    column("description", null=True),
    column("roles"),
    column("expires_at", INT, null=True),
    column("unrestricted", INT),
    column("access_rules", null=True),
    column("secret_hash"),
    sa.UniqueConstraint("user_id", "name"),
)
ACCESS_RULES = table(
    "identity_access_rules",
    column("id", TEXT, unique=True),
    column("user_id"),
    column("service"),
    column("method"),
    column("path"),
    sa.UniqueConstraint("user_id", "service", "method", "path"),
)
POLICIES = table("identity_policies", column("id", TEXT, unique=True), column("type"), column("blob"), column("extra"))
_C, _A = CREDENTIALS.c, APPLICATION_CREDENTIALS.c
_CREDENTIAL = sa.select(*[c for c in _C if c.name != "rowid"])
_APPLICATION = sa.select(*[c for c in _A if c.name not in ("rowid", "secret_hash")])
_POLICY = sa.select(*[c for c in POLICIES.c if c.name != "rowid"])
_R = ACCESS_RULES.c
_RULE = sa.select(*[c for c in _R if c.name != "rowid"])
RULE_LISTING = Listing(_RULE, KeptRule, ACCESS_RULES)
_GET_RULE = Query(_RULE.where(_R.id == sa.bindparam("id")), KeptRule)
_RULES = Query(_RULE.where(in_list(_R.id, "ids")).order_by(_R.rowid), KeptRule)
LISTING = Listing(_CREDENTIAL, Credential, CREDENTIALS)
APPLICATION_LISTING = Listing(_APPLICATION, ApplicationCredential, APPLICATION_CREDENTIALS)
POLICY_LISTING = Listing(_POLICY, Policy, POLICIES)
_GET = Query(_CREDENTIAL.where(_C.id == sa.bindparam("id")), Credential)
_OF_USER = Query(_CREDENTIAL.where(_C.user_id == sa.bindparam("user_id"), _C.type == sa.bindparam("type")).order_by(_C.rowid), Credential)
_GET_APPLICATION = Query(_APPLICATION.where(_A.id == sa.bindparam("id")), ApplicationCredential)
_WITH_HASH = _APPLICATION.add_columns(_A.secret_hash)
_GET_WITH_HASH = QueryBeside(_WITH_HASH.where(_A.id == sa.bindparam("id")), ApplicationCredential)
_NAMED_WITH_HASH = QueryBeside(
    _WITH_HASH.where(_A.user_id == sa.bindparam("user_id"), _A.name == sa.bindparam("name")), ApplicationCredential
)
_GET_POLICY = Query(_POLICY.where(POLICIES.c.id == sa.bindparam("id")), Policy)


async def find(db: Reader, credential_id: str) -> Credential | None:
    return await db.one(_GET, id=credential_id)


async def of_user(db: Reader, user_id: str, type_: str) -> list[Credential]:
    return await db.all(_OF_USER, user_id=user_id, type=type_)


async def find_application(db: Reader, credential_id: str) -> ApplicationCredential | None:
    return await db.one(_GET_APPLICATION, id=credential_id)


async def find_with_hash(db: Reader, credential_id: str) -> tuple[ApplicationCredential, str] | None:
    """An application credential, and the hash of its secret."""
    return await db.one(_GET_WITH_HASH, id=credential_id)


async def find_named_with_hash(db: Reader, user_id: str, name: str) -> tuple[ApplicationCredential, str] | None:
    return await db.one(_NAMED_WITH_HASH, user_id=user_id, name=name)


async def find_policy(db: Reader, policy_id: str) -> Policy | None:
    return await db.one(_GET_POLICY, id=policy_id)


async def find_rule(db: Reader, rule_id: str) -> KeptRule | None:
    return await db.one(_GET_RULE, id=rule_id)


async def rules_of(db: Reader, credential: ApplicationCredential) -> tuple[KeptRule, ...] | None:
    """The only requests that a credential's tokens are good for; None: all."""
    if credential.access_rules is None:
        return None
    return tuple(await db.all(_RULES, ids=credential.access_rules))


async def forget_user(tx: Transaction, user_id: str) -> None:
    """What is kept for somebody who goes, goes too."""
    await tx.delete(CREDENTIALS, user_id=user_id)
    await tx.delete(APPLICATION_CREDENTIALS, user_id=user_id)
    await tx.delete(ACCESS_RULES, user_id=user_id)


async def forget_project(tx: Transaction, project_id: str) -> None:
    await tx.delete(CREDENTIALS, project_id=project_id)
    await tx.delete(APPLICATION_CREDENTIALS, project_id=project_id)
