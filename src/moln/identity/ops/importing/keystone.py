"""All of a Keystone in one transaction: again it changes nothing, and where a name is another's it changes nothing either."""

from __future__ import annotations

import asyncio
from typing import Any

from moln.identity.model import keystone
from moln.identity.model.keystone.reading import Left, Reading, Row, Tables
from moln.identity.model.limits import Limit, RegisteredLimit
from moln.identity.ops import foreign_hashes, limits
from moln.identity.ops.importing.kinds import KINDS, OF_NEW_USERS, Kind
from moln.identity.ops.importing.ours import give_way_in, same
from moln.identity.ops.importing.report import Report, find
from moln.identity.ops.state import catalog_changed, of, people_changed
from moln.identity.store import orphans
from moln.kernel.cloud import Cloud
from moln.kernel.db import Transaction
from moln.kernel.errors import Conflict, Invalid

OWN_ENDPOINT = "this cloud has that service itself, at its own address"


class _Undone(Exception):
    """Takes a dry run back."""

    def __init__(self, report: Report):
        super().__init__()
        self.report = report


async def run(cloud: Cloud, tables: Tables, *, dry_run: bool) -> dict[str, Any]:
    """tables: Keystone's, by name, credentials with their `blob` in the clear. Returns what was done or would be.

    Raises: Invalid, when it is no Keystone's database; Conflict, naming what is in the way.
    """
    if not tables.get("project") or "local_user" not in tables:
        raise Invalid("That is no Keystone's database: it has no projects.")
    reading = await asyncio.to_thread(_prepare, cloud, tables)
    try:
        report = await cloud.db.write(_write_in, reading, cloud.settings.region, dry_run)
    except _Undone as undone:
        report = undone.report
    return report.view()


def _prepare(cloud: Cloud, tables: Tables) -> Reading:
    """Read, and seal with this cloud's key what Keystone's key opened."""
    now_us = cloud.clock.now_us()
    reading, vault = keystone.read(tables, now_us), of(cloud).vault
    for kind, clear in (("credential", "blob"), ("consumer", "secret")):
        for row in reading.rows[kind]:
            row["sealed"] = vault.seal(row.pop(clear).encode(), now_us // 1_000_000)
    for row in reading.rows["domain option"]:
        if row["sensitive"]:
            row["value"] = vault.seal(row["value"].encode(), now_us // 1_000_000)
    _check_hashes(reading)
    return reading


def _check_hashes(reading: Reading) -> None:
    """A hash that nobody here can verify is no use. Raises: Invalid, when only a package is missing."""
    kinds = (("user", "password_hash"), ("application credential", "secret_hash"))
    hashes = [(kind, column, row) for kind, column in kinds for row in reading.rows[kind] if row[column] is not None]
    if any(foreign_hashes.needs_bcrypt(row[column]) for _, column, row in hashes):
        try:
            import bcrypt  # noqa: F401
        except ModuleNotFoundError:
            raise Invalid("Some of its passwords are hashed with bcrypt, which needs the package bcrypt: pip install 'moln[import]'") from None
    for kind, column, row in hashes:
        if not foreign_hashes.is_foreign(row[column]):
            reading.leave(f"secret of {kind}", row["id"], row["name"], "its hash is of a kind that is not known here: give it a new one")
            row[column] = None if kind == "user" else ""


async def _write_in(tx: Transaction, reading: Reading, region: str, dry_run: bool) -> Report:
    report = Report(reading.left)
    before = set(await orphans.find(tx))
    own = await give_way_in(tx, reading, report)
    rows = _without_own_endpoints(reading, own, report)
    for kind in KINDS:
        for row in rows[kind.name]:
            if await _bring(tx, kind, row, report):
                await _brought(tx, kind, row, report, region)
    for name, table in OF_NEW_USERS:
        for row in rows.get(name, []):
            if row["user_id"] in report.new_users:
                report.brought[name] += await tx.insert(table, row, if_absent=True)
    if after := set(await orphans.find(tx)) - before:
        report.conflicts += [f"{column} naming {id_}, which is not in {table}" for column, table, id_ in sorted(after)]
    people_changed(tx)
    catalog_changed(tx)
    if dry_run:
        raise _Undone(report)
    if report.conflicts:
        raise Conflict(report.message())
    return report


def _without_own_endpoints(reading: Reading, own: set[str], report: Report) -> dict[str, list[Row]]:
    """The rows without the endpoints of services that this cloud has itself, and what is said of those."""
    gone = {row["id"]: row for row in reading.rows["endpoint"] if row["service_id"] in own}
    report.left += [Left("endpoint", row["id"], row["url"], OWN_ENDPOINT) for row in gone.values()]
    rows = dict.fromkeys((kind.name for kind in KINDS), []) | reading.rows
    for kind in ("endpoint", "project endpoint", "policy association"):
        column = "id" if kind == "endpoint" else "endpoint_id"
        if kind != "endpoint":
            report.left += [Left(kind, row[column], "", "its endpoint stays behind") for row in rows[kind] if row[column] in gone]
        rows[kind] = [row for row in rows[kind] if row[column] not in gone]
    return rows


async def _bring(tx: Transaction, kind: Kind, row: Row, report: Report) -> bool:
    """Add a row if it is not here; whether it was not."""
    here = await find(tx, kind.table, **{name: row[name] for name in kind.key})
    if here is None:
        if await tx.insert(kind.table, row, if_absent=True):
            report.brought[kind.name] += 1
            return True
        report.conflicts.append(await _why(tx, kind, row))
        return False
    other = [name for name, value in row.items() if name not in kind.changing and not same(value, here[name])]
    if other:
        report.differing.append({"kind": kind.name, "id": "/".join(str(row[name]) for name in kind.key), "columns": other})
    else:
        report.there[kind.name] += 1
    return False


async def _why(tx: Transaction, kind: Kind, row: Row) -> str:
    """What keeps a row out: another one with what only one may have."""
    holder = await find(tx, kind.table, **{name: row[name] for name in kind.unique}) if kind.unique else None
    what = row.get("name") or "/".join(str(row[name]) for name in kind.unique or kind.key)
    return f"{kind.name} {what} ({row.get('id', '')}): {(holder or {}).get('id', 'another')} has that name here"


async def _brought(tx: Transaction, kind: Kind, row: Row, report: Report, region: str) -> None:
    """What follows from a row: limits are the quotas of our services."""
    if kind.name == "user":
        report.new_users.add(row["id"])
    elif kind.name == "registered limit":
        await limits.drive_in(tx, RegisteredLimit(**row), limits.EVERYBODY, row["default_limit"], region)
    elif kind.name == "limit":
        await limits.drive_in(tx, Limit(**row), row["project_id"] or row["domain_id"], row["resource_limit"], region)
