"""A network engine that exists in memory only: simulation, and the first driver of the contract suite."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import structs

from moln.kernel.clock import Clock
from moln.kernel.errors import BackendUnreachable
from moln.network.drivers.base import Applied, ChassisChanged, EngineSettings, Event, Fenced, PortUp
from moln.network.drivers.ovn_rows import units
from moln.network.drivers.rows import Ref, Row, unit_of
from moln.network.model.topology import Change, Chassis, Desired


class Rows(dict[str, Row]):
    """Rows by key, and what is asked of them often: those of one thing, ports bound to a host, and those that go with another."""

    def __init__(self) -> None:
        super().__init__()
        self._of: dict[Change, set[str]] = {}
        self._named: dict[str, str] = {}  # ports by the rows' keys
        self.bound: dict[str, str] = {}
        self.with_another: dict[str, str] = {}

    def of(self, change: Change) -> list[str]:
        """Keys of the thing's rows."""
        return list(self._of.get(change, ()))

    def ports_of(self, key: str) -> list[str]:
        """The port that a row is, and those that go with it."""
        name = self._named.get(key)
        return [] if name is None else [name, *(child for child, parent in self.with_another.items() if parent == name)]

    def host(self, port: str) -> str | None:
        """Where a port is carried; None: nowhere."""
        return self.bound.get(port) or self.bound.get(self.with_another.get(port, ""))

    def __setitem__(self, key: str, row: Row) -> None:
        self._forget(key)
        super().__setitem__(key, row)
        self._of.setdefault(unit_of(key), set()).add(key)
        options, parent = row.columns.get("options"), row.columns.get("parent_name")
        if row.table != "Logical_Switch_Port":
            return
        self._named[key] = name = str(row.columns["name"])
        if row.columns.get("enabled") == (True,) and isinstance(options, dict):
            if host := options.get("requested-chassis"):
                self.bound[name] = str(host).partition(",")[0]
            elif isinstance(parent, tuple) and parent:
                self.with_another[name] = str(parent[0])

    def __delitem__(self, key: str) -> None:
        super().__delitem__(key)
        self._forget(key)
        self._of[unit_of(key)].discard(key)

    def clear(self) -> None:
        for key in list(self):
            del self[key]

    def _forget(self, key: str) -> None:
        if (name := self._named.pop(key, None)) is not None:
            self.bound.pop(name, None)
            self.with_another.pop(name, None)


class FakeEngine:
    """What outlives a driver: the rows, the epoch and the nodes. Several drivers (controllers) may share one.

    silent: nodes that do not answer.
    """

    def __init__(self) -> None:
        self.rows = Rows()
        self.epoch = 0
        self.nodes: dict[str, Chassis] = {}
        self.reachable = True
        self.silent: set[str] = set()


