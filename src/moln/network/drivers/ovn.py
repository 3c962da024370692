"""The OVN driver: rows to the northbound database, events from the southbound.

One IDL thread per database (python-ovs blocks); transactions wait in a small executor; events reach the loop by call_soon_threadsafe.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from ovs import stream as ovs_stream
from ovsdbapp import exceptions as ovsdb_errors
from ovsdbapp.backend.ovs_idl import connection as ovsdb
from ovsdbapp.backend.ovs_idl import idlutils, transaction

from moln.kernel.clock import Clock
from moln.kernel.errors import BackendRefused, BackendUnreachable
from moln.network.drivers import ovs_json
from moln.network.drivers.base import Applied, ChassisChanged, EngineSettings, Event, Fenced, PortUp
from moln.network.drivers.ovn_apply import Apply, Ask, Forget, RowIndex, TakeOver, differences
from moln.network.drivers.ovn_rows import units
from moln.network.drivers.rows import TABLES, Unit
from moln.network.model.topology import Chassis, Desired

log = logging.getLogger(__name__)
ovs_json.install()
T = TypeVar("T")

WATCHED = ("Port_Binding", "Chassis", "Encap", "Chassis_Private")  # of the southbound database
CHUNK = 400  # units in one transaction of a complete apply: others' flows come in between


class _Idl(ovsdb.OvsdbIdl):  # type: ignore[misc]
    """An IDL that tells every row change to one function, in its own thread."""

    listener: Callable[[str, Any, Any], None] | None = None

    def cooperative_yield(self) -> None:
        """Nothing: this is a thread, and a sleep(0) for every row costs a busy machine's whole queue each time."""

    def notify(self, event: str, row: Any, updates: Any = None) -> None:
        if self.listener is not None:
            self.listener(event, row, updates)


class Database:
    """One OVSDB connection. remote: unix:PATH, tcp:HOST:PORT or ssl:HOST:PORT, several with commas."""

    def __init__(
        self,
        remote: str,
        schema: str,
        tables: Sequence[str],
        listener: Callable[[str, Any, Any], None],
        timeout_s: float,
    ):
        self.remote, self.timeout_s = remote, timeout_s
        helper = idlutils.get_schema_helper(remote, schema)
        for table in tables:
            helper.register_table(table)
        self.idl = _Idl(remote, helper, leader_only=not remote.startswith("unix:"))  # a member beside us passes writes on to who leads
        self.idl.listener = listener
        self.connection = ovsdb.Connection(self.idl, timeout=timeout_s)
        self.connection.start()

    def commit(self, command: Any) -> Any:
        """Run one command as a transaction and give its result. Raises: Fenced, BackendRefused, BackendUnreachable."""
        txn = transaction.Transaction(self, self.connection, timeout=self.timeout_s, check_error=True, log_errors=False)
        txn.add(command)
        try:
            txn.commit()
        except Fenced:
            raise
        except ovsdb_errors.TimeoutException as problem:
            raise BackendUnreachable(f"OVN did not answer within {self.timeout_s:.0f} s.", detail=str(problem)) from problem
        except RuntimeError as problem:  # ovsdbapp's word for an answer of ovsdb-server's
            kind = BackendUnreachable if "timed out" in str(problem) else BackendRefused
            raise kind("OVN refused a change to the network.", detail=str(problem)) from problem
        except Exception as problem:
            if "Timeout" in type(problem).__name__ or "imeout" in str(problem):
                raise BackendUnreachable("OVN did not answer.", detail=str(problem)) from problem
            raise
        return command.result

    def read(self, function: Callable[[], T]) -> T:
        """Look at rows while the IDL's thread does not change them."""
        with self.connection.lock:
            return function()

    def close(self) -> None:
        self.connection.stop(timeout=self.timeout_s)


