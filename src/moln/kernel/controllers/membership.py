"""Which controllers the cloud has; another one is admitted by a token of its own kind, and given what all of them have."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from urllib.parse import urlsplit

import msgspec

from moln.kernel.cloud import Cloud
from moln.kernel.config import own_address
from moln.kernel.controllers import clusters, heritage, states, tables
from moln.kernel.controllers.clusters import Cluster, Clusters
from moln.kernel.controllers.heritage import Asked, Heritage
from moln.kernel.controllers.tables import CONTROLLERS, Controller
from moln.kernel.db import Transaction
from moln.kernel.errors import Conflict, Forbidden, Invalid, NotFound
from moln.kernel.module import Violation
from moln.kernel.nodes import requests
from moln.kernel.nodes.membership import TOKEN_S, Membership
from moln.kernel.nodes.tables import USE

BAD_TOKEN = "This token is not good: it is mistyped, of a node, was used, or is too old. Make another with `moln controller token`."
CHANGED = "cloud.controllers"
_log = logging.getLogger("moln.controllers")


class Controllers:
    """Of one controller. nodes: the membership of nodes, whose tokens and authority these share. own_nodes: of this machine alone. each: engines
    that have a member on every controller."""

    def __init__(self, cloud: Cloud, name: str, nodes: Membership, own_nodes: Callable[[], frozenset[str]], each: Sequence[Cluster] = ()):
        self._cloud = cloud
        self.name = name
        self._nodes = nodes
        self._own_nodes = own_nodes
        self.clusters = Clusters(each, self.addresses)
        self.expel: Callable[[str], Awaitable[None]] | None = None  # what else forgets a controller by its name; RemoteNodes says

    @property
    def address(self) -> str:
        """Of this one, by which others reach it."""
        listen = self._cloud.settings.listen
        return own_address() if listen in ("0.0.0.0", "::") else listen

    async def start(self) -> None:
        """Be in the list."""
        address = f"[{self.address}]" if ":" in self.address else self.address
        url = f"https://{address}:{self._cloud.settings.port}"
        await self._cloud.db.write(_begin_in, self.name, url, self._cloud.clock.now_us())

    async def all(self) -> list[Controller]:
        return await self._cloud.db.all(CONTROLLERS)

    async def addresses(self) -> list[str]:
        """Of all, this one's first."""
        return [address_of(c) for c in sorted(await self.all(), key=lambda c: c.name != self.name)]

    async def engines(self) -> tuple[list[str], str]:
        """Where nodes find NATS, and OVN's southbound database (ovsdb(7)); empty: at the controller that they joined at."""
        own, settings = clusters.names(self._cloud.home), self._cloud.settings
        at = [f"[{address}]" if ":" in address else address for address in (await self.addresses() if own else ())]
        southbound = getattr(getattr(settings, "network", None), "southbound", "")  # a socket is no node's
        return ([f"tls://{address}:4222" for address in at] if "nats" in own else list(settings.link.nats),
                ",".join(f"ssl:{address}:6642" for address in at) if "ovn" in own else southbound if southbound.startswith("ssl:") else "")  # fmt: skip

    async def living(self) -> set[str]:
        """Names of those that give signs of life. Raises: Unavailable."""
        claims = self._cloud.claims
        return {self.name} if claims is None else await claims.living()

    async def dead(self) -> list[Violation]:
        living = await self.living()
        mend = "Start it; or, if it is gone for good, have another one forget it: moln controller remove {}"
        return [Violation(f"Controller {c.name} ({c.url}) gives no sign of life.", mend.format(c.name)) for c in await self.all() if c.name not in living]

    async def make_token(self, expires_s: int = TOKEN_S) -> str:
        """A token with which one machine may become a controller, once. Raises: Invalid; Conflict, when there can be but one."""
        self._check()
        return await self._nodes.make_token(expires_s, requests.CONTROLLER)

    def _check(self) -> None:
        if not self._cloud.settings.database_url:
            raise Conflict("The rows of this cloud are in SQLite, a file of this machine. Several controllers need PostgreSQL: moln grow --to postgresql://…")
        if here := sorted(self._own_nodes()):
            raise Conflict(f"Guests may run on this machine ({here[0]}), where another controller cannot reach them. Several controllers run none: "
                           "begin them with --no-guests.")  # fmt: skip

    async def enrol(self, asked: Asked) -> Heritage:
        """Give a machine what controllers have. Raises: Invalid; Forbidden, the same for every bad token; Conflict."""
        name = requests.checked_name(asked.name)
        key = requests.key_digest(requests.requested_key(asked.csr))
        if not asked.url.startswith("https://"):
            raise Invalid("A controller's APIs are at an https:// URL.", field="url")
        self._check()
        secret = asked.token.strip().partition(".")[0]
        joined = Controller(name, asked.url, key, self._cloud.clock.now_us())
        await self._cloud.db.write(_join_in, requests.digest(secret, requests.CONTROLLER), joined, asked.again)
        found = await (self.clusters.addresses() if asked.again else self.clusters.admit(address_of(joined)))
        members = [address for address in found if address != address_of(joined)]
        _log.info("controller %s %s", name, "takes anew what controllers have in common" if asked.again else "joined")
        return await asyncio.to_thread(heritage.of, self._cloud.home, self._settings(), members)

    def _settings(self) -> object:
        """With addresses of this machine, where they are its own sockets."""
        settings = self._cloud.settings
        network = getattr(settings, "network", None)
        if settings.simulate or network is None or network.northbound or "ovn" in clusters.names(self._cloud.home):
            return settings
        host = f"[{settings.listen}]" if ":" in settings.listen else settings.listen
        there = msgspec.structs.replace(network, northbound=f"ssl:{host}:6641", southbound=f"ssl:{host}:6642")
        return msgspec.structs.replace(settings, network=there)

    async def remove(self, name: str, *, lost: bool = False) -> None:
        """Let its name be another's, and its members of engines be gone. It cannot be kept out: it has what every controller has. lost: engines are clusters
        without it already.

        Raises: NotFound, Conflict; Unavailable, when those that are left cannot agree on it.
        """
        if name == self.name:
            raise Conflict("This is the controller that you ask. Ask another one to remove it.")
        for gone in [c for c in await self.all() if c.name == name and not lost]:
            await self.clusters.remove(address_of(gone))
            if self.expel is not None:
                await self.expel(gone.name)
        await self._cloud.db.write(_remove_in, name)


