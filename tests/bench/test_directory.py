"""What identity's rows are measured on is a sound cloud."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from moln.app import compose, load_settings
from moln.bench.directory import ON_PROJECTS, Size, _add_member, _add_projects, _add_users, fill, user_id
from moln.identity.ops.invariants import INVARIANTS
from moln.simulation import simulated_links


def test_a_directory_has_what_it_says(tmp_path: Path) -> None:
    made = fill(tmp_path, Size(30, ON_PROJECTS))
    with sqlite3.connect(tmp_path / "cloud.db") as db:
        assert db.execute("SELECT count(*) FROM identity_grants WHERE actor_kind = 'group'").fetchone() == (ON_PROJECTS,)
        assert db.execute("SELECT count(*) FROM identity_memberships WHERE user_id = ?", [made.member]).fetchone() == (made.groups,)
        assert db.execute("SELECT name FROM identity_users WHERE id = ?", [user_id(29)]).fetchone() == ("user-29",)
    db.close()


async def test_its_invariants_hold(tmp_path: Path) -> None:
    app = compose(tmp_path, load_settings(tmp_path, simulate=True), simulated_links)
    await app.set_up()
    for add in (_add_users, _add_projects):
        await app.cloud.db.write(add, 0, ON_PROJECTS)
    await app.cloud.db.write(_add_member, Size(ON_PROJECTS, ON_PROJECTS))
    assert [found for invariant in INVARIANTS for found in await invariant.check(app.cloud)] == []
    await app.stop()
