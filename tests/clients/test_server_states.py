"""python-openstackclient, unmodified: a server put aside in every way there is, and brought back."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.clients.conftest import Running
from tests.clients.test_openstack_command import until


@pytest.mark.slow
def test_a_server_is_put_aside_and_comes_back(running: Running, tmp_path: Path) -> None:
    openstack = running.openstack
    file = tmp_path / "disk.img"
    file.write_bytes(b"\0" * (1 << 20))
    openstack("image", "create", "aside-image", "--file", str(file), "--disk-format", "raw")
    openstack("flavor", "create", "aside-flavor", "--vcpus", "1", "--ram", "128", "--disk", "1")
    openstack("server", "create", "aside", "--image", "aside-image", "--flavor", "aside-flavor", "--nic", "none", "--wait")
    openstack("server", "suspend", "aside")
    until(running, ["server"], "aside", "SUSPENDED")
    openstack("server", "resume", "aside")
    until(running, ["server"], "aside", "ACTIVE")
    openstack("server", "rescue", "--image", "aside-image", "--password", "a-Secret-1", "aside")
    until(running, ["server"], "aside", "RESCUE")
    openstack("server", "unrescue", "aside")
    until(running, ["server"], "aside", "ACTIVE")
    openstack("server", "shelve", "--wait", "--offload", "aside")
    assert until(running, ["server"], "aside", "SHELVED_OFFLOADED")["OS-EXT-SRV-ATTR:host"] is None
    assert openstack("image", "show", "aside-shelved")["status"] == "active"
    openstack("--os-compute-api-version", "2.91", "server", "unshelve", "--wait", "--no-availability-zone", "aside")
    assert until(running, ["server"], "aside", "ACTIVE")["OS-EXT-SRV-ATTR:host"] == "sim-1"
    openstack("server", "delete", "aside", "--wait")
    assert "aside-shelved" not in {i["Name"] for i in openstack("image", "list")}
