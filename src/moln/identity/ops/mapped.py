"""Users whom an identity provider vouches for: what a trusted proxy says of them, mapped to a user and groups here."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from moln.identity.model import mapping as language
from moln.identity.model.federation import IdentityProvider, Protocol
from moln.identity.model.mapping import Assertion, Mapped, Unmapped
from moln.identity.model.projects import Project
from moln.identity.model.roles import Grant
from moln.identity.model.tokens import Federated, OpenToken
from moln.identity.model.users import User
from moln.identity.ops import authentication, directory_entries, grants, projects, signing_in, users
from moln.identity.ops.access import missing
from moln.identity.ops.authentication import Shown, Wanted
from moln.identity.ops.examining import active_domain, active_user, unauthorized
from moln.identity.ops.naming import Named, find_domain, find_user
from moln.identity.ops.state import of
from moln.identity.store import federation as store
from moln.identity.store import groups as group_store
from moln.identity.store import projects as project_store
from moln.identity.store import users as user_store
from moln.identity.store.federation import FEDERATED_USERS
from moln.identity.store.users import USERS
from moln.kernel.cloud import Cloud
from moln.kernel.db import Transaction
from moln.kernel.errors import Conflict, Forbidden


class Arrival(Struct, frozen=True):
    """A user who is to be here. ids: what new things are called, the same when the write runs again."""

    provider: IdentityProvider
    protocol_id: str
    unique_id: str
    name: str
    projects: list[dict[str, Any]]
    roles: dict[str, str]
    ids: list[str]


async def named(cloud: Cloud, idp_id: str, protocol_id: str) -> tuple[IdentityProvider, Protocol]:
    """A provider that is enabled, and its protocol. Raises: NotFound, Forbidden."""
    provider = await store.find_provider(cloud.db, idp_id)
    protocol = await store.find_protocol(cloud.db, idp_id, protocol_id)
    if provider is None or protocol is None:
        raise missing("federated protocol" if provider else "identity provider", protocol_id if provider else idp_id)
    if not provider.enabled:
        raise Forbidden(f"Identity Provider {idp_id} is disabled")
    return provider, protocol


async def provider_of(cloud: Cloud, protocol_id: str, assertion: Assertion) -> str:
    """The provider whose protocol of this name finds one of the provider's remote ids in an assertion, or the only one that there is,
    where its protocol says not how to find it. Raises: Forbidden.
    """
    found = await store.providers_with(cloud.db, protocol_id)
    for idp_id in found:
        provider, protocol = await store.find_provider(cloud.db, idp_id), await store.find_protocol(cloud.db, idp_id, protocol_id)
        if provider is not None and protocol is not None and protocol.remote_id_attribute:
            if assertion.get(protocol.remote_id_attribute) in provider.remote_ids:
                return idp_id
        elif len(found) == 1:
            return idp_id
    raise Forbidden("Incoming identity provider identifier not included among the accepted identifiers.")


async def authenticate(cloud: Cloud, idp_id: str, protocol_id: str, assertion: Assertion, issuer: str = "") -> tuple[str, OpenToken]:
    """An unscoped token. issuer: the provider's own name for itself, where it has been proved. Raises: NotFound, Forbidden, Unauthorized."""
    provider, protocol = await named(cloud, idp_id, protocol_id)
    said = issuer or (assertion.get(protocol.remote_id_attribute) if protocol.remote_id_attribute else None)
    if provider.remote_ids and (issuer or protocol.remote_id_attribute) and said not in provider.remote_ids:
        raise Forbidden("Incoming identity provider identifier not included among the accepted identifiers.")
    mapping = await store.find_mapping(cloud.db, protocol.mapping_id)
    try:
        mapped = language.apply(language.rules_of(mapping.rules if mapping else []), assertion)
    except (Unmapped, ValueError) as error:
        raise unauthorized(f"{idp_id}/{protocol_id}: {error}") from None
    if mapped.user["type"] == "local":
        user, group_ids = await _local(cloud, mapped.user), []
    else:
        user, group_ids = await _ephemeral(cloud, provider, protocol_id, mapped, assertion), await _groups(cloud, mapped)
    return await authentication.authenticate(cloud, Shown(mapped=(user, Federated(idp_id, protocol_id, tuple(group_ids)))), Wanted(unscoped=True))


