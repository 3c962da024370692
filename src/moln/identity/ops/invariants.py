"""What must always be true of identity, for `moln doctor`."""

from __future__ import annotations

from moln.identity.ops import directories
from moln.identity.store import catalog, orphans
from moln.identity.store import projects as project_store
from moln.identity.store import users as user_store
from moln.identity.store.roles import GRANT_LISTING
from moln.identity.store.roles import LISTING as ROLE_LISTING
from moln.kernel.cloud import Cloud
from moln.kernel.errors import Unavailable
from moln.kernel.module import Invariant, Violation


async def _references(cloud: Cloud) -> list[Violation]:
    return [
        Violation(f"{column} names {id_}, which is not in {table}", "remove the row, or restore what it names from a backup")
        for column, table, id_ in await orphans.find(cloud.db)
    ]


async def _administrator(cloud: Cloud) -> list[Violation]:
    """Somebody must be able to sign in as an administrator."""
    roles = await ROLE_LISTING.page(cloud.db, [("name", "eq", "admin"), ("domain_id", "null", None)])
    for role in roles:
        for grant in await GRANT_LISTING.page(cloud.db, [("role_id", "eq", role.id)], limit=1000):
            if grant.actor_kind == "group":
                return []
            user = await user_store.find(cloud.db, grant.actor_id)
            if user is not None and user.enabled:
                return []
    return [Violation("nobody who is enabled has the role admin", "enable the user admin in the database")]


async def _catalogue(cloud: Cloud) -> list[Violation]:
    found = []
    if await project_store.find_domain(cloud.db, "default") is None:
        found.append(Violation("the domain default is gone", "clients that name no domain fail; make them name one"))
    types = {service.type for service in await catalog.enabled_services(cloud.db)}
    if "identity" not in types:
        found.append(Violation("the catalogue has no identity service", "openstack service create and endpoint create"))
    return found


async def _directories(cloud: Cloud) -> list[Violation]:
    """Each is asked for somebody who is not there."""
    found = []
    for domain_id in sorted(await directories.domains(cloud)):
        try:
            directory = await directories.of_domain(cloud, domain_id)
            if directory is not None:
                await directory.person(name="moln-doctor")
        except Unavailable as lost:
            found.append(Violation(f"users of domain {domain_id} cannot sign in: {lost.message} {lost.detail or ''}".rstrip(), "start the directory, or mend the domain's configuration"))
    return found


INVARIANTS = (
    Invariant("identity: nothing names what is gone", _references),
    Invariant("identity: there is an administrator", _administrator),
    Invariant("identity: the catalogue leads back to us", _catalogue),
    Invariant("identity: directories answer", _directories),
)
