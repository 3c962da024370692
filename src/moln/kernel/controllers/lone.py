"""The database of a controller that is left alone: what Patroni last wrote into etcd says whether it has all that was answered (docs/adr/0046).

Asked and told by HTTP from this machine's own members, with the controller's certificate: etcd's gateway, which reads what its own member has
without a majority (`serializable`, rpc.proto), and Patroni's REST API.
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from moln.kernel.controllers.proof import FOLDER
from moln.kernel.controllers.showing import ETCD, PATRONI
from moln.kernel.errors import Failure, Unavailable
from moln.kernel.nodes.joining import call
from moln.kernel.nodes.passport import Passport

SCOPE = "/moln-postgresql/moln/"  # of Patroni's keys (host/postgresql.py)
PRIMARY = ("primary", "promoted", "master")


class Sync(Struct, frozen=True):
    """Patroni's key `sync`. leader: who took writes. sync_standby: who confirmed them, with commas. quorum: how many more of those a standby
    has to see before nothing can be missing among them."""

    leader: str | None = None
    sync_standby: str | None = None
    quorum: int = 0


class Xlog(Struct, frozen=True):
    replayed_timestamp: str | None = None


class Server(Struct, frozen=True):
    """What Patroni's `GET /patroni` says of the PostgreSQL beside it."""

    role: str = ""
    xlog: Xlog = Xlog()


def missing(name: str, sync: Sync | None) -> str:
    """Why the database at this controller may lack what was answered; empty: it has all of it, as far as etcd here heard."""
    if sync is None or not sync.leader:
        return "etcd does not say which standby confirmed what"
    standbys = [standby for standby in (sync.sync_standby or "").split(",") if standby]
    if name == sync.leader or (name in standbys and not sync.quorum):
        return ""
    if name in standbys:
        others = ", ".join(standby for standby in standbys if standby != name)
        return f"{sync.leader} took writes, and one of {name}, {others} confirmed each: what {name} did not, it may not have"
    return f"{sync.leader} took writes, and {', '.join(standbys) or 'nobody else'} confirmed them, not {name}"


class Lone:
    """home: of the controller. address: its own, of its members of etcd and of PostgreSQL. Each call raises Failure when it is not answered in time."""

    def __init__(self, home: Path, address: str):
        self._home, self._address = home, address

    def sync(self) -> Sync | None:
        """None: Patroni never wrote it."""
        found = self._etcd("range", "sync", serializable=True).get("kvs", ())
        try:
            return msgspec.json.decode(base64.b64decode(found[0]["value"]), type=Sync) if found else None
        except (msgspec.MsgspecError, ValueError, KeyError, TypeError) as error:
            raise Failure(f"What Patroni wrote into etcd is not understood: {error}") from None

    def server(self) -> Server:
        _, said = self._ask(PATRONI, "GET", "/patroni")
        try:
            return msgspec.convert(said, Server)
        except msgspec.ValidationError as error:
            raise Failure(f"What Patroni says of PostgreSQL is not understood: {error}") from None

    def promote(self, name: str) -> str:
        """Have it take writes, whoever else may have more (Patroni's "failover" with a candidate). What Patroni says to it."""
        status, said = self._ask(PATRONI, "POST", "/failover", {"candidate": name})
        return f"{status} {said}"

    def _etcd(self, do: str, key: str, **more: object) -> dict[str, Any]:
        status, said = self._ask(ETCD, "POST", f"/v3/kv/{do}", {"key": base64.b64encode((SCOPE + key).encode()).decode(), **more})
        if status != 200 or not isinstance(said, dict):
            raise Unavailable(f"etcd refuses: {said}")
        return said

    def _ask(self, port: int, method: str, path: str, body: object = None) -> tuple[int, Any]:
        proof = Passport(self._home / FOLDER / "controller.pem", self._home / FOLDER / "ca.crt")
        status, said, _ = call(proof.client(), self._address, port, method, path, None if body is None else msgspec.json.encode(body))
        try:
            return status, msgspec.json.decode(said)
        except msgspec.DecodeError:
            return status, said.decode("utf-8", "replace").strip()
