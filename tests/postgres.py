"""A private PostgreSQL for tests: its data in a folder of its own, a unix socket and no port, a fresh database for each test from a template."""

from __future__ import annotations

import asyncpg

from moln.bench.engines import PostgresServer, postgres_programs
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


binaries = postgres_programs


class Server(PostgresServer):
    """Started at once; it ends with this process. lasting: what is committed outlives stop(); with fsync, the machine's end too."""

    def __init__(self, *, lasting: bool = False, fsync: bool = False) -> None:
        settings = dict(UNSAFE)
        if lasting:
            settings |= {"synchronous_commit": "on"}
        if fsync:
            settings |= {"fsync": "on"}
        self._count = 0
        self._templates: dict[int, str] = {}
        self._names: dict[int, str] = {}  # what each template holds
        self._used: dict[int, list[str]] = {}  # databases that were emptied: that takes a tenth of making one
        super().__init__(settings)

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
