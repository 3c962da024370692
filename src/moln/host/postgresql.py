"""PostgreSQL of the cloud's own, where several controllers are wanted and none was given: one server, on the first controller.

Controllers alone come in, with the certificates that they have for each other; the role `moln` has no password. The distribution's own
cluster, where its package makes one, is left alone and stays down.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from moln.host import proofs
from moln.host.places import USER, Places
from moln.host.roles import POSTGRESQL_PORT, Machine, bracketed
from moln.host.run import HostError, run
from moln.host.supervise.plan import Engine
from moln.host.users import own

NAME, DATABASE = "postgresql", "moln"
HBA = f"""# Written by Moln: its own user on this machine; controllers by their certificates.
local all {USER} peer
hostssl all {USER} all cert map=controllers
"""
IDENT = f"controllers /^.*$ {USER}\n"


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
    """`database_url`: the same for all controllers but for where their homes are."""
    proof = proofs.among_controllers(places)
    return (f"postgresql://{USER}@{bracketed(machine.address)}:{POSTGRESQL_PORT}/{DATABASE}"
            f"?sslmode=verify-ca&sslrootcert={proof.ca}&sslcert={proof.certificate}&sslkey={proof.key}")  # fmt: skip


def ensure(places: Places, machine: Machine) -> None:
    """Its data, once, and its settings. Only while it is down. Raises: HostError."""
    proof, here = proofs.among_controllers(places), folder(places)
    here.mkdir(exist_ok=True)
    own(here, USER, USER, 0o700)
    data = here / "data"
    if not (data / "PG_VERSION").exists():
        half = here / "data.new"  # whoever dies here begins anew
        shutil.rmtree(half, ignore_errors=True)
        as_user(binaries() / "initdb", "-A", "peer", "-U", USER, "-E", "UTF8", "--locale=C", "-D", half)
        as_user(binaries() / "postgres", "--single", "-D", half, "postgres", input=f"CREATE DATABASE {DATABASE}\n")
        half.replace(data)
    settings = {
        "listen_addresses": machine.address, "port": POSTGRESQL_PORT, "unix_socket_directories": here, "ssl": "on",
        "ssl_cert_file": proof.certificate, "ssl_key_file": proof.key, "ssl_ca_file": proof.ca, "max_connections": 200,
        "hba_file": here / "hba.conf", "ident_file": here / "ident.conf",
    }  # fmt: skip
    for name, text in (("hba.conf", HBA), ("ident.conf", IDENT), ("moln.conf", "".join(f"{k} = '{v}'\n" for k, v in settings.items()))):
        (here / name).write_text(text)
        own(here / name, None, USER, 0o640)
    include = f"include '{here}/moln.conf'\n"
    conf = data / "postgresql.conf"
    if include not in conf.read_text():
        with conf.open("a") as out:
            out.write(include)


def as_user(*command: str | Path, input: str | None = None) -> str:
    return run("setpriv", f"--reuid={USER}", f"--regid={USER}", "--init-groups", *command, input=input, timeout_s=120)


def engine(places: Places) -> Engine:
    here = folder(places)
    return Engine(NAME, [str(binaries() / "postgres"), "-D", str(here / "data")], env=places.environment(), user=USER,
                  ready_socket=str(here / f".s.PGSQL.{POSTGRESQL_PORT}"), ready_s=60,
                  stop_signal="SIGINT", stop_s=30)  # fmt: skip