class OvnDriver:
    """A NetworkDriver over OVN's databases. timeout_s bounds every call."""

    def __init__(
        self,
        northbound: str,
        southbound: str,
        settings: EngineSettings,
        *,
        timeout_s: float = 15.0,
        tls: tuple[str, str, str] | None = None,
        now_us: Callable[[], int] = Clock().now_us,
    ):
        self.northbound, self.southbound, self.settings, self.timeout_s = northbound, southbound, settings, timeout_s
        if tls is not None:  # private key, certificate, CA: files; python-ovs keeps them per process
            ovs_stream.Stream.ssl_set_private_key_file(tls[0])
            ovs_stream.Stream.ssl_set_certificate_file(tls[1])
            ovs_stream.Stream.ssl_set_ca_cert_file(tls[2])
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="ovn")
        self._index = RowIndex()
        self._nb: Database | None = None
        self._sb: Database | None = None
        self._ears: list[Callable[[Event], None]] = []
        self._epoch = 0
        self._carried: set[str] = set()
        self._now_us = now_us
        self._heard: dict[str, int] = {}  # when each chassis last answered, by our clock: theirs may be wrong

    async def start(self, epoch: int) -> None:
        """See NetworkDriver."""
        self._loop = asyncio.get_running_loop()
        self._epoch = epoch
        try:
            if self._nb is None:
                tables = (*TABLES, "NB_Global")
                self._nb = await self._call(Database, self.northbound, "OVN_Northbound", tables, self._nb_changed, self.timeout_s)
            if self._sb is None:
                self._sb = await self._call(Database, self.southbound, "OVN_Southbound", WATCHED, self._sb_changed, self.timeout_s)
        except (BackendRefused, BackendUnreachable):
            raise
        except Exception as problem:
            raise BackendUnreachable("OVN's databases cannot be reached.", detail=str(problem)) from problem
        await self._call(self._nb.commit, TakeOver(self._nb.idl, epoch))

    async def stop(self) -> None:
        """See NetworkDriver."""
        for database in (self._nb, self._sb):
            if database is not None:
                await self._call(database.close)
        self._nb = self._sb = None
        self._threads.shutdown(wait=False)

    async def _call(self, function: Callable[..., T], *args: Any) -> T:
        try:
            return await asyncio.wait_for(
                asyncio.get_running_loop().run_in_executor(self._threads, lambda: function(*args)), self.timeout_s * 2
            )
        except TimeoutError as problem:
            raise BackendUnreachable("OVN did not answer.") from problem

    def _both(self) -> tuple[Database, Database]:
        if self._nb is None or self._sb is None:
            raise BackendUnreachable("OVN's databases are not connected.")
        return self._nb, self._sb

    async def apply(self, desired: Desired) -> Applied:
        """See NetworkDriver."""
        nb, _ = self._both()
        wanted = units(desired, await self.chassis(), self.settings)
        if not desired.complete:
            return await self._write(nb, wanted)
        done = Applied()
        for start in range(0, len(wanted), CHUNK):
            done += await self._write(nb, wanted[start : start + CHUNK])
        present = await self._call(nb.read, self._index.changes)
        surplus = sorted(present - {unit.change for unit in wanted if unit.rows}, key=lambda change: change.kind != "port")
        done += await self._write(nb, [Unit(change) for change in surplus])
        members = [unit for unit in wanted if unit.change.kind in ("group", "port") and unit.change not in done.refused]
        last: Applied = await self._call(nb.commit, Apply(nb.idl, self._index, self._epoch, members, memberships=True))
        return done + last

    async def _write(self, nb: Database, wanted: Sequence[Unit]) -> Applied:
        """One transaction; where OVN refuses it, smaller ones, so that one bad thing keeps nothing else from being done (SEC-30)."""
        try:
            return await self._call(nb.commit, Apply(nb.idl, self._index, self._epoch, wanted))
        except Fenced:
            raise
        except BackendRefused as refused:
            if not wanted:
                raise
            if len(wanted) == 1:
                log.error("OVN refuses %s: %s", wanted[0].change, refused.detail)
                return Applied(refused=frozenset({wanted[0].change}))
            half = len(wanted) // 2
            return await self._write(nb, wanted[:half]) + await self._write(nb, wanted[half:])

    async def check(self, desired: Desired) -> list[str]:
        """See NetworkDriver."""
        nb, _ = self._both()
        wanted: list[Unit] = units(desired, await self.chassis(), self.settings)
        return await self._call(nb.read, lambda: differences(nb.idl, self._index, wanted))

    async def chassis(self) -> list[Chassis]:
        """See NetworkDriver."""
        _, sb = self._both()
        return await self._call(sb.read, lambda: _chassis(sb.idl, self._heard))

    async def ask_chassis(self) -> None:
        """See NetworkDriver. ovn-controller answers a raised nb_cfg when its flows are those of that time (ovn-nb(5))."""
        nb, _ = self._both()
        await self._call(nb.commit, Ask(nb.idl, self._epoch))

    async def forget_chassis(self, name: str) -> None:
        """See NetworkDriver."""
        _, sb = self._both()
        await self._call(sb.commit, Forget(sb.idl, name))

    async def ups(self) -> dict[str, str]:
        """See NetworkDriver."""
        _, sb = self._both()

        def look() -> dict[str, str]:
            rows = sb.idl.tables["Port_Binding"].rows.values()
            return {row.logical_port: _chassis_name(row) for row in rows if row.up and row.up[0] and row.type == ""}

        return await self._call(sb.read, look)

    def carried(self, port_id: str) -> bool:
        """See NetworkDriver."""
        return port_id in self._carried

    def listen(self, heard: Callable[[Event], None]) -> Callable[[], None]:
        """See NetworkDriver."""
        self._ears.append(heard)
        return lambda: self._ears.remove(heard)

    def _tell(self, event: Event) -> None:
        for heard in list(self._ears):
            heard(event)

    def _nb_changed(self, event: str, row: Any, updates: Any) -> None:
        self._index.note(event, row)

    def _sb_changed(self, event: str, row: Any, updates: Any) -> None:
        told: Event | None = None
        if row._table.name == "Port_Binding":
            if row.type == "" and event == "delete":
                told = PortUp(row.logical_port, False)
            elif row.type == "" and (event == "create" or hasattr(updates, "up")):
                told = PortUp(row.logical_port, bool(row.up and row.up[0]), _chassis_name(row))
        elif row._table.name == "Chassis":
            told = ChassisChanged()
        elif row._table.name == "Chassis_Private" and event == "update" and hasattr(updates, "nb_cfg"):
            self._heard[row.name] = self._now_us()
        elif row._table.name == "Chassis_Private" and event == "delete":
            self._heard.pop(row.name, None)
        if isinstance(told, PortUp):
            (self._carried.add if told.up else self._carried.discard)(told.port_id)
        if told is not None:
            try:
                self._loop.call_soon_threadsafe(self._tell, told)
            except RuntimeError:  # the loop has closed: nobody reads any more
                log.debug("an event after the end: %s", told)


