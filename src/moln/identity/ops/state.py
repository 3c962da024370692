"""What identity keeps in memory: opened tokens, the catalogue and the roles, all dropped when the change feed says so."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Raw

from moln.identity.model.credentials import MAX_BLOB
from moln.identity.model.projects import Project
from moln.identity.model.roles import Role
from moln.identity.model.tokens import OpenToken, Payload, Scope
from moln.identity.model.users import User
from moln.identity.ops.keys import Keyring
from moln.identity.ops.passwords import Passwords
from moln.identity.store import projects as project_store
from moln.identity.store import roles as role_store
from moln.kernel.cloud import Cloud
from moln.kernel.db import Reader, Transaction

if TYPE_CHECKING:
    from collections.abc import Callable

    from moln.identity.drivers.base import Directory
    from moln.identity.drivers.oidc import Provider
    from moln.identity.model.ldap import LdapOptions
    from moln.identity.ops.directories import Known

_What = tuple[str, Scope, str | None]
TOKENS = 10_000  # opened tokens kept, at most
DOMAINS = 1_000  # domains kept, at most
_PEOPLE, _CATALOG, _DIRECTORIES = "identity", "identity.catalog", "identity.directories"


class State:
    """`cloud.areas["identity"]`. keys seal tokens and rotate, vault seals what is kept and does not. Each of its caches is filled only if nothing changed while it was read."""

    def __init__(self, cloud: Cloud):
        self.keys = Keyring(cloud.home / "keys")
        self.vault = Keyring(cloud.home / "credential-keys", longest=8 * MAX_BLOB)
        self.passwords = Passwords()
        self.service_providers: list[dict[str, str]] | None = None
        self.oidc: dict[str, Provider] = {}
        self.directories: Known | None = None
        self.directory_of: Callable[[LdapOptions], Directory] | None = None  # instead of a server, in simulation
        self.directory_generation = 0
        self.generation = 0
        self.catalog_generation = 0
        self.catalogs: dict[tuple[str, str | None], Raw] = {}
        self._tokens: dict[str, OpenToken] = {}
        self._of_user: dict[str, set[str]] = {}
        self._alike: dict[_What | None, OpenToken] = {}
        self._roles: tuple[dict[str, Role], dict[str, list[str]]] | None = None
        self._domains: dict[str, Project] = {}
        self._feed = cloud.db.feed
        self._stop = [
            cloud.db.feed.on_gap(self._all_changed),
            cloud.db.feed.subscribe(_PEOPLE, self._people_changed),
            cloud.db.feed.subscribe(_CATALOG, self._catalog_changed),
            cloud.db.feed.subscribe(_DIRECTORIES, lambda keys: self.forget_directories()),
        ]

    async def close(self) -> None:
        for provider in self.oidc.values():
            await provider.close()
        self.forget_directories()
        for stop in self._stop:
            stop()
        self.passwords.close()

    def forget_directories(self) -> None:
        """Their configuration may have changed."""
        self.directory_generation += 1
        if self.directories is not None:
            self.directories.close()
            self.directories = None

    def is_still(self, generation: int) -> bool:
        """Whether nothing changed since, as far as this process must know."""
        return self.generation == generation and self._feed.fresh

    def token(self, token: str) -> OpenToken | None:
        """One that was opened before; None too while what other controllers revoke cannot be heard."""
        return self._tokens.get(token) if self._feed.fresh else None

    def keep(self, token: str, opened: OpenToken, generation: int) -> None:
        """Remember an opened token, unless something changed since `generation`."""
        if not self.is_still(generation):
            return
        while len(self._tokens) >= TOKENS:
            self.forget(next(iter(self._tokens)))
        self._tokens[token] = opened
        if what := _what(opened.payload):
            self._alike[what] = opened
        for user_id in opened.users:
            self._of_user.setdefault(user_id, set()).add(token)

    def alike(self, payload: Payload) -> OpenToken | None:
        """A token that is kept and says of the same user on the same scope what a new one will; None too for what was lent."""
        return self._alike.get(_what(payload)) if self._feed.fresh else None

    def account(self, user_id: str) -> User | None:
        """A user as their kept tokens know them; None, when there is none of them."""
        for token in self._of_user.get(user_id, ()) if self._feed.fresh else ():
            found = self._tokens[token].account
            return found if found is not None and found.id == user_id else None
        return None

    def forget(self, token: str) -> None:
        opened = self._tokens.pop(token, None)
        if opened is not None and self._alike.get(what := _what(opened.payload)) is opened:
            del self._alike[what]
        for user_id in opened.users if opened is not None else ():
            theirs = self._of_user[user_id]
            theirs.discard(token)
            if not theirs:
                del self._of_user[user_id]

    async def roles(self, db: Reader) -> tuple[dict[str, Role], dict[str, list[str]]]:
        """Every role by id, and what each implies directly."""
        if self._roles is not None and self._feed.fresh:
            return self._roles
        generation = self.generation
        read = {role.id: role for role in await role_store.every(db)}, await role_store.implications(db)
        if generation == self.generation:
            self._roles = read
        return read

    async def domain(self, db: Reader, domain_id: str) -> Project | None:
        """A domain as tokens see it: its name, and whether it is enabled."""
        known = self._domains.get(domain_id)
        if known is not None and self._feed.fresh:
            return known
        generation = self.generation
        found = await project_store.find_domain(db, domain_id)
        if found is not None and generation == self.generation and len(self._domains) < DOMAINS:
            self._domains[domain_id] = found
        return found

    def _all_changed(self) -> None:
        self._people_changed([""])
        self._catalog_changed([])
        self.forget_directories()

    def _people_changed(self, keys: list[str]) -> None:
        self.generation += 1
        for key in keys:
            if key:
                for token in list(self._of_user.get(key, ())):
                    self.forget(token)
            else:
                self._tokens.clear()
                self._alike.clear()
                self._of_user.clear()
                self._roles = None
                self.service_providers = None
                self._domains.clear()

    def _catalog_changed(self, keys: list[str]) -> None:
        self.catalog_generation += 1
        self.catalogs.clear()
        for opened in self._tokens.values():
            opened.rendered.clear()


def _what(payload: Payload) -> _What | None:
    """Who a token is for, and for what; None, where more than that decides what it says."""
    if payload.lent or payload.federated is not None or payload.thumbprint is not None:
        return None
    return payload.user_id, payload.scope, payload.application_credential_id


def of(cloud: Cloud) -> State:
    state: State = cloud.areas["identity"]
    return state


def people_changed(tx: Transaction, user_id: str = "") -> None:
    """After the commit, every process forgets what it knew of one user's tokens, or of everyone's."""
    tx.changed(_PEOPLE, user_id)


def directories_changed(tx: Transaction) -> None:
    """After the commit, every process reads anew where users of domains are."""
    tx.changed(_DIRECTORIES)


def catalog_changed(tx: Transaction) -> None:
    tx.changed(_CATALOG)
