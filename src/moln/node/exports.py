"""Volumes lent to other hosts, and those of others opened here (docs/adr/0044): an nbdkit at either end, TLS with a key for each pair between.

    exports/<volume>+<host>/    imports/<volume>/    in each: export.json (root's), key (for nbdkit)

QEMU knows a socket of its own host and no TLS. What is to run is on disk before it runs; what runs and should not, ends when the node begins.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import re
import secrets
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import msgspec

from moln.host.places import GUEST_USER, LENDING_USER
from moln.kernel.errors import BackendRefused, BackendUnreachable, Failure
from moln.kernel.files import known
from moln.node import keepalive, nbdkit
from moln.volume.drivers.base import Connection, Export, Exports, Lent

R = TypeVar("R")
log = logging.getLogger("moln.node")
PORTS = range(10809, 12857)
"""Where volumes are lent, from IANA's port for NBD on: the first that is free."""
SEEN = Path("/run/libvirt/moln-volumes")  # the sockets' folder, as libvirtd and QEMU see it (host/libvirt.py)
HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")
SECRET_BYTES = 24
TEND_S = 1.0
BACKLOG = 16
STATE = "export.json"


class NbdExports(Exports):
    """folder: for what is lent and opened. volumes: the pool's. sockets: of what is opened; seen: the same as QEMU sees it. address: of this host.

    user, qemu: whose nbdkit and QEMU are; None: ours. boot: another word after each start of the machine.
    """

    def __init__(self, folder: Path, volumes: Path, sockets: Path, address: str, *, boot: str, seen: Path = SEEN, user: str | None = LENDING_USER,
                 qemu: str | None = GUEST_USER, ports: range = PORTS) -> None:  # fmt: skip
        self.exports, self.imports = folder / "exports", folder / "imports"
        self.folder, self.volumes, self.sockets, self.address = folder, volumes, sockets, address
        self.boot, self.seen, self.user, self.qemu, self.ports = boot, seen, user, qemu, ports
        self.processes: dict[Path, nbdkit.Process] = {}
        self.watched: dict[Path, frozenset[str]] = {}
        self.turn = asyncio.Lock()
        self.at = -1

    async def start(self) -> None:
        """Find again what runs; end what nobody asked for."""
        await self._do(self._prepare)

    async def stop(self) -> None:
        """What is lent and opened stays so."""
        if self.at >= 0:  # else it has not started
            os.close(self.at)

    async def run(self) -> None:
        """Until cancelled: whatever was killed is started anew."""
        while True:
            await asyncio.sleep(TEND_S)
            try:
                await self._do(self._tend)
            except Failure as failure:
                log.warning("a volume is not lent: %s %s", failure.message, failure.detail or "")

    # ---- Exports

    async def ensure_export(self, volume_id: str, host: str) -> Export:
        return await self._do(self._lend, known(volume_id), _named(host))

    async def remove_export(self, volume_id: str, host: str) -> None:
        await self._do(self._withdraw, known(volume_id), _named(host))

    async def ensure_import(self, export: Export) -> Connection:
        await self._do(self._open, export)
        return Connection("nbd", str(self.seen / export.volume_id))

    async def remove_import(self, volume_id: str) -> None:
        await self._do(self._close, known(volume_id))

    async def lent(self) -> Lent:
        return await self._do(self._lent)

    async def _do(self, work: Callable[..., R], *args: object) -> R:
        """One thing at a time, in a thread."""
        async with self.turn:
            try:
                return await asyncio.to_thread(work, *args)
            except OSError as error:
                raise BackendUnreachable("The host cannot lend or open volumes now.", detail=repr(error)) from error

    # ---- blocking

    def _prepare(self) -> None:
        for folder in (self.folder, self.exports, self.imports, self.sockets):
            folder.mkdir(mode=0o711, parents=True, exist_ok=True)
            folder.chmod(0o711)
        self.at = os.open(self.sockets, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        for folder, found in nbdkit.running(self.folder).items():
            if _told(folder) is not None:
                self.processes[folder] = found.pop(0)
            for more in found:
                nbdkit.stop(more)
        self._tend()

    def _tend(self) -> None:
        for folder in (*self.exports.iterdir(), *self.imports.iterdir()):
            export = _told(folder)
            if export is None:  # its making was cut short
                shutil.rmtree(folder, ignore_errors=True)
            elif not self._runs(folder):
                try:
                    (self._serve if folder.parent == self.exports else self._connect)(folder, export)
                except Failure as failure:  # the others are looked after all the same
                    log.warning("volume %s of %s is neither lent nor open: %s %s", export.volume_id, export.host, failure.message, failure.detail or "")
        self.watched = {folder: keepalive.watch(process.pid, self.watched.get(folder, frozenset()))
                        for folder, process in self.processes.items() if self._runs(folder)}  # a pid is another's one day

    def _runs(self, folder: Path) -> bool:
        process = self.processes.get(folder)
        return process is not None and not nbdkit.ended(process)

    def _lend(self, volume_id: str, host: str) -> Export:
        folder, volume = self.exports / f"{volume_id}+{host}", self.volumes / volume_id
        if not volume.is_file():
            raise BackendRefused("The pool has no such volume.")
        nbdkit.let_in(volume, self.user)  # each time: a volume that began anew is another file
        export = _told(folder)
        if export is None or export.name != self.boot or not self._runs(folder):
            export = self._serve(folder, export or Export(volume_id, host, "", "", secrets.token_hex(SECRET_BYTES)))
        return export

    def _serve(self, folder: Path, export: Export) -> Export:
        """With another name after each start of the machine: see Export."""
        self._end(folder)
        volume = self.volumes / export.volume_id
        if not volume.is_file():  # it is gone, and so is what was lent of it
            shutil.rmtree(folder, ignore_errors=True)
            raise BackendRefused("The pool has no such volume.")
        nbdkit.let_in(volume, self.user)
        with self._port(export) as listening:
            address = f"{self.address}:{listening.getsockname()[1]}"
            export = msgspec.structs.replace(export, address=address, name=self.boot)
            self._write(folder, export)
            self.processes[folder] = nbdkit.start(nbdkit.serving(volume, folder, export), listening, self.user)
        return export

    def _port(self, export: Export) -> socket.socket:
        """The one that it had, where that is still free: who opened it looks for it there."""
        had = int(export.address.rpartition(":")[2] or 0)
        for port in ([had] if had else []) + random.sample(self.ports, len(self.ports)):
            host = self.address.strip("[]")
            found = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                found.bind((host, port))
                found.listen(BACKLOG)
                return found
            except OSError:
                found.close()
        raise BackendUnreachable(f"No port of {self.ports.start} to {self.ports.stop - 1} is free at {self.address}.")

    def _withdraw(self, volume_id: str, host: str) -> None:
        folder = self.exports / f"{volume_id}+{host}"
        self._end(folder)
        shutil.rmtree(folder, ignore_errors=True)
        if not any(self.exports.glob(f"{volume_id}+*")):
            nbdkit.shut_out(self.volumes / volume_id)

    def _open(self, export: Export) -> None:
        folder = self.imports / known(export.volume_id)
        if not (self._runs(folder) and _told(folder) == export):
            self._connect(folder, export)

    def _connect(self, folder: Path, export: Export) -> None:
        self._end(folder)
        self._write(folder, export)
        path = Path(f"/proc/self/fd/{self.at}/{export.volume_id}")  # a unix socket's path has 107 bytes, and most may be the home's
        path.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(path))
            os.chmod(path, 0o600)
            if self.qemu is not None:
                os.chown(path, *nbdkit.ids(self.qemu))
            listening.listen(BACKLOG)
            self.processes[folder] = nbdkit.start(nbdkit.opening(folder, export), listening, self.user)

    def _close(self, volume_id: str) -> None:
        folder = self.imports / volume_id
        self._end(folder)
        shutil.rmtree(folder, ignore_errors=True)
        (self.sockets / volume_id).unlink(missing_ok=True)

    def _lent(self) -> Lent:
        exports = [(export.volume_id, export.host) for folder in sorted(self.exports.iterdir()) if (export := _told(folder))]
        return Lent(exports, sorted(folder.name for folder in self.imports.iterdir()))

    def _end(self, folder: Path) -> None:
        """No process has this folder's key any more."""
        process = self.processes.get(folder)
        if process is not None:
            nbdkit.stop(process)
            del self.processes[folder]

    def _write(self, folder: Path, export: Export) -> None:
        """The key first: what export.json tells is whole."""
        folder.mkdir(exist_ok=True)
        folder.chmod(0o711)  # whatever the umask is
        for name, text, user in ((nbdkit.KEY, f"{export.host}:{export.secret}\n".encode(), self.user), (STATE, msgspec.json.encode(export), None)):
            new = folder / f".{name}"
            with open(new, "wb", opener=_private) as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
                if user is not None:
                    os.fchown(file.fileno(), *nbdkit.ids(user))
            new.replace(folder / name)


def _told(folder: Path) -> Export | None:
    with contextlib.suppress(OSError, msgspec.MsgspecError):
        return msgspec.json.decode((folder / STATE).read_bytes(), type=Export)
    return None


def _named(host: str) -> str:
    """Raises: BackendRefused."""
    if not HOST.fullmatch(host):
        raise BackendRefused("That is no host's name.", detail=repr(host)[:100])
    return host


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)
