"""Who may do what on NATS: the cloud's operator and account, what each user's claims allow, and the server's configuration.

A node may hear its own calls, answer them, and speak for itself; a controller the other way round. Notifications are another account's, from
which nothing of that can be heard or said. None of it stands in the server's configuration, so that a node which joins edits nothing; one that is removed is revoked in the account's claims, which the server takes
at once and keeps (`resolver`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from msgspec import Struct

from moln.kernel.link import subjects
from moln.kernel.link.nats_keys import ACCOUNT, OPERATOR, USER, NatsKey, ensure_key

FRAME_BOUND = 8 << 20  # bytes of a message, at most: what the server is told, and clients hear from it
STORE, MEMORY = 1 << 30, 1 << 24  # bytes that JetStream may take, at most
UPDATE, EXPEL = "$SYS.REQ.CLAIMS.UPDATE", "$JS.API.SERVER.REMOVE"
_UNBOUND = {"subs": -1, "data": -1, "payload": -1}


class Routes(Struct, frozen=True):
    """What joins a server to others. name: its own. listen, others: address:port. certificate: a file with key and certificate, for both ends of
    a route. ca: whose certificates others show."""

    name: str
    listen: str
    others: tuple[str, ...]
    certificate: Path
    ca: Path


class NatsAuthority:
    """The keys that vouch for accounts and users: in `folder`, made where they are not there; no node ever sees them."""

    def __init__(self, folder: Path):
        """Raises: Failure, when a key cannot be used."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._operator = ensure_key(folder / "operator.pem", OPERATOR)
        self.made_s = int((folder / "operator.pem").stat().st_mtime)  # seconds since 1970
        self._account = ensure_key(folder / "account.pem", ACCOUNT)
        self._system = ensure_key(folder / "system.pem", ACCOUNT)
        self.consumers = self._account.secret("consumers")  # of the authority that every server of a cluster takes
        self._notifications = self._account.derived(ACCOUNT, "notifications")  # every controller has it without being given it

    def node(self, name: str, key: str, *, now_s: int, expires_s: int) -> str:
        """Claims of a node's key: what node `name` may do, until then."""
        return self._user(self._account, key, name, subjects.node_may(name), now_s, expires_s)

    def controller(self, name: str, key: str, *, now_s: int, expires_s: int) -> str:
        """Claims of a controller's key."""
        return self._user(self._account, key, name, subjects.controller_may(name), now_s, expires_s)

    def system(self, name: str, key: str, *, now_s: int, expires_s: int) -> str:
        """Claims of a key that may tell the server of the account's newest claims, and that another server is gone for good, and nothing else."""
        inbox = subjects.inbox(name)
        return self._user(self._system, key, name, ([UPDATE, EXPEL], [f"{inbox}.>"]), now_s, expires_s)

    def account(self, revoked: dict[str, int], *, now_s: int) -> str:
        """The account's claims. revoked: users' keys; their claims issued up to then (seconds since 1970) are worth nothing."""
        limits = {**_UNBOUND, "conn": -1, "leaf": 0, "imports": 0, "exports": 0, "wildcards": False}
        said: dict[str, Any] = {"type": "account", "limits": limits, "default_permissions": {}}
        if revoked:
            said["revocations"] = revoked
        return self._operator.claim(self._account.name, "moln", said, issued_s=now_s)

    def publisher(self, name: str, key: str, *, now_s: int, expires_s: int) -> str:
        """Claims of a controller's key in the account of notifications: it publishes, and keeps the stream and who reads it."""
        return self._user(self._notifications, key, name, subjects.publisher_may(name), now_s, expires_s)

    def consumer(self, name: str, key: str, *, now_s: int, expires_s: int) -> str:
        """Claims of the key of somebody outside, who may read notifications, and nothing else."""
        return self._user(self._notifications, key, name, subjects.consumer_may(name), now_s, expires_s)

    def notifications(self, revoked: dict[str, int], *, stored: int, now_s: int) -> str:
        """Claims of the account of notifications. stored: bytes that its stream may take on the disks of all servers. revoked: see `account`."""
        limits = {**_UNBOUND, "conn": -1, "leaf": 0, "imports": 0, "exports": 0, "wildcards": False,
                  "mem_storage": 0, "disk_storage": stored, "streams": 1, "consumer": -1}  # fmt: skip
        said: dict[str, Any] = {"type": "account", "limits": limits, "default_permissions": {}}
        if revoked:
            said["revocations"] = revoked
        return self._operator.claim(self._notifications.name, "notifications", said, issued_s=now_s)

    def _user(self, by: NatsKey, key: str, name: str, may: tuple[list[str], list[str]], now_s: int, expires_s: int) -> str:
        speak, hear = may
        said = {"type": "user", "pub": {"allow": speak}, "sub": {"allow": hear}, **_UNBOUND}
        return by.claim(key, name, said, issued_s=now_s, expires_s=expires_s)

    def configuration(self, *, listen: str, certificate: Path, ca: Path, accounts: Path, now_s: int, stream: Path | None = None,
                      cluster: Routes | None = None) -> str:  # fmt: skip
        """nats.conf of a server. listen: address:port. certificate: a file with key and certificate. accounts: a folder of the server's.

        stream: a folder for what JetStream keeps; None: there is none. cluster: None: the server is alone.
        """
        operator = self._operator.claim(
            self._operator.name, "moln", {"type": "operator", "system_account": self._system.name}, issued_s=now_s
        )
        limits = {**_UNBOUND, "conn": -1, "leaf": 0, "imports": -1, "exports": -1, "wildcards": True}
        system = self._operator.claim(self._system.name, "SYS", {"type": "account", "limits": limits}, issued_s=now_s)
        kept = f'jetstream {{ store_dir: "{stream}", max_mem: {MEMORY}, max_file: {STORE} }}\n' if stream else ""
        among = _cluster(cluster) if cluster else ""
        return f"""# Written by Moln. Nodes are not named here: each brings what the cloud's account signed for it.
listen: "{listen}"
max_payload: {FRAME_BOUND}
max_pending: {FRAME_BOUND * 8}
write_deadline: "5s"
ping_interval: "10s"
ping_max: 2
operator: {operator}
system_account: {self._system.name}
resolver {{ type: full, dir: "{accounts}", allow_delete: false, interval: "2m" }}
resolver_preload: {{ {self._system.name}: {system} }}
tls {{
  cert_file: "{certificate}"
  key_file: "{certificate}"
  ca_file: "{ca}"
  verify: true
  timeout: 5
}}
{among}{kept}"""


def _cluster(routes: Routes) -> str:
    others = ", ".join(f'"nats-route://{other}"' for other in routes.others)
    return f"""server_name: "{routes.name}"
cluster {{
  name: "moln"
  listen: "{routes.listen}"
  routes: [{others}]
  tls {{
    cert_file: "{routes.certificate}"
    key_file: "{routes.certificate}"
    ca_file: "{routes.ca}"
    verify: true
    timeout: 5
  }}
}}
"""


__all__ = ["EXPEL", "FRAME_BOUND", "STORE", "UPDATE", "USER", "NatsAuthority"]
