"""What a fresh cloud has and every Keystone has, too: ours takes the id that is known elsewhere, and what Keystone says of it."""

from __future__ import annotations

from typing import Any

import msgspec
import sqlalchemy as sa

from moln.identity.model.keystone.reading import Reading, Row
from moln.identity.ops.bootstrap import ADMIN, DEFAULT, DEFAULT_DESCRIPTION, OTHER_ROLES, OURS, PASSWORD_FILE, ROLE_CHAIN
from moln.identity.ops.importing.report import Report, find
from moln.identity.store import catalog, projects, roles, users
from moln.identity.store.catalog import ENDPOINT_LISTING, SERVICES
from moln.identity.store.projects import PROJECTS
from moln.identity.store.renaming import rename
from moln.identity.store.roles import ROLES
from moln.identity.store.users import USERS
from moln.kernel.db import Transaction
from moln.kernel.db.owners import tables_of

OUR_TABLES = "identity_"


async def give_way_in(tx: Transaction, reading: Reading, report: Report) -> set[str]:
    """Rename what is ours in the open transaction. Returns the ids of Keystone's services that are this cloud's own now."""
    await _default_domain(tx, reading)
    ours = {role.name: role.id for role in await roles.every(tx) if role.domain_id is None and role.name in (*ROLE_CHAIN, *OTHER_ROLES)}
    for row in reading.rows["role"]:
        if row["domain_id"] is None and row["name"] in ours and row["id"] != ours[row["name"]] and await roles.find(tx, row["id"]) is None:
            await _take(tx, ROLES, ours[row["name"]], row)
    for row in reading.rows["project"]:
        if row["domain_id"] == DEFAULT and row["name"] in (ADMIN, "service"):
            await _owner(tx, report, "project", PROJECTS, await projects.find_named(tx, row["name"], DEFAULT), row)
    for row in reading.rows["user"]:
        if row["domain_id"] == DEFAULT and row["name"] == ADMIN:
            await _administrator(tx, report, row)
    return await _services(tx, reading)


async def _take(tx: Transaction, table: sa.Table, ours: str, row: Row) -> None:
    """Our row becomes Keystone's."""
    await rename(tx, table, ours, row["id"])
    await tx.update(table, {name: value for name, value in row.items() if name != "id"}, id=row["id"])


async def _default_domain(tx: Transaction, reading: Reading) -> None:
    """As long as nobody here has said anything of it."""
    here = await projects.find_domain(tx, DEFAULT)
    for row in reading.rows["domain"]:
        if row["id"] == DEFAULT and here is not None and (here.name, here.description) == ("Default", DEFAULT_DESCRIPTION) and not here.extra:
            await tx.update(PROJECTS, {name: value for name, value in row.items() if name != "id"}, id=DEFAULT)


async def _owner(tx: Transaction, report: Report, kind: str, table: sa.Table, here: Any, row: Row) -> bool:
    """A project or user of ours becomes Keystone's, if nothing outside identity is theirs. Whether it did."""
    if here is None or here.id == row["id"] or await find(tx, table, id=row["id"]) is not None:
        return False
    owning = await tables_of(tx, f"{kind}_id", here.id, but=OUR_TABLES)
    if owning:
        report.conflicts.append(f"{kind} {here.name}: ours has another id, {here.id}, and owns {', '.join(owning)}. "
                                f"Rename it: openstack {kind} set --name moln-{here.name} {here.id}")  # fmt: skip
        return False
    await _take(tx, table, here.id, row)
    return True


async def _administrator(tx: Transaction, report: Report, row: Row) -> None:
    here = await users.find_named(tx, ADMIN, DEFAULT)
    if here is not None and here.id != row["id"] and not (row["enabled"] and row["password_hash"]):
        report.conflicts.append(f"user {ADMIN} ({row['id']}): it is disabled or has no password, and would take the place of our administrator")
    elif await _owner(tx, report, "user", USERS, here, row):
        report.new_users.add(row["id"])
        report.notes.append(f"The administrator is Keystone's from now on: put its password into {PASSWORD_FILE} of the home, then moln up")


async def _services(tx: Transaction, reading: Reading) -> set[str]:
    """Services that this cloud is itself, by type: they take Keystone's ids; a second one of a type is one more of theirs."""
    own = {endpoint.service_id for endpoint in await ENDPOINT_LISTING.page(tx) if OURS in endpoint.extra}
    by_type = {service.type: service.id for service in await catalog.enabled_services(tx) if service.id in own}
    found = set()
    for row in reading.rows["service"]:
        ours = by_type.get(row["type"])
        if ours is None:
            continue
        found.add(row["id"])
        if row["id"] not in own and ours not in {other["id"] for other in reading.rows["service"]}:
            await _take(tx, SERVICES, ours, row | {"enabled": True})
            by_type[row["type"]] = row["id"]
    return found


def same(value: Any, kept: Any) -> bool:
    """Whether a column's value is what is kept; JSON is compared by what it says."""
    if isinstance(value, (dict, list)):
        return kept is not None and bool(msgspec.json.decode(kept) == value)
    return bool(value == kept)
