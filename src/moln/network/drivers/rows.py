"""Rows of OVN's northbound database as plain values: what should be there, before anything is compared or written."""

from __future__ import annotations

from msgspec import Struct

from moln.network.model.topology import Change

OWNER = "moln"  # external_ids key: this row is Moln's, and which one it is
HOLDER = "moln:in"  # external_ids key: the Moln name of the row that holds this one
GROUPS = "moln:groups"  # external_ids key of a port: the groups it is in

TABLES = (
    "Logical_Switch", "Logical_Switch_Port", "Logical_Router", "Logical_Router_Port", "Logical_Router_Static_Route",
    "NAT", "ACL", "Port_Group", "DHCP_Options", "DNS", "Gateway_Chassis", "QoS", "Load_Balancer",
    "Address_Set", "Meter", "Meter_Band", "BFD",
)  # fmt: skip


class Ref(Struct, frozen=True):
    """Another row, by its Moln name. needed: without it this row waits; else the column stays empty."""

    key: str
    needed: bool = True


Atom = str | int | bool | Ref
Value = Atom | tuple[Atom, ...] | dict[str, str] | dict[str, int]


class Row(Struct, frozen=True):
    """One row. key: its Moln name, unique: "port:ID", or "router:ID/what" for one that goes with another.

    columns: only those that Moln owns; sets and optional values as tuples. holder: the row and column that hold it.
    groups: port groups (Moln names) a switch port is in.
    """

    table: str
    key: str
    columns: dict[str, Value]
    holder: tuple[Ref, str] | None = None
    groups: frozenset[str] = frozenset()

    def external_ids(self) -> dict[str, str]:
        """All external_ids the row should have."""
        own = self.columns.get("external_ids", {})
        ids = {name: str(value) for name, value in own.items()} if isinstance(own, dict) else {}
        ids[OWNER] = self.key
        if self.holder is not None:
            ids[HOLDER] = self.holder[0].key
        if self.table == "Logical_Switch_Port":
            ids[GROUPS] = " ".join(sorted(self.groups))
        return ids


class Unit(Struct, frozen=True):
    """All rows of one thing; they are written together, parents first. No rows: it should not be there."""

    change: Change
    rows: tuple[Row, ...] = ()


RANK = {"network": 0, "subnet": 1, "addresses": 2, "group": 3, "port": 4, "router": 5, "names": 6}


def unit_of(key: str) -> Change:
    """The thing a row belongs to."""
    kind, _, rest = key.partition(":")
    return Change(kind, rest.partition("/")[0])
