"""tempest.conf from what a cloud says of itself.

Nothing is claimed that the cloud does not have: features come from the operations that `moln routes` lists, extensions and microversions from
the services' own answers, and what the suite needs to exist (flavors, an image, an external network) is made by the public APIs.
"""

from __future__ import annotations

import configparser
import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

TIMEOUT_S = 60
PATIENCE_S = 40  # for anything to become ready: simulated things are so at once
EXTERNAL_CIDR = "172.24.4.0/24"  # devstack's; nothing of it leaves a simulated cloud

Routes = set[tuple[str, str, str]]  # method, path below the service's prefix, action


def parse_routes(tsv: str) -> Routes:
    """What `moln routes` prints."""
    found = set()
    for line in tsv.splitlines()[1:]:
        _, method, path, action, *_ = [*line.split("\t"), "", "", ""]
        found.add((method, path, action))
    return found


class Cloud:
    """An administrator's calls to the public APIs. Raises: RuntimeError, with what was answered."""

    def __init__(self, base: str, password: str):
        self.base, self.password = base, password
        scope = {"project": {"name": "admin", "domain": {"id": "default"}}}
        user = {"name": "admin", "password": password, "domain": {"id": "default"}}
        asked = {"auth": {"identity": {"methods": ["password"], "password": {"user": user}}, "scope": scope}}
        self.token = ""
        status, headers, _ = self._send("POST", "/identity/v3/auth/tokens", json.dumps(asked).encode(), {})
        self.token = headers["x-subject-token"]

    def _send(self, method: str, path: str, data: bytes | None, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        headers = {"Content-Type": "application/json", "X-Auth-Token": self.token, **headers}
        request = urllib.request.Request(self.base + path, data=data, method=method, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
                return answer.status, {k.lower(): v for k, v in answer.headers.items()}, answer.read()
        except urllib.error.HTTPError as failure:
            if failure.code == 300:  # Multiple Choices: how several services list their versions
                return failure.code, {}, failure.read()
            raise RuntimeError(f"{method} {path}: {failure.code} {failure.read()[:500]!r}") from failure

    def call(self, method: str, path: str, body: object = None, **headers: str) -> Any:
        _, _, answer = self._send(method, path, None if body is None else json.dumps(body).encode(), headers)
        return json.loads(answer) if answer else None

    def upload(self, image_id: str, content: bytes) -> None:
        self._send("PUT", f"/image/v2/images/{image_id}/file", content, {"Content-Type": "application/octet-stream"})


def make_resources(cloud: Cloud, image: Path) -> dict[str, str]:
    """What the suite takes for granted: two flavors, two images, an external network. Returns their ids."""
    made = {}
    for name, ram in (("flavor", 128), ("flavor_alt", 192)):
        flavor = {"name": f"m1.tempest-{ram}", "ram": ram, "vcpus": 1, "disk": 1, "id": f"tempest-{ram}"}
        made[name] = cloud.call("POST", "/compute/v2.1/flavors", {"flavor": flavor})["flavor"]["id"]
    for name in ("image", "image_alt"):
        asked = {"name": f"tempest-{name}", "disk_format": "qcow2", "container_format": "bare", "visibility": "public"}
        made[name] = cloud.call("POST", "/image/v2/images", asked)["id"]
        cloud.upload(made[name], image.read_bytes())
    network = {"name": "public", "router:external": True, "provider:network_type": "flat", "provider:physical_network": "public"}
    made["public"] = cloud.call("POST", "/network/v2.0/networks", {"network": network})["network"]["id"]
    subnet = {"network_id": made["public"], "ip_version": 4, "cidr": EXTERNAL_CIDR, "enable_dhcp": False}
    cloud.call("POST", "/network/v2.0/subnets", {"subnet": subnet})
    return made


def tempest_conf(cloud: Cloud, routes: Routes, made: dict[str, str], image: Path, workspace: Path) -> configparser.ConfigParser:
    """The whole configuration. No ssh into guests: simulated ones run nothing."""
    servers = "/compute/v2.1/servers/{server_id}/action"

    def has(method: str, path: str, action: str = "") -> str:
        return str((method, path, action) in routes)

    def acts(*actions: str) -> str:
        return str(all(("POST", servers, action) in routes for action in actions))

    compute = cloud.call("GET", "/compute/")["versions"][-1]
    volume = next(v for v in cloud.call("GET", "/volume/")["versions"] if v["id"].startswith("v3"))
    placement = cloud.call("GET", "/placement/")["versions"][-1]
    hosts = len([s for s in cloud.call("GET", "/compute/v2.1/os-services")["services"] if s["state"] == "up"])
    hypervisors = cloud.call("GET", "/compute/v2.1/os-hypervisors/detail")["hypervisors"]
    pool = cloud.call("GET", "/volume/v3/scheduler-stats/get_pools?detail=True")["pools"][0]["capabilities"]
    network = sorted(e["alias"] for e in cloud.call("GET", "/network/v2.0/extensions")["extensions"])
    region = cloud.call("GET", "/identity/v3/regions")["regions"][0]["id"]
    backups = [s for s in cloud.call("GET", "/volume/v3/os-services")["services"] if s["binary"] == "cinder-backup"]

    sections: dict[str, dict[str, object]] = {
        "DEFAULT": {"log_dir": workspace / "logs", "log_file": "tempest.log"},
        "oslo_concurrency": {"lock_path": workspace / "tempest_lock"},
        "auth": {
            "use_dynamic_credentials": True, "tempest_roles": "member", "admin_username": "admin", "admin_project_name": "admin",
            "admin_password": cloud.password, "admin_domain_name": "Default",
        },
        "identity": {"uri_v3": f"{cloud.base}/identity/v3", "auth_version": "v3", "region": region},
        "identity-feature-enabled": {
            "api_v2": False, "api_v2_admin": False, "trust": has("POST", "/identity/v3/OS-TRUST/trusts"),
            "access_rules": has("GET", "/identity/v3/users/{user_id}/access_rules"), "security_compliance": False,
        },
        "service_available": {"nova": True, "cinder": True, "glance": True, "neutron": True, "swift": False, "horizon": False},
        "compute": {
            "image_ref": made["image"], "image_ref_alt": made["image_alt"], "flavor_ref": made["flavor"], "flavor_ref_alt": made["flavor_alt"],
            "min_compute_nodes": hosts, "min_microversion": compute["min_version"], "max_microversion": compute["version"],
            "build_timeout": PATIENCE_S, "hypervisor_type": hypervisors[0]["hypervisor_type"],
        },
        "compute-feature-enabled": {
            "resize": acts("resize", "confirmResize", "revertResize"), "pause": acts("pause", "unpause"), "suspend": acts("suspend", "resume"),
            "shelve": acts("shelve", "unshelve"), "rescue": acts("rescue", "unrescue"), "snapshot": acts("createImage"),
            "cold_migration": False, "live_migration": acts("os-migrateLive"), "console_output": acts("os-getConsoleOutput"),
            "vnc_console": has("POST", "/compute/v2.1/servers/{server_id}/remote-consoles"), "change_password": False,  # no guest agent
            "enable_instance_password": True, "interface_attach": has("POST", "/compute/v2.1/servers/{server_id}/os-interface"),
            "config_drive": True, "metadata_service": True, "attach_encrypted_volume": False, "volume_multiattach": pool["multiattach"], "personality": True,
            "stable_rescue": acts("rescue", "unrescue"), "ide_bus": False,
        },
        "placement": {"min_microversion": placement["min_version"], "max_microversion": placement["max_version"]},
        "image": {"build_timeout": PATIENCE_S},
        "image-feature-enabled": {
            "import_image": has("POST", "/image/v2/images/{image_id}/import"), "os_glance_reserved": True,
            "manage_locations": has("POST", "/image/v2/images/{image_id}/locations"), "image_format_enforcement": True,
        },
        "network": {"build_timeout": PATIENCE_S, "public_network_id": made["public"], "floating_network_name": "public"},
        "network-feature-enabled": {
            "api_extensions": ",".join(network), "port_security": "port-security" in network, "ipv6_subnet_attributes": True,
            "available_features": ",".join(sorted({*network} & {"ext-gw-mode"})),
        },
        "volume": {
            "build_timeout": PATIENCE_S,
            "min_microversion": volume["min_version"], "max_microversion": volume["version"], "storage_protocol": pool["storage_protocol"],
            "vendor_name": pool.get("vendor_name", "Open Source"), "disk_format": "raw",
        },
        "volume-feature-enabled": {
            "backup": bool(backups), "extend_attached_volume": True, "multi_backend": False,
            "api_extensions": ",".join(e["alias"] for e in cloud.call("GET", "/volume/v3/extensions")["extensions"]),
            "manage_volume": has("POST", "/volume/v3/os-volume-manage"), "manage_snapshot": has("POST", "/volume/v3/os-snapshot-manage"),
        },
        "validation": {"run_validation": False},
        "scenario": {"img_file": image, "img_disk_format": "qcow2"},
    }  # fmt: skip
    made_of = configparser.ConfigParser(interpolation=None)
    for name, values in sections.items():
        made_of[name] = {key: str(value) for key, value in values.items()}
    return made_of

