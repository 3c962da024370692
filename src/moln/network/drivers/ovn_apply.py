"""Comparing wanted northbound rows with those that are there, and writing the difference.

Everything here runs in the IDL's thread, inside one OVSDB transaction, where nothing changes underfoot.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ovs.db import idl as ovs_idl

from moln.network.drivers.base import Applied, Fenced
from moln.network.drivers.rows import GROUPS, HOLDER, OWNER, TABLES, Ref, Row, Unit, unit_of
from moln.network.model.topology import Change

EPOCH = "moln:epoch"  # external_ids key of NB_Global: the writer that may write


class RowIndex:
    """Moln's rows by their name, kept by the IDL's notifications. A stale entry does no harm: it is looked up again."""

    def __init__(self) -> None:
        self._places: dict[str, tuple[str, Any]] = {}
        self._units: dict[Change, set[str]] = {}
        self.seen: dict[str, Row] = {}  # rows found to be as wanted, until the database tells of a change

    def note(self, event: str, row: Any) -> None:
        """Take in one notification."""
        if row._table.name not in TABLES or (key := row.external_ids.get(OWNER)) is None:
            return
        self.seen.pop(key, None)
        if event == "delete":
            if self._places.get(key) == (row._table.name, row.uuid):
                del self._places[key]
                self._units.get(unit_of(key), set()).discard(key)
            return
        self._places[key] = (row._table.name, row.uuid)
        self._units.setdefault(unit_of(key), set()).add(key)

    def row(self, idl: Any, key: str) -> Any | None:
        """The row of that name, or None."""
        place = self._places.get(key)
        if place is None or place[1] not in idl.tables[place[0]].rows:
            return None
        return idl.tables[place[0]].rows[place[1]]

    def keys(self, change: Change) -> set[str]:
        """Names of all rows of one thing."""
        return set(self._units.get(change, ()))

    def changes(self) -> set[Change]:
        """All things that have rows."""
        return {change for change, keys in self._units.items() if keys}


def _plain(value: Any) -> Any:
    """A column's value in a form that compares: sets as sorted lists, rows as their uuids."""
    if isinstance(value, dict):
        return value
    if isinstance(value, ovs_idl.Row):
        return value.uuid
    if isinstance(value, (list, tuple)):
        return sorted((_plain(item) for item in value), key=str)
    return value


class Waits(Exception):
    """A row refers to one that is not there."""

    def __init__(self, change: Change):
        self.change = change


