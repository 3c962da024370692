"""SQLite's rows brought to PostgreSQL: copied while they are written, what was written meanwhile after it, and the proof that nothing differs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
from tests import databases
from tests.postgres import binaries

import moln.app  # noqa: F401  (declares every table)
from moln.kernel.db import Transaction, journal, metadata, postgres_schema
from moln.kernel.db.moving import Target, sums_of_file
from moln.kernel.db.sqlite import SqliteDatabase
from moln.kernel.errors import Failure, Paused

pytestmark = [pytest.mark.postgresql, pytest.mark.skipif(binaries() is None, reason="no PostgreSQL here: Debian's package is `postgresql`")]


def row(id: str, name: str) -> dict[str, object]:
    """An image: every column that has to be there."""
    table = metadata.tables["images"]
    values: dict[str, object] = {}
    for column in table.columns:
        if column.name != "rowid" and not column.nullable:
            values[column.name] = 0 if column.type.python_type is int else "x"
    return values | {"id": id, "name": name}


async def add(tx: Transaction, id: str, name: str = "an image") -> None:
    await tx.insert(metadata.tables["images"], row(id, name))


async def add_tag(tx: Transaction, image: str, tag: str) -> None:
    await tx.insert(metadata.tables["image_labels"], {"image_id": image, "label": tag})


async def remove(tx: Transaction, id: str) -> None:
    await tx.delete(metadata.tables["images"], id=id)


async def rename(tx: Transaction, id: str, name: str | None) -> None:
    await tx.update(metadata.tables["images"], {"name": name}, id=id)


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[SqliteDatabase]:
    made = SqliteDatabase(tmp_path / "cloud.db")
    yield made
    await made.close()


@pytest.fixture
async def url() -> AsyncIterator[str]:
    made = await databases.server().empty()
    yield made
    await databases.server().drop(made)


@pytest.fixture
async def target(url: str) -> AsyncIterator[Target]:
    made = Target(url, "a cloud")
    await made.reach()
    yield made
    await made.close()


def told(table: str, rows: int) -> None:
    pass


async def copied(db: SqliteDatabase, target: Target) -> None:
    await target.prepare()
    await db.write(journal.begin_in)
    await target.copy(db.path, told)


async def test_rows_written_during_the_copy_are_there_as_they_are_at_its_end(db: SqliteDatabase, target: Target, url: str) -> None:
    for id in ("kept", "gone", "renamed", "swapped"):
        await db.write(add, id)
        await db.write(add_tag, id, "old")
    await copied(db, target)
    await db.write(add, "new", "ä\x1f\u2028 name")
    await db.write(rename, "renamed", None)
    await db.write(remove, "gone")  # its tags go with it
    await db.write(remove, "swapped")
    await db.write(add, "swapped", "another of the same id")
    await db.write(add_tag, "new", "new")
    await db.pause()
    sums = await target.finish(db.path, await db.write_paused(journal.written_in))

    assert sums["images"][0] == 4 and sums["image_labels"][0] == 3
    assert await target.sums() == sums
    names = {r["id"]: r["name"] for r in await target.conn.fetch("SELECT id, name FROM images")}
    assert names == {"kept": "an image", "renamed": None, "swapped": "another of the same id", "new": "ä\x1f\u2028 name"}
    assert await target.conn.fetchval("INSERT INTO image_labels (image_id, label) VALUES ('kept', 'more') RETURNING rowid") > 4
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        await target.conn.execute("INSERT INTO image_labels (image_id, label) VALUES ('nobody', 'tag')")


async def test_the_tables_are_those_that_a_controller_makes(db: SqliteDatabase, target: Target) -> None:
    async def described(conn: asyncpg.Connection) -> list[str]:
        made = await conn.fetch("SELECT conrelid::regclass::text || conname || pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid <> 0 ORDER BY 1")
        return [r[0] for r in made if not r[0].startswith(postgres_schema.BEGUN)]

    await copied(db, target)
    await db.pause()
    await target.finish(db.path, {})
    fresh = await databases.server().fresh()
    other = await asyncpg.connect(fresh)
    assert await described(target.conn) == await described(other)
    assert await postgres_schema.ensure(target.conn) is False
    await other.close()
    await databases.server().drop(fresh)


async def test_a_copy_that_differs_is_refused_and_names_the_table(db: SqliteDatabase, target: Target) -> None:
    await db.write(add, "one")
    await copied(db, target)
    await target.conn.execute("UPDATE images SET name = 'what nobody wrote'")
    await db.pause()
    with pytest.raises(Failure, match="differs from the cloud's database in images;"):
        await target.finish(db.path, await db.write_paused(journal.written_in))
    assert await target.conn.fetchval("SELECT stamp FROM moln_schema") == postgres_schema.GROWING


async def test_a_database_with_anything_in_it_is_no_target_but_for_the_move_that_was_interrupted(db: SqliteDatabase, target: Target, url: str) -> None:
    await db.write(add, "one")
    await copied(db, target)
    again = Target(url, "a cloud")
    with pytest.raises(Failure, match="Another cloud is being moved"):
        await again.reach()
    await target.close()
    other = Target(url, "another cloud")
    await other.reach()
    with pytest.raises(Failure, match="not empty"):
        await other.prepare()
    await other.close()
    await again.reach()
    await again.prepare()
    assert await again.conn.fetchval("SELECT count(*) FROM images") == 0
    await again.close()


async def test_writes_are_refused_in_a_pause_after_those_that_were_taken(db: SqliteDatabase) -> None:
    taken = asyncio.gather(*(db.write(add, f"taken {n}") for n in range(20)))
    await asyncio.sleep(0)
    await db.pause()
    with pytest.raises(Paused):
        await db.write(add, "refused")
    await taken
    assert sums_of_file(db.path)["images"][0] == 20
    db.resume()
    await db.write(add, "after it")


async def test_nothing_is_noted_any_more_after_the_end(db: SqliteDatabase) -> None:
    await db.write(journal.begin_in)
    await db.write(add, "one")
    assert list((await db.write(journal.written_in))["images"].rowids) == [1]
    await db.write(journal.end_in)
    await db.write(add, "two")
    await db.write(journal.begin_in)
    assert await db.write(journal.written_in) == {}
