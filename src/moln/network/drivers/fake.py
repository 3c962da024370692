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


class FakeEngine:
    """What outlives a driver: the rows, the epoch and the nodes. Several drivers (controllers) may share one.

    silent: nodes that do not answer.
    """

    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}
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
        before = self._ups()
        wanted = units(desired, list(engine.nodes.values()), self.settings)
        written, missing = 0, set[Change]()
        touched = {unit.change for unit in wanted}
        there: dict[Change, list[str]] = {}
        for key in engine.rows:
            if (change := unit_of(key)) in touched:
                there.setdefault(change, []).append(key)
        for unit in wanted:
            own = {row.key: row for row in unit.rows}
            if lacking := [ref for row in unit.rows for ref in _refs(row) if ref not in own and ref not in engine.rows]:
                missing.update(unit_of(ref) for ref in lacking)
                continue
            for key in there.get(unit.change, ()):
                if key not in own:
                    del engine.rows[key]
                    written += 1
            for key, row in own.items():
                if engine.rows.get(key) != row:
                    engine.rows[key] = row
                    written += 1
        if desired.complete:
            for key in [key for key in engine.rows if unit_of(key) not in touched]:
                del engine.rows[key]
                written += 1
        after = self._ups()
        for port_id in before.keys() | after.keys():
            if before.get(port_id) != after.get(port_id):
                self._tell(PortUp(port_id, port_id in after, after.get(port_id, "")))
        return Applied(written, frozenset(missing))

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
        ups: dict[str, str] = {}
        carried: dict[str, str] = {}
        for row in self.engine.rows.values():
            options = row.columns.get("options")
            if row.table == "Logical_Switch_Port" and row.columns.get("enabled") == (True,) and isinstance(options, dict):
                if host := options.get("requested-chassis"):
                    ups[str(row.columns["name"])] = str(host).partition(",")[0]
                elif isinstance(parent := row.columns["parent_name"], tuple) and parent:
                    carried[str(row.columns["name"])] = str(parent[0])
        return ups | {port: ups[parent] for port, parent in carried.items() if parent in ups}

    def carried(self, port_id: str) -> bool:
        """See NetworkDriver."""
        return port_id in self._ups()

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
