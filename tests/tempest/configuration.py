"""What discover-tempest-config leaves out of tempest.conf, from what a cloud says of itself.

Nothing is claimed that the cloud does not have: features come from the operations that `moln routes` lists and the services' own answers.
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
DEFAULT_POOL = "10.1.0.0/20"

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


def prepare(cloud: Cloud) -> None:
    """What the suite takes for granted and its own tool does not make: an external network and a pool of addresses, both the default ones.

    The identity endpoint becomes the cloud's other name for it, without the word `identity`: the tool puts a port behind that word,
    also where the address has one already.
    """
    network = {"name": "public", "router:external": True, "is_default": True, "provider:network_type": "flat", "provider:physical_network": "public"}
    public = cloud.call("POST", "/network/v2.0/networks", {"network": network})["network"]["id"]
    subnet = {"network_id": public, "ip_version": 4, "cidr": EXTERNAL_CIDR, "enable_dhcp": False}
    cloud.call("POST", "/network/v2.0/subnets", {"subnet": subnet})
    pool = {"name": "shared-default", "prefixes": [DEFAULT_POOL], "default_prefixlen": 26, "is_default": True, "shared": True}
    cloud.call("POST", "/network/v2.0/subnetpools", {"subnetpool": pool})
    identity = next(s["id"] for s in cloud.call("GET", "/identity/v3/services")["services"] if s["type"] == "identity")
    for endpoint in cloud.call("GET", f"/identity/v3/endpoints?service_id={identity}")["endpoints"]:
        cloud.call("PATCH", f"/identity/v3/endpoints/{endpoint['id']}", {"endpoint": {"url": f"{cloud.base}/v3"}})


def discovery(cloud: Cloud) -> dict[str, str]:
    """How discover-tempest-config signs in."""
    return {
        "OS_AUTH_URL": f"{cloud.base}/v3", "OS_USERNAME": "admin", "OS_PASSWORD": cloud.password, "OS_PROJECT_NAME": "admin",
        "OS_USER_DOMAIN_NAME": "Default", "OS_PROJECT_DOMAIN_NAME": "Default", "OS_IDENTITY_API_VERSION": "3",
        "OS_REGION_NAME": cloud.call("GET", "/identity/v3/regions")["regions"][0]["id"],
    }  # fmt: skip


def left_out(cloud: Cloud, routes: Routes, image: Path, workspace: Path, web: str) -> dict[str, dict[str, object]]:
    """What discover-tempest-config says nothing of, by section. No ssh into guests: simulated ones run nothing."""
    servers = "/compute/v2.1/servers/{server_id}/action"

    def has(method: str, path: str, action: str = "") -> str:
        return str((method, path, action) in routes)

    def acts(*actions: str) -> str:
        return str(all(("POST", servers, action) in routes for action in actions))

    hypervisors = cloud.call("GET", "/compute/v2.1/os-hypervisors/detail")["hypervisors"]
    pool = cloud.call("GET", "/volume/v3/scheduler-stats/get_pools?detail=True")["pools"][0]["capabilities"]
    network = {e["alias"] for e in cloud.call("GET", "/network/v2.0/extensions")["extensions"]}
    stores = cloud.call("GET", "/image/v2/info/stores")["stores"]

    return {
        "DEFAULT": {"debug": False, "log_dir": workspace / "logs", "log_file": "tempest.log"},
        "oslo_concurrency": {"lock_path": workspace / "tempest_lock"},
        "auth": {"use_dynamic_credentials": True},
        "identity-feature-enabled": {
            "trust": has("POST", "/identity/v3/OS-TRUST/trusts"), "security_compliance": False,
            "access_rules": has("GET", "/identity/v3/users/{user_id}/access_rules"),
        },
        "compute": {"build_timeout": PATIENCE_S, "hypervisor_type": hypervisors[0]["hypervisor_type"]},
        "compute-feature-enabled": {
            "resize": acts("resize", "confirmResize", "revertResize"), "pause": acts("pause", "unpause"), "suspend": acts("suspend", "resume"),
            "shelve": acts("shelve", "unshelve"), "rescue": acts("rescue", "unrescue"), "snapshot": acts("createImage"),
            "cold_migration": acts("migrate", "confirmResize", "revertResize"), "live_migration": acts("os-migrateLive"),
            "block_migration_for_live_migration": True, "live_migrate_back_and_forth": True, "live_migrate_paused_instances": True, "console_output": acts("os-getConsoleOutput"),
            "vnc_console": has("POST", "/compute/v2.1/servers/{server_id}/remote-consoles"), "change_password": False,  # no guest agent
            "enable_instance_password": True, "interface_attach": has("POST", "/compute/v2.1/servers/{server_id}/os-interface"),
            "config_drive": True, "metadata_service": True, "attach_encrypted_volume": False, "volume_multiattach": pool["multiattach"], "personality": True,
            "stable_rescue": acts("rescue", "unrescue"), "ide_bus": False, "scheduler_enabled_filters": "all",
        },
        "image": {
            "build_timeout": PATIENCE_S, "disk_formats": "raw,qcow2,ami,ari,aki,vhd,vhdx,vmdk,vdi,iso", "http_image": f"{web}/tempest.raw",
            "http_qcow2_image": f"{web}/{image.name}",
        },
        "image-feature-enabled": {
            "import_image": has("POST", "/image/v2/images/{image_id}/import"), "os_glance_reserved": True,
            "manage_locations": False,  # show_multiple_locations: addresses that an image's owner could swap
            "image_format_enforcement": True, "do_secure_hash": True,
            "http_store_enabled": len(stores) == 1,  # with more, the suite looks for what an address held in one called `web`
        },
        "network": {"build_timeout": PATIENCE_S},
        "network-feature-enabled": {
            "port_security": "port-security" in network, "available_features": ",".join(sorted(network & {"ext-gw-mode"})),
        },
        "volume": {
            "build_timeout": PATIENCE_S, "storage_protocol": pool["storage_protocol"], "vendor_name": pool["vendor_name"],
            "disk_format": "raw", "backup_driver": "posix",
        },
        "volume-feature-enabled": {
            "extend_attached_volume": True, "multi_backend": False,  # the tool counts nodes' pools; their backend is one
            "manage_volume": has("POST", "/volume/v3/os-volume-manage"), "manage_snapshot": has("POST", "/volume/v3/os-snapshot-manage"),
        },
        "validation": {"run_validation": False},
        "scenario": {"img_file": image, "img_disk_format": "qcow2"},
    }  # fmt: skip


def complete(path: Path, cloud: Cloud, routes: Routes, image: Path, workspace: Path, web: str) -> None:
    """Add to tempest.conf what the tool leaves out. web: where the image is, a raw one beside it."""
    conf = configparser.ConfigParser(interpolation=None)
    conf.read(path)
    for name, values in left_out(cloud, routes, image, workspace, web).items():
        if name != "DEFAULT" and not conf.has_section(name):
            conf.add_section(name)
        for key, value in values.items():
            conf.set(name, key, str(value))
    path.touch(mode=0o600)
    with path.open("w") as file:
        conf.write(file)
