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

EMPTY = """DO $$ DECLARE t record; found boolean; BEGIN
    SET session_replication_role = replica;
    FOR t IN SELECT quote_ident(relname) AS name FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND relname <> 'moln_schema' LOOP
        EXECUTE 'SELECT EXISTS (SELECT 1 FROM ' || t.name || ')' INTO found;
        IF found THEN EXECUTE 'DELETE FROM ' || t.name; END IF;
    END LOOP;
    PERFORM setval(oid::regclass, 1, false) FROM pg_class WHERE relkind = 'S' AND relnamespace = 'public'::regnamespace;
END $$"""
NAMES = "SELECT string_agg(relname, ' ' ORDER BY relname) FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'S')"
LAST = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
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
        self._names: dict[int, str] = {}  # what each template holds
        self._used: dict[int, list[str]] = {}  # databases that were emptied: that takes a tenth of making one
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
            self._names[count] = await conn.fetchval(NAMES)
            await conn.close()
            self._templates[count] = url.partition("@/")[2].partition("?")[0]
        if used := self._used.get(count):
            return used.pop()
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
        """Done with: emptied for the next test, if it still is what its template is."""
        count = len(metadata.tables)
        if count in self._names and await self._emptied(url, self._names[count]):
            self._used.setdefault(count, []).append(url)
            return
        admin = await asyncpg.connect(self.url("postgres"))
        try:
            await admin.execute(f"DROP DATABASE {url.partition('@/')[2].partition('?')[0]} WITH (FORCE)")
        finally:
            await admin.close()

    async def _emptied(self, url: str, names: str) -> bool:
        conn = await asyncpg.connect(url)
        try:
            await conn.execute(LAST)
            if await conn.fetchval(NAMES) != names or await conn.fetchval("SELECT stamp FROM moln_schema") != postgres_schema.stamp():
                return False
            await conn.execute(EMPTY)
            return True
        finally:
            await conn.close()
