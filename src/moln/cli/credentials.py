"""How clients find the cloud: clouds.yaml and openrc in the home, mode 0600."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import yaml

from moln.host.places import Places

CLOUD = "moln"


def values(url: str, password: str, region: str = "RegionOne", cacert: str = "") -> dict[str, str]:
    """OS_* variables of the administrator (python-openstackclient, "Environment variables")."""
    found = {
        "OS_AUTH_URL": f"{url}/identity/v3",
        "OS_USERNAME": "admin",
        "OS_PASSWORD": password,
        "OS_PROJECT_NAME": "admin",
        "OS_USER_DOMAIN_ID": "default",
        "OS_PROJECT_DOMAIN_ID": "default",
        "OS_REGION_NAME": region,
        "OS_IDENTITY_API_VERSION": "3",
    }
    return found | {"OS_CACERT": cacert} if cacert else found


def openrc(values: dict[str, str]) -> str:
    return "".join(f"export {key}={shlex.quote(value)}\n" for key, value in values.items())


def clouds_yaml(values: dict[str, str]) -> str:
    """For openstacksdk and its command line: --os-cloud moln."""
    auth = {key.removeprefix("OS_").lower(): values[key] for key in values
            if key not in ("OS_REGION_NAME", "OS_IDENTITY_API_VERSION", "OS_CACERT")}
    cloud = {"auth": auth, "region_name": values["OS_REGION_NAME"], "identity_api_version": 3}
    if "OS_CACERT" in values:
        cloud["cacert"] = values["OS_CACERT"]
    return yaml.safe_dump({"clouds": {CLOUD: cloud}}, sort_keys=False)


def write(places: Places, url: str, cacert: str = "") -> None:
    """Both files, where they differ from what is there. cacert: what clients trust. Raises: OSError, when the password cannot be read."""
    found = values(url, places.admin_password.read_text().strip(), cacert=cacert)
    put(places.home / "openrc", openrc(found))
    put(places.home / "clouds.yaml", clouds_yaml(found))


def put(file: Path, text: str) -> None:
    """A file of mode 0600, whole or not at all."""
    if file.exists() and file.read_text() == text:
        return
    new = file.with_name(f".{file.name}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
        out.write(text)
    new.replace(file)