def address_of(controller: Controller) -> str:
    return urlsplit(controller.url).hostname or ""


async def _begin_in(tx: Transaction, name: str, url: str, now: int) -> None:
    if await tx.insert(tables.controllers, Controller(name, url, "", now), if_absent=True) or await tx.run(tables.MOVE, of=name, to=url):
        tx.changed(CHANGED, name)


async def _join_in(tx: Transaction, digest: str, joined: Controller, again: bool = False) -> None:
    """Whatever is refused below, the token stays as it was. The same machine may ask again with the same key: an answer may be lost."""
    if not await tx.run(USE, of=digest, now=joined.joined_at, name=joined.name, key=joined.key_digest):
        raise Forbidden(BAD_TOKEN)
    if again:
        if joined.name not in {other.name for other in await tx.all(CONTROLLERS)}:
            raise NotFound(f"No controller {joined.name} is known; it may join as a new one, in a home of its own.")
        return
    for other in await tx.all(CONTROLLERS):
        if other.name == joined.name:
            if other.key_digest == joined.key_digest:
                return
            raise Conflict(f"There is a controller {joined.name}. Choose another --name, or remove that one first: moln controller remove {joined.name}")
    await tx.insert(tables.controllers, joined)
    tx.changed(CHANGED, joined.name)


async def _remove_in(tx: Transaction, name: str) -> None:
    if not await tx.delete(tables.controllers, name=name):
        raise NotFound(f"No controller {name} is known.")
    await states.forget(tx, name)
    tx.changed(CHANGED, name)
