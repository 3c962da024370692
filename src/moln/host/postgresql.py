"""PostgreSQL of the cloud's own, where several controllers are wanted and none was given: on each controller, of which one takes writes.

Patroni keeps it (docs/adr/0046-postgresql-standbys.md): who has the lease in etcd takes writes, the others stream from there, and what was
answered is on one of them at least. Controllers alone come in, with the certificates that they have for each other; the role `moln` has no
password. The distribution's own cluster, where its package makes one, is left alone and stays down.
"""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from msgspec import Struct

from moln.host import proofs
from moln.host.places import USER, Places
from moln.host.roles import ETCD_PORT, PATRONI_PORT, POSTGRESQL_PORT, Machine, bracketed
from moln.host.run import HostError
from moln.host.supervise.plan import Engine
from moln.host.users import own
from moln.kernel import config

NAME, DATABASE, EXTRA = "postgresql", "moln", "ha"
HBA = [f"local all {USER} peer", f"local replication {USER} peer",
       f"hostssl all {USER} all cert map=controllers", f"hostssl replication {USER} all cert map=controllers"]  # fmt: skip
IDENT = [f"controllers /^.*$ {USER}"]
LEASE_S, LOOK_S, RETRY_S = 20, 3, 8  # Patroni's least lease; a primary without etcd and standbys ends before it is over: LOOK_S + 2 * RETRY_S < LEASE_S
SHARED = {
    "ttl": LEASE_S, "loop_wait": LOOK_S, "retry_timeout": RETRY_S, "primary_start_timeout": LEASE_S, "member_slots_ttl": "10min",
    "synchronous_mode": "quorum",  # ANY 1 of the standbys; none, where there is none
    "failsafe_mode": True,  # without etcd it goes on while all members say that nobody else does
    "postgresql": {"use_pg_rewind": True, "use_slots": True, "parameters": {
        "max_connections": 200, "wal_sender_timeout": "5s", "wal_keep_size": "512MB", "max_slot_wal_keep_size": "4GB",
    }},
}  # fmt: skip
"""Of all members, in etcd since the first one began; `patronictl edit-config` changes it."""


class Chosen(Struct):
    """What of moln.toml says where etcd is."""

    link: config.LinkSettings = config.LinkSettings()


def binaries() -> Path:
    """Where its programs are; Debian keeps them off the PATH. Raises: HostError."""
    if found := shutil.which("initdb", path="/usr/bin:/usr/local/bin"):
        return Path(found).resolve().parent
    if not (versions := list(Path("/usr/lib/postgresql").glob("*/bin/initdb"))):
        raise HostError("PostgreSQL is not installed; see log/setup.log")
    return max(versions, key=lambda path: int(path.parts[4])).parent


def folder(places: Places) -> Path:
    return places.home / NAME


def url(places: Places, machine: Machine) -> str:
    """`database_url`: the same for all controllers but for where their homes are. Where other members are they learn meanwhile."""
    proof = proofs.among_controllers(places)
    return (f"postgresql://{USER}@{bracketed(machine.address)}:{POSTGRESQL_PORT}/{DATABASE}"
            f"?sslmode=verify-ca&sslrootcert={proof.ca}&sslcert={proof.certificate}&sslkey={proof.key}")  # fmt: skip


def ensure(places: Places, machine: Machine) -> None:
    """Its folder and Patroni's configuration. Only while it is down. Raises: HostError."""
    here = folder(places)
    here.mkdir(exist_ok=True)
    own(here, USER, USER, 0o700)
    forget_include(here)
    file = here / "patroni.json"  # which is YAML, too
    file.write_text(json.dumps(configuration(places, machine), indent=1) + "\n")
    own(file, None, USER, 0o640)


def forget_include(here: Path) -> None:
    """An older version of Moln had PostgreSQL read moln.conf; standbys have no such file."""
    for conf in (here / "data/postgresql.conf", here / "data/postgresql.base.conf"):
        if conf.exists() and (line := f"include '{here}/moln.conf'\n") in (text := conf.read_text()):
            conf.write_text(text.replace(line, ""))