def _chassis_name(binding: Any) -> str:
    return binding.chassis[0].name if binding.chassis else ""


def _chassis(idl: Any, heard: Mapping[str, int]) -> list[Chassis]:
    """heard: when each answered since we are connected; of what was before, the chassis' own word counts."""
    seen = {row.name: heard.get(row.name, row.nb_cfg_timestamp * 1000) for row in idl.tables["Chassis_Private"].rows.values()}
    found = []
    rows = list(idl.tables["Chassis"].rows.values())
    options = {row.name: {**row.external_ids, **row.other_config} for row in rows}
    chosen = {name for name, o in options.items() if "enable-chassis-as-gw" in o.get("ovn-cms-options", "")}
    for row in rows:
        mappings = options[row.name].get("ovn-bridge-mappings", "")
        found.append(
            Chassis(
                name=row.name,
                hostname=row.hostname,
                physical_networks=tuple(sorted(pair.partition(":")[0] for pair in mappings.split(",") if pair)),
                tunnel_ips=tuple(sorted({encap.ip for encap in row.encaps})),
                tunnel_types=tuple(sorted({encap.type for encap in row.encaps})),
                gateway=not chosen or row.name in chosen,
                seen_at=seen.get(row.name, 0),
            )
        )
    return sorted(found, key=lambda c: c.name)
