"""moln backup and moln restore: what was saved while the cloud worked is a cloud again, and nothing else is taken for it."""

from __future__ import annotations

import asyncio
import gzip
import sqlite3
import stat
import tarfile
from pathlib import Path

import msgspec
import pytest
from tests.conftest import Api
from tests.databases import chosen

from moln import saving
from moln.app import compose, load_settings
from moln.cli import main
from moln.cli.saved import archive
from moln.cli.saved import database as saved
from moln.cli.settings_file import with_url
from moln.host.places import Places
from moln.host.processes import Choices
from moln.host.run import HostError
from moln.kernel.db.saving import RAISED
from moln.simulation import simulated_links

POSTGRESQL = "second"
SECRET = {"credential": {"type": "cert", "blob": "what only they know"}}


async def moln(*args: object) -> int:
    return await asyncio.to_thread(main, [str(a) for a in args])


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Databases are read and written by this process, which has tables of other tests, too (tests/faults/test_growing.py has processes of their own)."""

    def process(places: Places, owner: str | None, *args: str) -> None:
        if saving.main(places.home, args[0], Path(args[1]), *args[2:]):
            raise HostError("see above")

    monkeypatch.setattr(saved, "process", process)


async def restore(file: Path, other: Path) -> int:
    return await moln("restore", file, "--home", other, *(["--sqlite"] if chosen.kind == "postgresql" else []))


async def simulated(api: Api, home: Path) -> Places:
    """The home of the fixture's cloud, as `moln up --simulate` leaves it."""
    places = Places(home)
    places.host.mkdir(exist_ok=True)
    (home / "out").mkdir()
    places.choices.write_bytes(msgspec.json.encode(Choices(simulate=True)))
    if url := chosen.urls.get(home):
        places.settings.write_text(f'database_url = "{url}"\n')
    return places


async def test_a_restored_cloud_knows_its_users_tokens_and_secrets(api: Api, tmp_path: Path, database: str) -> None:
    await simulated(api, tmp_path)
    (tmp_path / "policy").mkdir(exist_ok=True)
    (tmp_path / "policy/compute.yaml").write_text('"os_compute_api:servers:index": "role:admin"\n')
    who = (await api.admin.get("/identity/v3/auth/tokens", headers={"X-Subject-Token": api.admin.headers["X-Auth-Token"]})).json()["token"]["user"]["id"]
    kept = (await api.admin.post("/identity/v3/credentials", json={"credential": SECRET["credential"] | {"user_id": who}})).json()["credential"]
    network = (await api.admin.post("/network/v2.0/networks", json={"network": {"name": "kept"}})).json()["network"]["id"]
    file, other = tmp_path / "out" / "saved.moln", tmp_path / "out" / "other"

    assert await moln("backup", file, "--home", tmp_path) == 0
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    await api.admin.delete(f"/network/v2.0/networks/{network}")
    assert await restore(file, other) == 0

    app = compose(other, load_settings(other, simulate=True), simulated_links)
    restored = Api(app, other)
    await app.set_up()
    restored.admin = restored.client(api.admin.headers["X-Auth-Token"])
    assert [n["name"] for n in (await restored.admin.get("/network/v2.0/networks")).json()["networks"]] == ["kept"]
    assert (await restored.admin.get(f"/identity/v3/credentials/{kept['id']}")).json()["credential"]["blob"] == kept["blob"]
    await restored.sign_in()
    assert (other / "policy/compute.yaml").read_text() == (tmp_path / "policy/compute.yaml").read_text()
    assert stat.S_IMODE((other / "keys/1.key").stat().st_mode) == 0o600
    await app.stop()


async def test_what_is_restored_outranks_what_nodes_have_heard(api: Api, tmp_path: Path, database: str) -> None:
    await simulated(api, tmp_path)
    image = (await api.admin.post("/volume/v3/volumes", json={"volume": {"size": 1}})).json()["volume"]["id"]
    file, other = tmp_path / "out" / "ranks.moln", tmp_path / "out" / "ranks"
    assert await moln("backup", file, "--home", tmp_path) == 0
    assert await restore(file, other) == 0
    with sqlite3.connect(other / "cloud.db") as db:
        assert db.execute("SELECT generation FROM volumes WHERE id = ?", (image,)).fetchone()[0] > RAISED


async def test_an_archive_that_was_changed_is_not_restored(api: Api, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    await simulated(api, tmp_path)
    file, other = tmp_path / "out" / "whole.moln", tmp_path / "out" / "changed"
    assert await moln("backup", file, "--home", tmp_path) == 0
    assert await moln("backup", file, "--home", tmp_path) == 1  # never over another one
    password = (tmp_path / "admin.password").read_bytes()
    data = gzip.decompress(file.read_bytes())
    changed = tmp_path / "out" / "changed.moln"

    changed.write_bytes(gzip.compress(data.replace(password, b"x" * len(password))))
    assert await restore(changed, other) == 1
    assert "admin.password is not what was saved" in capsys.readouterr().err
    changed.write_bytes(file.read_bytes()[:-4000])
    assert await restore(changed, other) == 1
    assert "no backup that can be read" in capsys.readouterr().err
    with tarfile.open(changed, "w:gz") as tar:
        tar.add(tmp_path / "admin.password", "admin.password")
    assert await restore(changed, other) == 1
    assert "does not begin with manifest.json" in capsys.readouterr().err
    assert list(other.iterdir()) == []


async def test_a_backup_of_another_version_or_into_a_home_in_use_is_refused(api: Api, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    await simulated(api, tmp_path)
    file, other = tmp_path / "out" / "version.moln", tmp_path / "out" / "version"
    assert await moln("backup", file, "--home", tmp_path) == 0
    assert await restore(file, tmp_path) == 1
    assert "is not empty (" in capsys.readouterr().err

    folder = tmp_path / "out" / "unpacked"
    folder.mkdir()
    manifest = archive.read(file, folder)
    with sqlite3.connect(folder / "cloud.db") as db:
        db.execute("PRAGMA user_version = 7")
    files = manifest.files | {"cloud.db": archive.entry(folder / "cloud.db")}
    older = tmp_path / "out" / "older.moln"
    archive.write(older, folder, folder / "cloud.db", msgspec.structs.replace(manifest, files=files))
    assert await restore(older, other) == 1
    assert "another version of Moln (schema 7," in capsys.readouterr().err
    archive.write(older, folder, folder / "cloud.db", msgspec.structs.replace(manifest, format=2))
    assert await restore(older, other) == 1
    assert "has format 2" in capsys.readouterr().err


def test_the_database_is_named_before_the_first_table() -> None:
    url = "postgresql://moln@db/moln"
    assert with_url("", url) == f'database_url = "{url}"\n'
    assert with_url('port = 1\n[host]\nmemory = 2\n', url) == f'port = 1\ndatabase_url = "{url}"\n\n[host]\nmemory = 2\n'
    assert with_url('database_url = ""\nport = 1', url) == f'port = 1\ndatabase_url = "{url}"\n'
    assert with_url(f'database_url = "{url}"\nport = 1\n', "") == "port = 1\n"