class FakeDriver:
    """Computes the same rows as the OVN driver and keeps them. A port is up as soon as it is enabled and bound to a node."""

    def __init__(self, settings: EngineSettings | None = None, engine: FakeEngine | None = None, now_us: Callable[[], int] = Clock().now_us):
        self.engine = engine or FakeEngine()
        self._now_us = now_us
        self.settings = settings or EngineSettings()
        self._epoch = 0
        self._ears: list[Callable[[Event], None]] = []

    def _here(self) -> FakeEngine:
        if not self.engine.reachable:
            raise BackendUnreachable("The simulated network engine is down.")
        return self.engine

    async def start(self, epoch: int) -> None:
        """See NetworkDriver."""
        engine = self._here()
        if engine.epoch > epoch:
            raise Fenced(f"The network engine's writer is epoch {engine.epoch}, not {epoch}.")
        engine.epoch = self._epoch = epoch

    async def stop(self) -> None:
        """See NetworkDriver."""

    def add_chassis(self, node: Chassis) -> None:
        """A node joins, or changes."""
        self.engine.nodes[node.name] = node
        self._tell(ChassisChanged())

    async def ask_chassis(self) -> None:
        """See NetworkDriver."""
        engine = self._here()
        if engine.epoch != self._epoch:
            raise Fenced(f"The network engine's writer is epoch {engine.epoch}, not {self._epoch}.")
        for name in engine.nodes.keys() - engine.silent:
            engine.nodes[name] = structs.replace(engine.nodes[name], seen_at=self._now_us())

    async def forget_chassis(self, name: str) -> None:
        """See NetworkDriver."""
        self._here()
        self.remove_chassis(name)

    def remove_chassis(self, name: str) -> None:
        """A node leaves."""
        self.engine.nodes.pop(name, None)
        self._tell(ChassisChanged())

    async def apply(self, desired: Desired) -> Applied:
        """See NetworkDriver."""
        engine = self._here()
        if engine.epoch != self._epoch:
            raise Fenced(f"The network engine's writer is epoch {engine.epoch}, not {self._epoch}.")
        before: dict[str, str | None] = {}
        wanted = units(desired, list(engine.nodes.values()), self.settings)
        written, missing = 0, set[Change]()
        touched = {unit.change for unit in wanted}
        for unit in wanted:
            own = {row.key: row for row in unit.rows}
            if lacking := [ref for row in unit.rows for ref in _refs(row) if ref not in own and ref not in engine.rows]:
                missing.update(unit_of(ref) for ref in lacking)
                continue
            gone = [key for key in engine.rows.of(unit.change) if key not in own]
            written += self._put(gone, {key: row for key, row in own.items() if engine.rows.get(key) != row}, before)
        if desired.complete:
            written += self._put([key for key in engine.rows if unit_of(key) not in touched], {}, before)
        for port_id, was in before.items():
            if was != (host := engine.rows.host(port_id)):
                self._tell(PortUp(port_id, host is not None, host or ""))
        return Applied(written, frozenset(missing))

    def _put(self, gone: list[str], rows: dict[str, Row], before: dict[str, str | None]) -> int:
        """Remove and write rows; how many. before: gets where ports were carried whose rows are touched, as it was at first."""
        engine = self.engine.rows
        for key in gone:
            self._remember(key, before)
            del engine[key]
        for key, row in rows.items():
            self._remember(key, before)
            engine[key] = row
            for port in engine.ports_of(key):
                before.setdefault(port, None)
        return len(gone) + len(rows)

    def _remember(self, key: str, before: dict[str, str | None]) -> None:
        for port in self.engine.rows.ports_of(key):
            before.setdefault(port, self.engine.rows.host(port))

    async def check(self, desired: Desired) -> list[str]:
        """See NetworkDriver."""
        engine = self._here()
        wanted = {row.key: row for unit in units(desired, list(engine.nodes.values()), self.settings) for row in unit.rows}
        problems = [f"{row.table} {key} is there and should not be" for key, row in engine.rows.items() if key not in wanted]
        problems += [f"{row.table} {key} is not there" for key, row in wanted.items() if key not in engine.rows]
        return problems + [f"{row.table} {key} differs" for key, row in wanted.items() if key in engine.rows and engine.rows[key] != row]

    def listen(self, heard: Callable[[Event], None]) -> Callable[[], None]:
        """See NetworkDriver."""
        self._ears.append(heard)
        return lambda: self._ears.remove(heard)

    def _tell(self, event: Event) -> None:
        for heard in list(self._ears):
            heard(event)

    def _ups(self) -> dict[str, str]:
        rows = self.engine.rows
        return rows.bound | {port: rows.bound[parent] for port, parent in rows.with_another.items() if parent in rows.bound}

    def carried(self, port_id: str) -> bool:
        """See NetworkDriver."""
        return self.engine.rows.host(port_id) is not None

    async def ups(self) -> dict[str, str]:
        """See NetworkDriver."""
        self._here()
        return self._ups()

    async def chassis(self) -> list[Chassis]:
        """See NetworkDriver."""
        return sorted(self._here().nodes.values(), key=lambda node: node.name)


def _refs(row: Row) -> list[str]:
    refs = [
        item.key for value in row.columns.values() if isinstance(value, tuple) for item in value if isinstance(item, Ref) and item.needed
    ]
    return [*refs, *row.groups, *([row.holder[0].key] if row.holder else [])]
