"""python-openstackclient, unmodified: a first server by hand, as the README tells it."""

from __future__ import annotations

import time
from pathlib import Path

from tests.clients.conftest import Running


def until(running: Running, kind: list[str], name: str, status: str, limit_s: float = 90) -> dict:
    """The resource, once it has a status."""
    end = time.monotonic() + limit_s
    while True:
        found = running.openstack(*kind, "show", name)
        if found["status"] == status:
            return found
        assert found["status"].lower() != "error", found
        assert time.monotonic() < end, found
        time.sleep(0.5)  # the command has no event to wait for


def test_a_first_server(running: Running, tmp_path: Path) -> None:
    openstack = running.openstack
    assert openstack("token", "issue")["id"]
    assert {s["Type"] for s in openstack("catalog", "list")} >= {"identity", "image", "compute", "network", "placement"}
    file = tmp_path / "disk.img"
    file.write_bytes(b"\0" * (1 << 20))
    assert openstack("image", "create", "cli-image", "--file", str(file), "--disk-format", "raw")["status"] in ("active", "queued")
    assert openstack("image", "show", "cli-image")["status"] == "active"
    openstack("network", "create", "cli-public", "--external", "--provider-network-type", "flat", "--provider-physical-network", "public")
    openstack("subnet", "create", "cli-public", "--network", "cli-public", "--subnet-range", "198.51.100.0/24", "--no-dhcp")
    openstack("network", "create", "cli-net")
    openstack("subnet", "create", "cli-subnet", "--network", "cli-net", "--subnet-range", "10.8.0.0/24")
    openstack("router", "create", "cli-router", "--external-gateway", "cli-public")
    openstack("router", "add", "subnet", "cli-router", "cli-subnet")
    openstack("security", "group", "create", "cli-group")
    openstack("security", "group", "rule", "create", "cli-group", "--protocol", "tcp", "--dst-port", "22")
    openstack("flavor", "create", "cli-flavor", "--vcpus", "1", "--ram", "128", "--disk", "1")
    key = tmp_path / "key"
    openstack("keypair", "create", "cli-key", "--private-key", str(key))
    assert "PRIVATE KEY" in key.read_text()
    group = openstack("server", "group", "create", "cli-apart", "--policy", "anti-affinity", "--rule", "max_server_per_host=2")
    openstack("server", "create", "cli-server", "--image", "cli-image", "--flavor", "cli-flavor", "--network", "cli-net",
              "--security-group", "cli-group", "--key-name", "cli-key", "--hint", f"group={group['id']}", "--wait")  # fmt: skip
    server = until(running, ["server"], "cli-server", "ACTIVE")
    assert server["addresses"]["cli-net"][0].startswith("10.8.0.")
    assert openstack("server", "group", "show", "cli-apart")["members"] == [server["id"]]
    assert openstack("server", "group", "list")[0]["Policy"] == "anti-affinity"
    openstack("server", "group", "delete", "cli-apart")
    assert openstack("server", "group", "list") == []
    assert len(openstack("usage", "list")) == 1
    assert float(openstack("usage", "show")["CPU Hours"]) >= 0
    address = openstack("floating", "ip", "create", "cli-public")["floating_ip_address"]
    openstack("server", "add", "floating", "ip", "cli-server", address)
    assert address in str(openstack("server", "show", "cli-server")["addresses"])
    openstack("volume", "create", "cli-volume", "--size", "1")
    until(running, ["volume"], "cli-volume", "available")
    openstack("server", "add", "volume", "cli-server", "cli-volume")
    until(running, ["volume"], "cli-volume", "in-use")
    openstack("server", "remove", "volume", "cli-server", "cli-volume")
    until(running, ["volume"], "cli-volume", "available")
    assert "cli-server" in {s["Name"] for s in openstack("server", "list")}
    openstack("floating", "ip", "delete", address)
    openstack("server", "delete", "cli-server", "--wait")
    assert openstack("server", "list") == []
    openstack("volume", "delete", "cli-volume")
    openstack("router", "remove", "subnet", "cli-router", "cli-subnet")
    openstack("router", "delete", "cli-router")
    openstack("network", "delete", "cli-net", "cli-public")
    openstack("security", "group", "delete", "cli-group")
    openstack("image", "delete", "cli-image")
    openstack("flavor", "delete", "cli-flavor")
    openstack("keypair", "delete", "cli-key")
    doctor = running.moln("doctor", check=False)
    assert "violation" not in doctor.stdout.lower() or "0 violations" in doctor.stdout.lower(), doctor.stdout
