"""identity_providers, identity_protocols, identity_mappings, identity_service_providers and identity_federated_users."""

from __future__ import annotations

import sqlalchemy as sa

from moln.identity.model.federation import IdentityProvider, Mapping, Protocol, ServiceProvider
from moln.kernel.db import INT, TEXT, Listing, Query, Reader, Transaction, column, table

PROVIDERS = table(
    "identity_providers",
    column("id", TEXT, unique=True),
    column("domain_id", TEXT, index=True),
    column("enabled", INT),
    column("description", null=True),
    column("remote_ids"),
    column("authorization_ttl", INT, null=True),
)
REMOTE_IDS = table("identity_remote_ids", column("remote_id", TEXT, unique=True), column("idp_id", TEXT, index=True))
PROTOCOLS = table(
    "identity_protocols",
    column("id"),
    column("idp_id"),
    column("mapping_id"),
    column("remote_id_attribute", null=True),
    sa.UniqueConstraint("idp_id", "id"),
)
MAPPINGS = table("identity_mappings", column("id", TEXT, unique=True), column("rules"), column("schema_version"))
SERVICE_PROVIDERS = table(
    "identity_service_providers",
    column("id", TEXT, unique=True),
    column("auth_url"),
    column("sp_url"),
    column("enabled", INT),
    column("description", null=True),
    column("relay_state_prefix"),
)
FEDERATED_USERS = table(
    "identity_federated_users",
    column("idp_id", TEXT, index=True),
    column("protocol_id"),
    column("unique_id"),
    column("user_id", TEXT, unique=True),
    sa.UniqueConstraint("idp_id", "protocol_id", "unique_id"),
)


def _all(of: sa.Table) -> sa.Select[tuple[object, ...]]:
    return sa.select(*[c for c in of.columns if c.name != "rowid"])


_F = FEDERATED_USERS.c
PROVIDER_LISTING = Listing(_all(PROVIDERS), IdentityProvider, PROVIDERS)
PROTOCOL_LISTING = Listing(_all(PROTOCOLS), Protocol, PROTOCOLS)
MAPPING_LISTING = Listing(_all(MAPPINGS), Mapping, MAPPINGS)
SERVICE_PROVIDER_LISTING = Listing(_all(SERVICE_PROVIDERS), ServiceProvider, SERVICE_PROVIDERS)
_PROVIDER = Query(_all(PROVIDERS).where(PROVIDERS.c.id == sa.bindparam("id")), IdentityProvider)
_PROTOCOL = Query(_all(PROTOCOLS).where(PROTOCOLS.c.idp_id == sa.bindparam("idp_id"), PROTOCOLS.c.id == sa.bindparam("id")), Protocol)
_WITH = Query(sa.select(PROTOCOLS.c.idp_id).where(PROTOCOLS.c.id == sa.bindparam("id")).order_by(PROTOCOLS.c.rowid), str)
_MAPPING = Query(_all(MAPPINGS).where(MAPPINGS.c.id == sa.bindparam("id")), Mapping)
_SERVICE_PROVIDER = Query(_all(SERVICE_PROVIDERS).where(SERVICE_PROVIDERS.c.id == sa.bindparam("id")), ServiceProvider)
_USER = Query(
    sa.select(_F.user_id).where(
        _F.idp_id == sa.bindparam("idp_id"), _F.protocol_id == sa.bindparam("protocol_id"), _F.unique_id == sa.bindparam("unique_id")
    ),
    str,
)


async def find_provider(db: Reader, id_: str) -> IdentityProvider | None:
    return await db.one(_PROVIDER, id=id_)


async def find_protocol(db: Reader, idp_id: str, id_: str) -> Protocol | None:
    return await db.one(_PROTOCOL, idp_id=idp_id, id=id_)


async def providers_with(db: Reader, protocol_id: str) -> list[str]:
    """The providers that have a protocol of this name."""
    return await db.all(_WITH, id=protocol_id)


async def find_mapping(db: Reader, id_: str) -> Mapping | None:
    return await db.one(_MAPPING, id=id_)


async def find_service_provider(db: Reader, id_: str) -> ServiceProvider | None:
    return await db.one(_SERVICE_PROVIDER, id=id_)


async def user_of(db: Reader, idp_id: str, protocol_id: str, unique_id: str) -> str | None:
    """The user whom a provider calls so."""
    return await db.one(_USER, idp_id=idp_id, protocol_id=protocol_id, unique_id=unique_id)


async def forget_user(tx: Transaction, user_id: str) -> None:
    await tx.delete(FEDERATED_USERS, user_id=user_id)


async def forget_domain(tx: Transaction, domain_id: str) -> None:
    """Remove the providers of a domain's users."""
    for provider in await PROVIDER_LISTING.page(tx, [("domain_id", "eq", domain_id)]):
        await tx.delete(PROTOCOLS, idp_id=provider.id)
        await tx.delete(REMOTE_IDS, idp_id=provider.id)
        await tx.delete(PROVIDERS, id=provider.id)
