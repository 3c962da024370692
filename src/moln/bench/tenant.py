"""What is measured: a simulated cloud with ten services in its catalogue, a hundred servers with addresses and volumes."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import Any

from moln.demo.client import Client

SERVERS = 100
VERSION = "compute 2.90"
PLENTY = {"instances": -1, "cores": -1, "ram": -1, "key_pairs": -1}


class Tenant:
    """One project that fills the cloud through its APIs."""

    def __init__(self, port: int, home: Path):
        self.password = (home / "admin.password").read_text().strip()
        self.url = f"http://127.0.0.1:{port}"
        self.client = self._sign_in()
        self._prepare()

    def _sign_in(self) -> Client:
        return Client(self.url, user="admin", password=self.password, project="admin")

    @property
    def token(self) -> str:
        return self.client._token

    def _prepare(self) -> None:
        call = self.client.call
        catalog = call("GET", "/identity/v3/auth/catalog")["catalog"]
        for number in range(10 - len(catalog)):
            service = call("POST", "/identity/v3/services", {"service": {"type": f"bench-{number}", "name": f"bench-{number}"}})["service"]
            for interface in ("public", "internal", "admin"):
                endpoint = {"service_id": service["id"], "interface": interface, "url": f"{self.url}/bench-{number}", "region": "RegionOne"}
                call("POST", "/identity/v3/endpoints", {"endpoint": endpoint})
        self.client = self._sign_in()
        self.services = len(self.client.call("GET", "/identity/v3/auth/catalog")["catalog"])
        project = self.client.call("GET", "/identity/v3/auth/projects")["projects"][0]["id"]
        self.client.call("PUT", f"/compute/v2.1/os-quota-sets/{project}", {"quota_set": PLENTY})
        self.client.call("PUT", f"/network/v2.0/quotas/{project}", {"quota": {"port": -1, "network": -1, "security_group_rule": -1}})
        self.client.call("PUT", f"/volume/v3/os-quota-sets/{project}", {"quota_set": {"volumes": -1, "gigabytes": -1}})
        network = self.client.make("network", "/network/v2.0/networks", "bench", {})
        self.client.make("subnet", "/network/v2.0/subnets", "bench", {"network_id": network["id"], "ip_version": 4, "cidr": "10.0.0.0/16"})
        flavor = self.client.make("flavor", "/compute/v2.1/flavors", "bench", {"vcpus": 1, "ram": 64, "disk": 1})
        self.network, self.flavor, self.image = network["id"], flavor["id"], self._image()

    def _image(self) -> str:
        body = {"name": "bench", "disk_format": "raw", "container_format": "bare"}
        image: str = self.client.call("POST", "/image/v2/images", body)["id"]
        with tempfile.NamedTemporaryFile() as file:
            file.write(os.urandom(512) * 2048)
            file.flush()
            self.client.upload(f"/image/v2/images/{image}/file", Path(file.name))
        self.client.wait(f"/image/v2/images/{image}", "image", lambda i: i["status"] == "active", 60)
        return image

    def server(self, name: str, *, volume: str | None = None) -> dict[str, Any]:
        """The body that asks for a server."""
        body = {"name": name, "flavorRef": self.flavor, "imageRef": self.image, "networks": [{"uuid": self.network}]}
        if volume:
            body["block_device_mapping_v2"] = [
                {"uuid": self.image, "source_type": "image", "destination_type": "local", "boot_index": 0, "delete_on_termination": True},
                {"uuid": volume, "source_type": "volume", "destination_type": "volume", "boot_index": -1},
            ]
        return {"server": body}

    def fill(self, servers: int = SERVERS) -> list[str]:
        """Servers with an address and a volume each, ACTIVE. Their ids."""
        volumes = [self.client.make("volume", "/volume/v3/volumes", f"v{n}", {"size": 1})["id"] for n in range(servers)]
        for volume in volumes:
            self.client.wait(f"/volume/v3/volumes/{volume}", "volume", lambda v: v["status"] == "available", 120)
        made = [
            self.client.call("POST", "/compute/v2.1/servers", self.server(f"server-{n}", volume=volume))["server"]["id"]
            for n, volume in enumerate(volumes)
        ]
        for server in made:
            self.client.wait(f"/compute/v2.1/servers/{server}", "server", lambda s: s["status"] == "ACTIVE", 180)
        return made


def quiet(server: Any, *, seconds: float = 1.0, limit_s: float = 60.0) -> None:
    """Wait until a process has nothing to do."""
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        before = server.cpu_s()
        time.sleep(seconds)
        if server.cpu_s() - before < 0.03 * seconds:
            return
