"""An operator's rules change while the cloud runs; what cannot be read changes nothing and is told."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import httpx
import pytest

from moln.app import compose, load_settings
from moln.kernel.errors import Invalid
from moln.local import admin_app
from moln.simulation import simulated_links

USERS = "/identity/v3/users"
IN_FORCE = "policy: the operator's files are in force"


class Files:
    """`policy/` of a home, looked at as the cloud does: a change is seen twice before it counts."""

    def __init__(self, api: Any):
        self.folder = Path(api.cloud.home) / "policy"
        self.folder.mkdir()
        self._watching = api.app.policy_files

    async def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)
        await self.seen()

    async def seen(self) -> None:
        await self._watching.look()
        await self._watching.look()


@pytest.fixture
def files(api: Any) -> Files:
    return Files(api)


async def told(api: Any, path: str) -> Any:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(admin_app(api.app)), base_url="http://admin") as operator:
        return (await operator.get(path)).json()


async def test_a_rule_counts_from_the_next_request_and_goes_with_its_file(api: Any, files: Files) -> None:
    assert (await api.member.get(USERS)).status_code == 403
    await files.write("keystone.yaml", "identity:list_users: role:member\n")
    assert (await api.member.get(USERS)).status_code == 200
    (files.folder / "keystone.yaml").unlink()
    await files.seen()
    assert (await api.member.get(USERS)).status_code == 403


@pytest.mark.parametrize("broken", ["identity:list_users: [", "- a list", '{"identity:list_users": "role:member and"}'])
async def test_a_broken_file_leaves_the_rules_and_is_told_everywhere(api: Any, files: Files, caplog: pytest.LogCaptureFixture, broken: str) -> None:
    await files.write("keystone.yaml", "identity:list_users: role:member\n")
    with caplog.at_level(logging.INFO, "moln.policy"):
        await files.write("keystone.yaml", broken)
        await files.seen()
    assert (await api.member.get(USERS)).status_code == 200
    assert ["keystone" in record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == [True]
    assert "keystone" in (await told(api, "/status"))["policy_problem"]
    assert IN_FORCE in {found["invariant"] for found in (await told(api, "/doctor"))["violations"]}
    await files.write("keystone.yaml", "identity:list_users: role:nobody\n")
    assert (await api.member.get(USERS)).status_code == 403
    assert (await told(api, "/status"))["policy_problem"] == ""
    assert IN_FORCE not in {found["invariant"] for found in (await told(api, "/doctor"))["violations"]}


async def test_a_file_that_is_still_written_waits(api: Any, files: Files) -> None:
    (files.folder / "keystone.yaml").write_text("identity:list_users: role:mem")
    await api.app.policy_files.look()
    (files.folder / "keystone.yaml").write_text("identity:list_users: role:member or role:reader\n")
    await api.app.policy_files.look()
    assert (await api.member.get(USERS)).status_code == 403
    await api.app.policy_files.look()
    assert (await api.member.get(USERS)).status_code == 200


async def test_networks_attributes_are_guarded_by_rules_that_come_later(api: Any, files: Files) -> None:
    made = await api.member.post("/network/v2.0/networks", json={"network": {"name": "n"}})
    assert "name" in made.json()["network"]
    await files.write("neutron.yaml", "get_network:mtu: role:nobody\n")
    shown = (await api.member.get(f"/network/v2.0/networks/{made.json()['network']['id']}")).json()["network"]
    assert "mtu" not in shown and "name" in shown


async def test_the_files_are_watched_while_the_cloud_works(api: Any) -> None:
    assert any(periodic.name == "policy-files" and periodic.everywhere for periodic in api.app.workers._periodics)


def test_a_cloud_does_not_begin_with_rules_that_it_cannot_read(tmp_path: Path) -> None:
    (tmp_path / "policy").mkdir()
    (tmp_path / "policy/nova.yaml").write_text("- a list")
    with pytest.raises(Invalid, match=r"nova\.yaml"):
        compose(tmp_path, load_settings(tmp_path, simulate=True), simulated_links)
