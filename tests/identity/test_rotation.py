"""Several controllers rotate to one and the same key, which seals only when every one of them has it."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests import databases
from tests.postgres import binaries

from moln.app import App, compose, load_settings
from moln.identity.ops import rotation
from moln.identity.ops.state import State, of
from moln.simulation import simulated_links

pytestmark = [
    pytest.mark.postgresql,
    pytest.mark.skipif(binaries() is None, reason="no PostgreSQL here: Debian's package is `postgresql`"),
]
LATER = 8 * 86400


async def begun(home: Path, url: str) -> App:
    app = compose(home, load_settings(home, simulate=True, database_url=url, audit_mib=0), simulated_links)
    await app.set_up()
    return app


@pytest.fixture
async def apps(tmp_path: Path) -> AsyncIterator[list[App]]:
    """Two controllers, each with a home of its own; their key has sealed for eight days."""
    url = await databases.server().fresh()
    homes = [tmp_path / "one", tmp_path / "two"]
    homes[0].mkdir()
    made = [await begun(homes[0], url)]
    ago = time.time() - LATER
    os.utime(homes[0] / "keys/1.key", (ago, ago))
    shutil.copytree(homes[0] / "keys", homes[1] / "keys")
    shutil.copytree(homes[0] / "credential-keys", homes[1] / "credential-keys")
    made.append(await begun(homes[1], url))
    yield made
    for app in made:
        await app.stop()
    await databases.server().drop(url)


def keys(app: App) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in (app.cloud.home / "keys").glob("*.key")}


def state(app: App) -> State:
    return of(app.cloud)


async def test_all_have_the_new_key_before_one_seals_with_it(apps: list[App], tmp_path: Path) -> None:
    one, two = apps
    now = int(time.time())
    await rotation.rotate(one.cloud)
    assert sorted(keys(one)) == ["1.key", "2.key"]
    two_knows_it_not_yet = state(one).keys.seal(b"now", now)
    assert state(two).keys.open(two_knows_it_not_yet) == b"now"
    await rotation.rotate(two.cloud)
    assert keys(two) == keys(one)
    later = state(two).keys.seal(b"later", now + rotation.STAGED_S + 1)
    assert state(one).keys.open(later) == b"later"
    (one.cloud.home / "keys/1.key").unlink()
    state(one).keys._load()
    assert state(one).keys.open(later) == b"later", "the second key sealed it"
    await rotation.rotate(one.cloud)
    await rotation.rotate(two.cloud)
    assert sorted(keys(two)) == ["1.key", "2.key"], "it is not time again"


async def test_two_that_rotate_together_have_one_key(apps: list[App]) -> None:
    one, two = apps
    write = two.cloud.db.write
    async def first_one(*args: object) -> object:  # it comes first in the very moment in which two is about to write
        two.cloud.db.write = write  # type: ignore[method-assign]
        await rotation.rotate(one.cloud)
        return await write(*args)  # type: ignore[arg-type]

    two.cloud.db.write = first_one  # type: ignore[method-assign,assignment]
    await rotation.rotate(two.cloud)
    assert keys(one) == keys(two) and len(keys(one)) == 2


async def test_one_that_was_away_takes_them_before_it_serves(apps: list[App], tmp_path: Path) -> None:
    one, two = apps
    await rotation.rotate(one.cloud)
    third = tmp_path / "three"
    for name in ("keys", "credential-keys"):
        shutil.copytree(two.cloud.home / name, third / name)
    url = two.cloud.settings.database_url
    app = await begun(third, url)
    assert keys(app) == keys(one)
    await app.stop()
