"""python-openstackclient, unmodified: a server gets other flavors, another image, backups; its volume grows; one boots from a snapshot."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.clients.conftest import Running
from tests.clients.test_openstack_command import until


@pytest.mark.slow
def test_a_server_changes(running: Running, tmp_path: Path) -> None:
    openstack = running.openstack
    file = tmp_path / "disk.img"
    file.write_bytes(b"\0" * (1 << 20))
    for name in ("change-image", "change-other"):
        openstack("image", "create", name, "--file", str(file), "--disk-format", "raw")
        assert openstack("image", "show", name)["status"] == "active"
    for name, ram in (("change-small", "128"), ("change-big", "256")):
        openstack("flavor", "create", name, "--vcpus", "1", "--ram", ram, "--disk", "1")
    openstack("server", "create", "change", "--image", "change-image", "--flavor", "change-small", "--nic", "none", "--wait")

    openstack("server", "resize", "--flavor", "change-big", "--wait", "change")
    assert openstack("server", "show", "change")["status"] == "VERIFY_RESIZE"
    openstack("server", "resize", "revert", "change")
    assert until(running, ["server"], "change", "ACTIVE")["flavor"]["original_name"] == "change-small"
    openstack("server", "resize", "--flavor", "change-big", "--wait", "change")
    openstack("server", "resize", "confirm", "change")
    assert until(running, ["server"], "change", "ACTIVE")["flavor"]["original_name"] == "change-big"
    assert {m["Status"] for m in openstack("server", "migration", "list")} == {"reverted", "confirmed"}

    openstack("server", "rebuild", "change", "--image", "change-other", "--wait")
    assert "change-other" in str(openstack("server", "show", "change")["image"])
    openstack("server", "backup", "create", "change", "--name", "change-backup", "--type", "daily", "--rotate", "1", "--wait")
    assert openstack("image", "show", "change-backup")["properties"]["backup_type"] == "daily"

    openstack("volume", "create", "change-volume", "--size", "1")
    until(running, ["volume"], "change-volume", "available")
    openstack("server", "add", "volume", "change", "change-volume")
    until(running, ["volume"], "change-volume", "in-use")
    openstack("--os-volume-api-version", "3.42", "volume", "set", "--size", "2", "change-volume")
    assert until(running, ["volume"], "change-volume", "in-use")["size"] == 2

    openstack("volume", "create", "change-root", "--size", "1", "--image", "change-image")
    until(running, ["volume"], "change-root", "available")
    openstack("server", "create", "change-backed", "--volume", "change-root", "--flavor", "change-small", "--nic", "none", "--wait")
    assert openstack("server", "image", "create", "change-backed", "--name", "change-snapshot", "--wait")["status"] == "active"
    openstack("server", "create", "change-again", "--image", "change-snapshot", "--flavor", "change-small", "--nic", "none", "--wait")
    until(running, ["server"], "change-again", "ACTIVE")

    openstack("server", "delete", "change", "change-backed", "change-again", "--wait")
    for volume in openstack("volume", "list"):
        until(running, ["volume"], volume["ID"], "available")
    for snapshot in openstack("volume", "snapshot", "list"):
        openstack("volume", "snapshot", "delete", snapshot["ID"])
    for volume in openstack("volume", "list"):
        openstack("volume", "delete", volume["ID"])
    for name in ("change-image", "change-other", "change-backup", "change-snapshot"):
        openstack("image", "delete", name)
    openstack("flavor", "delete", "change-small", "change-big")
    doctor = running.moln("doctor", check=False)
    assert "violation" not in doctor.stdout.lower() or "0 violations" in doctor.stdout.lower(), doctor.stdout
