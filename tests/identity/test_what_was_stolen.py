"""After a theft an operator is told which secrets are his to change: by their names, never by what they are."""

from __future__ import annotations

from pathlib import Path

import msgspec

from moln.app import Settings, compose
from moln.identity.store.domain_configs import OPTIONS
from moln.kernel.db import Transaction
from moln.local_stolen import left
from moln.simulation import simulated_links

TOML = """
database_url = "postgresql://moln:canary-1@db/moln"
tls_certificate = "/etc/moln/api.pem"
[identity]
federation_secret = "canary-2"
[identity.federation.oidc.corp]
issuer = "https://login.example"
client_id = "moln"
client_secret = "canary-3"
[identity.federation]
saml_certificate = "/etc/moln/saml.pem"
[image.stores]
rbd = { type = "rbd", user = "glance-2" }
archive = "/mnt/archive"
s3 = { type = "s3", endpoint = "https://s3.example", bucket = "b", access_key = "k", secret_key = "canary-4" }
[link]
etcd = ["https://192.0.2.9:2379"]
etcd_certificate = "/etc/moln/etcd.pem"
[network]
northbound = "ssl:192.0.2.9:6641"
southbound = "ssl:192.0.2.9:6642"
ovn_key = "/etc/moln/ovn.pem"
ovn_certificate = "/etc/moln/ovn.pem"
"""


async def fill(tx: Transaction) -> None:
    await tx.insert(OPTIONS, {"domain_id": "d", "group": "identity", "option": "driver", "value": '"ldap"', "sensitive": 0})


async def test_every_secret_of_the_settings_is_named_and_none_is_told(tmp_path: Path) -> None:
    settings = msgspec.toml.decode(TOML, type=Settings)
    app = compose(tmp_path, Settings(simulate=True, audit_mib=0), simulated_links)
    await app.set_up()
    try:
        plain = "\n".join(await left(app.cloud))
        assert "administrator's password" in plain
        assert not any(of in plain for of in ("moln.toml", "Directories", "fence/", "The APIs:", "Federation:", "Ceph:"))
        await app.cloud.db.write(fill)
        (tmp_path / "fence").mkdir()
        app.cloud.settings = settings
        said = "\n".join(await left(app.cloud))
    finally:
        await app.stop()
    for name in ("database_url", "identity.federation_secret", "identity.federation.oidc.corp.client_secret", "image.stores.s3.secret_key"):
        assert f"moln.toml: {name}," in said
    assert all(of in said for of in ("APIs: tls_certificate", "federation.saml_certificate", "client.glance-2, for image.stores.rbd", "link.etcd_certificate", "network.ovn_key", "1 domains", "fence/"))
    assert "canary" not in said
