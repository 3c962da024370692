"""Domains whose users are in a directory (`identity/driver` is `ldap` in the domain's configuration): which they are, and how to ask it.

Each domain has a connection, threads and a fate of its own. A directory that does not answer is 503 for what asks it, and nothing for others.
"""

from __future__ import annotations

import json
from typing import Any

from msgspec import Struct

from moln.identity.drivers.base import Directory
from moln.identity.model.ldap import options_of
from moln.identity.ops.state import of
from moln.identity.store import directory as store
from moln.identity.store import domain_configs
from moln.kernel.cloud import Cloud
from moln.kernel.errors import BackendUnreachable, Forbidden, Unavailable


class Known(Struct):
    """The directories of this cloud, as the configuration has them. made: those that were asked already, by domain."""

    domains: frozenset[str]
    made: dict[str, Directory]

    def close(self) -> None:
        for directory in self.made.values():
            directory.close()


async def _known(cloud: Cloud) -> Known:
    state = of(cloud)
    if state.directories is None or not cloud.db.feed.fresh:
        generation = state.directory_generation
        domains = frozenset(await domain_configs.with_directory(cloud.db))
        if state.directories is not None and state.directories.domains == domains and generation == state.directory_generation:
            return state.directories
        state.forget_directories()
        state.directories = Known(domains, {})
    return state.directories


async def domains(cloud: Cloud) -> frozenset[str]:
    """The domains that have one."""
    return (await _known(cloud)).domains


async def of_domain(cloud: Cloud, domain_id: str) -> Directory | None:
    """Where a domain's users are; None: with us. Raises: Unavailable, when its configuration makes no sense."""
    known = await _known(cloud)
    if domain_id not in known.domains:
        return None
    if domain_id not in known.made:
        generation = of(cloud).directory_generation
        made = await _make(cloud, domain_id)
        if generation != of(cloud).directory_generation or domain_id in known.made:  # somebody was faster
            made.close()
            return await of_domain(cloud, domain_id)
        known.made[domain_id] = made
    return known.made[domain_id]


async def _make(cloud: Cloud, domain_id: str) -> Directory:
    given: dict[str, Any] = {}
    for row in await domain_configs.of_domain(cloud.db, domain_id):
        if row["group"] == "ldap":
            raw = of(cloud).vault.open(row["value"]).decode() if row["sensitive"] else row["value"]
            given[row["option"]] = json.loads(raw)
    try:
        options = options_of(given)
        if instead := of(cloud).directory_of:
            return instead(options)
        from moln.identity.drivers.ldap import LdapDirectory  # needed by few clouds
    except ValueError as error:
        raise Unavailable(f"The configuration of domain {domain_id} makes no sense.", detail=str(error)) from None
    except ModuleNotFoundError as absent:
        raise Unavailable("LDAP needs a Python package that is not here: pip install 'moln[ldap]'.", detail=str(absent)) from None
    return LdapDirectory(options)


async def of_entry(cloud: Cloud, id_: str) -> tuple[Directory, str] | None:
    """The directory that a user or group is of, and their id there; None: they are ours."""
    known = await _known(cloud)
    entry = await store.find(cloud.db, id_) if known.domains else None
    directory = await of_domain(cloud, entry.domain_id) if entry else None
    return (directory, entry.local_id) if directory is not None and entry is not None else None


async def check_writable(cloud: Cloud, *ids: str, domain_id: str = "") -> None:
    """Users and groups of a directory are changed there. Raises: Forbidden."""
    known = await _known(cloud)
    if domain_id in known.domains or (known.domains and any(e.domain_id in known.domains for e in (await store.among(cloud.db, list(ids))).values())):
        raise Forbidden("You are not authorized to perform the requested action: LDAP does not support write operations.")


def lost(domain_id: str, error: BackendUnreachable, *, to_anybody: bool = False) -> Unavailable:
    """to_anybody: said to who has not signed in, and need not know where the directory is."""
    said = f"Users of domain {domain_id} are in a directory that cannot be asked now."
    return Unavailable(said, detail=error.message) if to_anybody else Unavailable(f"{said} {error.message}", detail=error.detail)