def configuration(places: Places, machine: Machine) -> dict[str, Any]:
    """Patroni's (its documentation, "YAML Configuration Settings"). Raises: HostError."""
    here, proof, ca = folder(places), str(proofs.of_postgresql(places)), proofs.among_controllers(places).ca
    login = {"username": USER, "sslmode": "verify-full", "sslcert": proof, "sslkey": proof, "sslrootcert": ca}
    at, api = (f"{bracketed(machine.address)}:{port}" for port in (POSTGRESQL_PORT, PATRONI_PORT))
    parameters = {"unix_socket_directories": str(here), "ssl": "on", "ssl_cert_file": proof, "ssl_key_file": proof, "ssl_ca_file": ca}
    found: dict[str, Any] = {
        "scope": DATABASE, "namespace": "/moln-postgresql/", "name": machine.called, "log": {"deduplicate_heartbeat_logs": True},
        "restapi": {"listen": api, "connect_address": api, "certfile": proof, "keyfile": proof, "cafile": ca, "verify_client": "required"},
        "ctl": {"certfile": proof, "keyfile": proof, "cacert": ca},
        "etcd3": etcd(places, machine),
        "postgresql": {
            "listen": at, "connect_address": at, "data_dir": str(here / "data"), "bin_dir": str(binaries()), "pgpass": str(here / "pgpass"),
            "use_unix_socket": True, "authentication": {"superuser": login, "replication": login, "rewind": login},
            "parameters": parameters, "pg_hba": HBA, "pg_ident": IDENT, "basebackup": [{"checkpoint": "fast"}],
        },
    }  # fmt: skip
    if not machine.joined:  # who joined only ever follows what is there
        create = [str(binaries() / "psql"), "-wqc", f"CREATE DATABASE {DATABASE}"]
        found["bootstrap"] = {"dcs": SHARED, "post_bootstrap": shlex.join(create), "initdb": [
            {"encoding": "UTF8"}, {"locale": "C"}, {"auth": "peer"}, "data-checksums"]}  # fmt: skip
    return found


def etcd(places: Places, machine: Machine) -> dict[str, Any]:
    """Where Patroni finds etcd: the member on this machine first, which is there as long as the machine is reached. Raises: HostError."""
    chosen: Chosen = config.load(places.settings, Chosen)
    link = chosen.link
    urls = [urlsplit(one) for one in (*machine.etcd_urls, *link.etcd)]
    hosts = list(dict.fromkeys(f"{bracketed(one.hostname or '')}:{one.port or ETCD_PORT}" for one in urls))
    if not hosts:
        raise HostError("PostgreSQL on several machines needs etcd: --ha runs one, --etcd names another")
    own_member = [host for host in hosts if host.startswith(f"{bracketed(machine.address)}:")]
    proof = link.etcd_certificate or str(proofs.of_postgresql(places))
    found = {"hosts": own_member + [host for host in hosts if host not in own_member], "protocol": urls[0].scheme, "use_proxies": bool(own_member)}
    if urls[0].scheme == "https":
        found |= {"cacert": link.etcd_ca or proofs.among_controllers(places).ca, "cert": proof, "key": proof}
    return found


def engine(places: Places, machine: Machine) -> Engine:
    """A member that joins is ready at once: copying may take long, and the database is elsewhere meanwhile."""
    here = folder(places)
    env = {**places.environment(), "MOLN_ENGINE": NAME, "HOME": str(here), "LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1"}
    return Engine(NAME, [sys.executable, "-P", "-m", "patroni", str(here / "patroni.json")], env=env, user=USER, needs=["etcd"],
                  ready_socket=None if machine.joined else str(here / f".s.PGSQL.{POSTGRESQL_PORT}"), ready_s=120, stop_s=60)  # fmt: skip