class Apply:
    """One transaction's work, as ovsdbapp runs commands. result: an Applied.

    memberships: check every group's members, not only what changed.
    """

    def __init__(
        self,
        idl: Any,
        index: RowIndex,
        epoch: int,
        units: Sequence[Unit],
        memberships: bool = False,
    ):
        self.idl, self.index, self.epoch = idl, index, epoch
        self.units, self.memberships = units, memberships
        self.result = Applied()

    def run_idl(self, txn: Any) -> None:
        """Called again from the start when the database changed meanwhile."""
        fence(self.idl, self.epoch)
        self.txn = txn
        self.made: dict[str, Any] = {}
        self.gone: set[Any] = set()
        self.written, missing = 0, set()
        for unit in self.units:
            try:
                self._write(unit)
            except Waits as waits:
                missing.add(waits.change)
        if self.memberships:
            self._members()
        self.result = Applied(self.written, frozenset(missing))

    def post_commit(self, txn: Any) -> None:
        """ovsdbapp's hook; nothing to do."""

    def _write(self, unit: Unit) -> None:
        wanted = {row.key: row for row in unit.rows}
        for row in unit.rows:  # before anything is written: all or nothing of a unit
            self._resolve(row, wanted)
        for key in self.index.keys(unit.change) - wanted.keys():
            self._remove(key)
        for row in unit.rows:
            self._ensure(row)

    def _resolve(self, row: Row, siblings: dict[str, Row]) -> None:
        for value in row.columns.values():
            for item in value if isinstance(value, tuple) else (value,):
                if isinstance(item, Ref) and item.needed and item.key not in siblings and self._find(item.key) is None:
                    raise Waits(unit_of(item.key))
        if row.holder is not None and row.holder[0].key not in siblings and self._find(row.holder[0].key) is None:
            raise Waits(unit_of(row.holder[0].key))
        for group in row.groups:
            if self._find(group) is None:
                raise Waits(unit_of(group))

    def _find(self, key: str) -> Any:
        """The row, None if there is none: as it is inside this transaction."""
        if key in self.made:
            return self.made[key]
        row = self.index.row(self.idl, key)
        return None if row is None or row.uuid in self.gone else row

    def _value(self, value: Any) -> Any:
        if isinstance(value, tuple):
            found = [self._value(item) for item in value]
            return [item for item in found if item is not None]
        if isinstance(value, Ref):
            return self._find(value.key)
        return value

    def _ensure(self, wanted: Row) -> None:
        row = self._find(wanted.key)
        if row is not None and self.index.seen.get(wanted.key) == wanted and not self.made:
            return
        if row is not None and row._table.name != wanted.table:
            self._remove(wanted.key)
            row = None
        new = row is None
        before: frozenset[str] = frozenset() if new else frozenset((row.external_ids.get(GROUPS) or "").split())
        if new:
            row = self.txn.insert(self.idl.tables[wanted.table])
            self.made[wanted.key] = row
        touched = new
        for column, value in {**wanted.columns, "external_ids": wanted.external_ids()}.items():
            should = self._value(value)
            if new or _plain(getattr(row, column)) != _plain(should):
                setattr(row, column, should)
                touched = True
        if new and wanted.holder is not None:
            holder, column = wanted.holder
            self._find(holder.key).addvalue(column, row.uuid)
        for group in wanted.groups - before:
            self._find(group).addvalue("ports", row.uuid)
        for group in before - wanted.groups:
            if (found := self._find(group)) is not None:
                found.delvalue("ports", row.uuid)
        self.written += touched
        if not touched:
            self.index.seen[wanted.key] = wanted

    def _remove(self, key: str) -> None:
        row = self.index.row(self.idl, key)
        if row is None or row.uuid in self.gone:
            return
        self.gone.add(row.uuid)
        self.written += 1
        self._cut(row)

    def _cut(self, row: Any) -> None:
        table = row._table.name
        held_by = self.index.row(self.idl, row.external_ids.get(HOLDER, ""))
        if held_by is not None and held_by.uuid not in self.gone:
            for column in HOLDING.get(table, ()):
                if column in held_by._table.columns:
                    held_by.delvalue(column, row.uuid)
        if table in ROOTS:  # others go when nothing holds them
            row.delete()

    def _members(self) -> None:
        """Make each group hold exactly the ports that should be in it."""
        want: dict[str, set[Any]] = {}
        for unit in self.units:
            for row in unit.rows:
                if row.table == "Logical_Switch_Port" and (found := self._find(row.key)) is not None and row.key not in self.made:
                    for name in row.groups:
                        want.setdefault(name, set()).add(found.uuid)
        for unit in self.units:
            if unit.change.kind != "group" or not unit.rows or unit.rows[0].key in self.made:
                continue
            group = self._find(unit.rows[0].key)
            if group is None:
                continue
            have, should = {port.uuid for port in group.ports}, want.get(unit.rows[0].key, set())
            fresh = {made.uuid for made in self.made.values()}
            for uuid in should - have:
                group.addvalue("ports", uuid)
            for uuid in have - should - fresh - self.gone:
                group.delvalue("ports", uuid)
            self.written += len(should - have) + len(have - should - fresh - self.gone)


