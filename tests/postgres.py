"""A private PostgreSQL for tests: its data in a folder of its own, a unix socket and no port, a fresh database for each test from a template."""

from __future__ import annotations

import atexit
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import asyncpg

from moln.kernel.db import metadata, postgres_schema

UNSAFE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "shared_buffers": "64MB", "max_connections": "200",
          "listen_addresses": "", "autovacuum": "off", "max_wal_size": "2GB", "log_min_messages": "error"}  # fmt: skip


def binaries() -> Path | None:
    """Where PostgreSQL's programs are; Debian has them not on the PATH."""
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    return max(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: int(p.parent.name), default=None)


def _as_nobody() -> list[str]:
    """PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return ["setpriv", "--pdeathsig", "QUIT"]
    return ["setpriv", "--reuid", "nobody", "--regid", "nogroup", "--clear-groups", "--pdeathsig", "QUIT"]


class Server:
    """Started at once; it ends with this process. lasting: what is committed outlives stop(); with fsync, the machine's end too."""

    def __init__(self, *, lasting: bool = False, fsync: bool = False) -> None:
        found = binaries()
        assert found is not None
        self._bin = found
        self.folder = Path(tempfile.mkdtemp(prefix="moln-pg-", dir="/tmp"))  # a short path: sockets' are limited
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            os.chown(self.folder, nobody.pw_uid, nobody.pw_gid)
        self._settings = UNSAFE | {"unix_socket_directories": str(self.folder)}
        if lasting:
            self._settings |= {"synchronous_commit": "on"}
        if fsync:
            self._settings |= {"fsync": "on"}
        self._run("initdb", "--no-sync", "-A", "trust", "-U", "moln", "-E", "UTF8", "--locale=C", "-D", str(self.folder / "data"))
        self._count = 0
        self._templates: dict[int, str] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self.start()
        atexit.register(self.remove)

    def _run(self, program: str, *args: str) -> None:
        done = subprocess.run([*_as_nobody(), str(self._bin / program), *args], cwd=self.folder, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()

    def start(self) -> None:
        settings = [word for name, value in self._settings.items() for word in ("-c", f"{name}={value}")]
        with open(self.folder / "log", "ab") as log:
            self._process = subprocess.Popen(
                [*_as_nobody(), str(self._bin / "postgres"), "-D", str(self.folder / "data"), *settings], cwd=self.folder, stdout=log, stderr=log
            )  # fmt: skip
        until = time.monotonic() + 60
        while subprocess.run([self._bin / "pg_isready", "-q", "-h", self.folder], check=False).returncode:
            assert self._process.poll() is None and time.monotonic() < until, (self.folder / "log").read_text()
            time.sleep(0.02)

    def stop(self, mode: str = "immediate") -> None:
        """mode: immediate (as a crash is), fast."""
        if self._process is not None:
            self._run("pg_ctl", "stop", "-w", "-m", mode, "-D", str(self.folder / "data"))
            self._process.wait()
            self._process = None

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def url(self, name: str) -> str:
        return f"postgresql://moln@/{name}?host={self.folder}"

    async def empty(self) -> str:
        """A new database without a table; its URL."""
        return await self._create("template0")

    async def fresh(self) -> str:
        """A new database with all that is declared by now; its URL."""
        count = len(metadata.tables)
        if count not in self._templates:
            url = await self.empty()
            conn = await asyncpg.connect(url)
            await postgres_schema.ensure(conn)
            await conn.close()
            self._templates[count] = url.partition("@/")[2].partition("?")[0]
        return await self._create(self._templates[count])

    async def _create(self, template: str) -> str:
        self._count += 1
        name = f"t{self._count}"
        admin = await asyncpg.connect(self.url("postgres"))
        try:
            await admin.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
        finally:
            await admin.close()
        return self.url(name)

    async def drop(self, url: str) -> None:
        admin = await asyncpg.connect(self.url("postgres"))
        try:
            await admin.execute(f"DROP DATABASE {url.partition('@/')[2].partition('?')[0]} WITH (FORCE)")
        finally:
            await admin.close()
