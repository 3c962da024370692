"""Keys that somebody else has: what they opened is closed to him, and to nobody else."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from moln.app import App, compose, load_settings
from moln.identity.ops import rotation
from moln.identity.ops.keys import Keyring
from moln.identity.ops.state import of
from moln.identity.store.credentials import CREDENTIALS
from moln.identity.store.domain_configs import OPTIONS
from moln.identity.store.oauth1 import ACCESS_TOKENS, CONSUMERS, REQUEST_TOKENS
from moln.identity.store.token_keys import ALL, TokenKey, token_keys
from moln.kernel.db import Query, Transaction
from moln.simulation import simulated_links

SECRET = b"a secret that is kept"
TABLES: tuple[tuple[Any, str, dict[str, object]], ...] = (
    (CREDENTIALS, "sealed", {"id": "c", "type": "totp", "user_id": "u", "project_id": None, "extra": "{}"}),
    (CONSUMERS, "sealed", {"id": "c", "description": None, "extra": "{}"}),
    (REQUEST_TOKENS, "sealed", {"id": "r", "consumer_id": "c", "requested_project_id": "p", "expires_at": 1, "verifier": None,
                                "authorizing_user_id": None, "role_ids": "[]"}),
    (ACCESS_TOKENS, "sealed", {"id": "a", "consumer_id": "c", "authorizing_user_id": "u", "project_id": "p", "role_ids": "[]", "expires_at": 1}),
    (OPTIONS, "value", {"domain_id": "d", "group": "ldap", "option": "password", "sensitive": 1}),
)  # fmt: skip


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[App]:
    made = compose(tmp_path, load_settings(tmp_path, simulate=True, audit_mib=0), simulated_links)
    await made.set_up()
    yield made
    await made.stop()


async def fill(tx: Transaction, sealed: str) -> None:
    for table, column, row in TABLES:
        await tx.insert(table, {**row, column: sealed})
    await tx.insert(OPTIONS, {"domain_id": "d", "group": "ldap", "option": "url", "sensitive": 0, "value": '"ldaps://x"'})
    await tx.insert(token_keys, TokenKey(7, sealed, 1))


async def kept(app: App) -> list[str]:
    found = []
    for table, column, row in TABLES:
        where = sa.and_(*(table.c[name] == value for name, value in row.items() if value is not None))
        found += await app.cloud.db.all(Query(sa.select(table.c[column]).where(where), str))
    return found


async def test_a_kept_copy_of_the_keys_opens_no_token_and_nothing_that_is_kept(app: App, tmp_path: Path) -> None:
    state, now_s = of(app.cloud), app.cloud.clock.now_us() // 1_000_000
    await app.cloud.db.write(fill, state.vault.seal(SECRET, now_s))
    token = state.keys.seal(b"who", now_s)
    for name in ("keys", "credential-keys"):
        shutil.copytree(tmp_path / name, tmp_path / "thief" / name)
    thief, tokens = Keyring(tmp_path / "thief/credential-keys", longest=1 << 20), Keyring(tmp_path / "thief/keys")
    assert [thief.open(text) for text in await kept(app)] == [SECRET] * len(TABLES) and tokens.open(token) == b"who"

    assert await rotation.replace_all(app.cloud) == len(TABLES)

    found = await kept(app)
    assert [state.vault.open(text) for text in found] == [SECRET] * len(TABLES)
    for text in found:
        with pytest.raises(ValueError, match="no token"):
            thief.open(text)
    with pytest.raises(ValueError, match="no token"):
        state.keys.open(token)
    with pytest.raises(ValueError, match="no token"):
        tokens.open(state.keys.seal(b"who", app.cloud.clock.now_us() // 1_000_000 + 1))
    assert await app.cloud.db.all(ALL) == []
    for name in ("keys", "credential-keys"):
        assert not {f.read_bytes() for f in (tmp_path / name).glob("*.key")} & {f.read_bytes() for f in (tmp_path / "thief" / name).glob("*.key")}


async def test_whoever_dies_in_between_does_it_again_and_loses_nothing(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    state, now_s = of(app.cloud), app.cloud.clock.now_us() // 1_000_000
    await app.cloud.db.write(fill, state.vault.seal(SECRET, now_s))
    for _ in range(4):  # more often than keys are kept otherwise
        with monkeypatch.context() as dying, pytest.raises(OSError, match="died"):
            dying.setattr(Keyring, "forget", died)
            await rotation.replace_all(app.cloud)
    await rotation.replace_all(app.cloud)
    assert [state.vault.open(text) for text in await kept(app)] == [SECRET] * len(TABLES)
    assert len(list((app.cloud.home / "credential-keys").glob("*.key"))) == 1


def died(_: Keyring) -> None:
    raise OSError("died")
