"""What a controller that is in the wrong hands knew, on `run/admin.sock`: what is the cloud's own gets others; what is not is told."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

import falcon
import falcon.asgi
import msgspec

from moln.identity.ops import rotation
from moln.identity.store import domain_configs
from moln.image.settings import RbdStore
from moln.kernel.cloud import Cloud
from moln.local_nodes import remote_of

_SECRET = re.compile(r"(^|_)(secret|password)(_key)?$")


def secrets_of(settings: Any, path: str = "") -> list[str]:
    """Names of what moln.toml says and nobody else may know."""
    found = []
    for key, value in settings.items():
        here = f"{path}{key}"
        if isinstance(value, dict):
            found += secrets_of(value, f"{here}.")
        elif isinstance(value, str) and value and (_SECRET.search(key) or (key.endswith("url") and urlsplit(value).password)):
            found.append(here)
    return found


async def left(cloud: Cloud) -> list[str]:
    """What an operator has to change: each a line."""
    settings: Any = cloud.settings
    said = ["The administrator's password (admin.password): openstack user password set"]
    said += [f"moln.toml: {name}, where it is given out and here" for name in secrets_of(msgspec.to_builtins(settings))]
    if settings.tls_certificate:
        said.append("The APIs: tls_certificate is yours; have it revoked, and use another")
    if settings.identity.federation.saml_certificate:
        said.append("Federation: identity.federation.saml_certificate is yours; use another, and give it to those who take what it signs")
    said += [f"Ceph: the key of client.{store.user}, for image.stores.{name}; have another made (ceph auth)"
             for name, store in settings.image.stores.items() if isinstance(store, RbdStore)]  # fmt: skip
    if "sslkey=" in settings.database_url and f"{cloud.home}/controllers/" not in settings.database_url:
        said.append("PostgreSQL: the certificate of database_url is yours; have it refused there, and use another")
    if settings.link.etcd_certificate:
        said.append("etcd: link.etcd_certificate is yours; have it refused there, and use another")
    if getattr(settings.network, "ovn_key", ""):
        said.append("OVN: network.ovn_key and ovn_certificate are yours; have them refused there, and use others")
    if domains := await domain_configs.with_directory(cloud.db):
        said.append(f"Directories: the passwords with which {len(domains)} domains are read (openstack domain configuration, ldap.password)")
    if (cloud.home / "fence").is_dir():
        said.append("Programs in fence/, and what they know of BMCs and power switches")
    said.append("What was written into the database before stays: look at users, application credentials, and openstack role assignment list --names")
    said.append("What users keep in credentials (EC2 keys, TOTP secrets, secrets of OAuth consumers) could be read: have them made anew where it matters")
    said.append("Passwords of users and secrets of application credentials could be read as hashes only; weak ones may be found")
    return said


class _Stolen:
    """GET tells what is an operator's to change; POST gives tokens, what is kept sealed, and NATS other keys; this controller is to be begun anew then.
    DELETE ends join tokens."""

    def __init__(self, app: Any):
        self._app = app

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        resp.data = msgspec.json.encode(await left(self._app.cloud))

    async def on_post(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        remote = remote_of(self._app)
        sealed = await rotation.replace_all(self._app.cloud)
        resp.data = msgspec.json.encode({"sealed": sealed, "missed": await remote.rotation.change_nats_keys()})

    async def on_delete(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """Join tokens, once nobody else writes the database."""
        await remote_of(self._app).membership.end_tokens()
        resp.data = b"{}"


def add_routes(made: falcon.asgi.App[Any, Any], app: Any) -> None:
    made.add_route("/stolen", _Stolen(app))