ROOTS = {"Logical_Switch", "Logical_Router", "Port_Group", "DHCP_Options", "DNS", "Load_Balancer", "Address_Set", "Meter", "BFD"}
HOLDING = {
    "Logical_Switch_Port": ("ports",), "Logical_Router_Port": ("ports",), "Logical_Router_Static_Route": ("static_routes",), "NAT": ("nat",),
    "ACL": ("acls",), "DNS": ("dns_records",), "Gateway_Chassis": ("gateway_chassis",),
    "QoS": ("qos_rules",), "Load_Balancer": ("load_balancer",),
}  # fmt: skip


def fence(idl: Any, epoch: int) -> Any:
    """Make the transaction fail if another epoch than ours is, or becomes, the database's. Raises: Fenced."""
    top = next(iter(idl.tables["NB_Global"].rows.values()))
    held = int(top.external_ids.get(EPOCH, "0"))
    if held != epoch:
        raise Fenced(f"The network engine's writer is epoch {held}, not {epoch}.")
    top.verify("external_ids")
    return top


class TakeOver:
    """The first transaction of a writer: put its epoch in place. Raises: Fenced when a higher one is there."""

    def __init__(self, idl: Any, epoch: int):
        self.idl, self.epoch, self.result = idl, epoch, None

    def run_idl(self, txn: Any) -> None:
        rows = self.idl.tables["NB_Global"].rows
        top = next(iter(rows.values())) if rows else txn.insert(self.idl.tables["NB_Global"])
        held = int(top.external_ids.get(EPOCH, "0")) if rows else 0
        if held > self.epoch:
            raise Fenced(f"The network engine's writer is epoch {held}, not {self.epoch}.")
        if held < self.epoch:
            if rows:
                top.verify("external_ids")
            top.external_ids = {**(top.external_ids if rows else {}), EPOCH: str(self.epoch)}

    def post_commit(self, txn: Any) -> None:
        """ovsdbapp's hook; nothing to do."""


class Ask:
    """Raise the number that chassis answer. Raises: Fenced."""

    def __init__(self, idl: Any, epoch: int):
        self.idl, self.epoch, self.result = idl, epoch, None

    def run_idl(self, txn: Any) -> None:
        top = fence(self.idl, self.epoch)
        top.verify("nb_cfg")
        top.nb_cfg = top.nb_cfg + 1

    def post_commit(self, txn: Any) -> None:
        """ovsdbapp's hook; nothing to do."""


class Forget:
    """A node's rows of the southbound database go; whether there were any."""

    def __init__(self, idl: Any, name: str):
        self.idl, self.name, self.result = idl, name, False

    def run_idl(self, txn: Any) -> None:
        for table in ("Chassis_Private", "Chassis"):
            for row in [row for row in self.idl.tables[table].rows.values() if row.name == self.name]:
                row.delete()
                self.result = True

    def post_commit(self, txn: Any) -> None:
        """ovsdbapp's hook; nothing to do."""


def differences(idl: Any, index: RowIndex, units: Sequence[Unit]) -> list[str]:
    """How the database differs from all that is wanted, a line each. Changes nothing."""
    problems = []
    wanted = {row.key: row for unit in units for row in unit.rows}
    for table in TABLES:
        for row in idl.tables[table].rows.values():
            key = row.external_ids.get(OWNER)
            if key is not None and (key not in wanted or index.row(idl, key) is not row):
                problems.append(f"{table} {key} is there and should not be")
    for key, row in wanted.items():
        found = index.row(idl, key)
        if found is None:
            problems.append(f"{row.table} {key} is not there")
            continue
        for column, value in {**row.columns, "external_ids": row.external_ids()}.items():
            items = value if isinstance(value, tuple) else (value,)
            should = [index.row(idl, i.key) if isinstance(i, Ref) else i for i in items]
            plain = [i for i in should if i is not None] if isinstance(value, tuple) else should[0]
            if _plain(getattr(found, column)) != _plain(plain):
                problems.append(f"{row.table} {key}: {column} is {_plain(getattr(found, column))!r}, should be {_plain(plain)!r}")
    return problems