async def _local(cloud: Cloud, mapped: dict[str, Any]) -> User:
    """One who is here already; their groups are those that they have here. Raises: Unauthorized."""
    domain = mapped.get("domain", {})
    who = Named(mapped.get("id"), mapped.get("name"), Named(domain.get("id"), domain.get("name")))
    if (elsewhere := await signing_in.whose(cloud, who)) is not None:
        await directory_entries.refresh_list(cloud, elsewhere.domain_id, "user", elsewhere.name) if elsewhere.name else None
    found = await find_user(cloud.db, who)
    if found is None:
        raise unauthorized("a mapping names a local user who is not here")
    await active_domain(cloud.db, found.domain_id)
    return await active_user(cloud.db, found.id)


async def _groups(cloud: Cloud, mapped: Mapped) -> list[str]:
    """The ids of the groups that there are. Raises: Unauthorized, for an id that is no group's."""
    found: dict[str, None] = {}
    for group_id in mapped.group_ids:
        if await group_store.find(cloud.db, group_id) is None:
            raise unauthorized(f"a mapping names group {group_id}, which is not here")
        found[group_id] = None
    for group in mapped.group_names:
        domain = await find_domain(cloud.db, Named(group["domain"].get("id"), group["domain"].get("name")))
        here = await group_store.LISTING.page(cloud.db, [("name", "eq", group["name"]), ("domain_id", "eq", domain.id)]) if domain else []
        found |= dict.fromkeys(g.id for g in here)
    return list(found)


async def _ephemeral(cloud: Cloud, provider: IdentityProvider, protocol_id: str, mapped: Mapped, assertion: Assertion) -> User:
    """The provider's user, made here when they come first. Raises: Unauthorized."""
    remote = assertion.get("REMOTE_USER")
    name = mapped.user.get("name") or mapped.user.get("id") or (remote[0] if isinstance(remote, list) else remote)
    unique_id = mapped.user.get("id") or name
    if not name or not unique_id or len(name) > 255 or len(unique_id) > 255:
        raise unauthorized("a mapping gives the user no name")
    known, _ = await of(cloud).roles(cloud.db)
    roles = {role.name: role.id for role in known.values() if role.domain_id is None}
    wanted = {role["name"] for project in mapped.projects for role in project["roles"]}
    if wanted - set(roles):
        raise unauthorized(f"a mapping names the roles {sorted(wanted - set(roles))}, which are not here")
    ids = [cloud.ids.hex() for _ in range(1 + len(mapped.projects))]
    user_id = await cloud.db.write(_arrive_in, Arrival(provider, protocol_id, unique_id, name, mapped.projects, roles, ids))
    return await active_user(cloud.db, user_id)


async def _arrive_in(tx: Transaction, coming: Arrival) -> str:
    user_id = await store.user_of(tx, coming.provider.id, coming.protocol_id, coming.unique_id)
    domain_id = coming.provider.domain_id
    if user_id is None or await user_store.find(tx, user_id) is None:
        user_id = coming.ids[0]
        try:
            await users.create_in(tx, User(user_id, coming.name, domain_id), None)
        except Conflict:
            raise unauthorized(f"the name {coming.name} is another's in domain {domain_id}") from None
        row = {"idp_id": coming.provider.id, "protocol_id": coming.protocol_id, "unique_id": coming.unique_id, "user_id": user_id}
        await tx.insert(FEDERATED_USERS, row)
    else:
        await tx.update(USERS, {"name": coming.name}, id=user_id)
    for project, id_ in zip(coming.projects, coming.ids[1:], strict=True):
        there = await project_store.find_named(tx, project["name"], domain_id)
        if there is None:
            there = Project(id_, project["name"], domain_id, domain_id)
            await projects.create_in(tx, there)
        for role in project["roles"]:
            await grants.create_in(tx, Grant("user", user_id, "project", there.id, coming.roles[role["name"]]))
    return user_id
