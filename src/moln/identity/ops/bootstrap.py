"""What a fresh cloud begins with: the domain `default`, the roles, the administrator, the catalogue."""

from __future__ import annotations

import asyncio
import os
import secrets
from itertools import pairwise
from pathlib import Path

from moln.identity.model.catalog import INTERFACES, Endpoint, Region, Service
from moln.identity.model.projects import Project
from moln.identity.model.roles import SYSTEM, Grant, Role
from moln.identity.model.users import User
from moln.identity.ops import domains, grants, projects, roles, services, users
from moln.identity.ops.state import of
from moln.identity.store import catalog as catalog_store
from moln.identity.store import projects as project_store
from moln.kernel.cloud import Cloud
from moln.kernel.db import Transaction
from moln.kernel.files import appearing

DEFAULT = "default"
DEFAULT_DESCRIPTION = "The default domain"
ADMIN = "admin"
ROLE_CHAIN = ("admin", "manager", "member", "reader")  # each implies the next
OTHER_ROLES = ("service",)
PASSWORD_FILE = "admin.password"  # in the home
OURS = "moln_path"  # an attribute of endpoints that we made
SERVICES = (  # type, name, where below the public address
    ("identity", "keystone", "/identity/v3"),
    ("image", "glance", "/image"),
    ("placement", "placement", "/placement"),
    ("compute", "nova", "/compute/v2.1"),
    ("network", "neutron", "/network"),
    ("block-storage", "cinder", "/volume/v3"),
    ("volumev3", "cinderv3", "/volume/v3"),  # what older clients ask for
)


async def bootstrap(cloud: Cloud) -> None:
    """Fill an empty database, in one transaction; the administrator's password lies in the home before it commits.
    In an old one, endpoints that we made follow the `public_url` setting.
    """
    if await project_store.find_domain(cloud.db, DEFAULT) is None:
        hashed = await of(cloud).passwords.hash(await asyncio.to_thread(_password, cloud.home / PASSWORD_FILE))
        await cloud.db.write(_fill_in, _Ids(cloud), hashed, cloud.settings.public_url, cloud.settings.region)
    elif moved := await _moved(cloud):
        await cloud.db.write(_move_in, moved)


class _Ids:
    """Ids for a write that may run again: the same each time."""

    def __init__(self, cloud: Cloud):
        self._ids = cloud.ids
        self._made: dict[str, str] = {}

    def of(self, what: str) -> str:
        return self._made.setdefault(what, self._ids.hex())


def _password(path: Path) -> str:
    """The password in the home's file; a new one is put there, mode 0600, where there is none."""
    if not path.exists():
        with appearing(path) as fd:
            os.write(fd, (secrets.token_urlsafe(24) + "\n").encode())
    return path.read_text("utf-8").strip()


async def _fill_in(tx: Transaction, ids: _Ids, password_hash: str, public_url: str, region: str) -> None:
    await domains.create_in(tx, Project(DEFAULT, "Default", None, None, DEFAULT_DESCRIPTION, is_domain=True))
    for name in ("admin", "service"):
        await projects.create_in(tx, Project(ids.of(name), name, DEFAULT, DEFAULT, f"The {name} project"))
    for name in (*ROLE_CHAIN, *OTHER_ROLES):
        await roles.create_in(tx, Role(ids.of("role " + name), name, options={"immutable": True}))
    for prior, implied in pairwise(ROLE_CHAIN):
        await roles.imply_in(tx, ids.of("role " + prior), ids.of("role " + implied))
    await users.create_in(tx, User(ids.of("user"), ADMIN, DEFAULT), password_hash)
    for kind, target in (("project", ids.of("admin")), (SYSTEM, SYSTEM)):
        await grants.create_in(tx, Grant("user", ids.of("user"), kind, target, ids.of("role admin")))
    await services.add_in(tx, Region(region))
    for type_, name, path in SERVICES:
        await services.add_in(tx, Service(ids.of(type_), type_, name))
        for interface in INTERFACES:
            endpoint = Endpoint(ids.of(type_ + interface), ids.of(type_), interface, public_url + path, region, extra={OURS: path})
            await services.add_in(tx, endpoint)


async def _moved(cloud: Cloud) -> dict[str, str]:
    """Our endpoints that are no longer where the setting says, with their new addresses."""
    found = {}
    for endpoint in await catalog_store.ENDPOINT_LISTING.page(cloud.db):
        url = cloud.settings.public_url + str(endpoint.extra.get(OURS, ""))
        if OURS in endpoint.extra and url != endpoint.url:
            found[endpoint.id] = url
    return found


async def _move_in(tx: Transaction, moved: dict[str, str]) -> None:
    for endpoint_id, url in moved.items():
        await services.move_in(tx, endpoint_id, url)
