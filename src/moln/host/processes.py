"""Moln's own processes as engines.

The contract: `python -m moln.NAME --home HOME` stays in the foreground, logs to stderr, ends on SIGTERM within 10 s, and
writes a line to the file descriptor that MOLN_READY_FD names once it can do its work (docs/adr/0022-supervisor.md).
"""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from pathlib import Path

from msgspec import Struct

from moln.host import chrony, etcd, postgresql, proofs, roles
from moln.host.packages import have
from moln.host.places import PACKAGE_ROOT, USER, Places
from moln.host.roles import ALONE, Machine
from moln.host.run import SYSTEM_PATH, HostError
from moln.host.supervise.plan import Engine

READY_S = 60.0


class Choices(Struct, frozen=True):
    """What `moln up` was asked. None: what moln.toml says, or the default."""

    port: int | None = None
    listen: str | None = None
    simulate: bool = False
    nodes: int = 1
    tls: bool | None = None


def module(places: Places, name: str, *arguments: str, user: str | None, needs: list[str], address: str = "") -> Engine:
    """`python -m moln.NAME` of this very copy of Moln. address: this machine's among others; another one is a reason to begin anew."""
    env = {
        **({"MOLN_ADDRESS": address} if address else {}),
        **places.environment(),
        "MOLN_ENGINE": name,
        "MOLN_BUILD": build(PACKAGE_ROOT / "moln"),
        "PATH": f"{places.bin}:{SYSTEM_PATH}",
        "PYTHONPATH": str(PACKAGE_ROOT),
        "PYTHONDONTWRITEBYTECODE": "1",
        "HOME": str(places.home),
        "LANG": "C.UTF-8",
    }
    argv = [sys.executable, "-P", "-m", f"moln.{name}", "--home", str(places.home), *arguments]
    return Engine(name, argv, env=env, user=user, needs=needs, notify=True, ready_s=READY_S, stop_s=15)


def build(package: Path) -> str:
    """Another text once a source file is another: the `moln up` after an upgrade starts Moln's processes anew."""
    digest = hashlib.sha256()
    for file in sorted(package.rglob("*.py")):
        digest.update(str(file.relative_to(package)).encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:16]


def descendants(places: Places) -> list[int]:
    """Processes that an engine of this cloud started, however far down: they carry its environment."""
    wanted = f"MOLN_HOME={places.home}".encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environment = (folder / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        # MOLN_HOME alone may stand in a user's shell; MOLN_ENGINE stands in none.
        if wanted in environment and any(e.startswith(b"MOLN_ENGINE=") for e in environment):
            found.append(int(folder.name))
    return found


def options(choices: Choices, machine: Machine = ALONE) -> list[str]:
    """The controller's arguments: only what was chosen, so that moln.toml rules the rest."""
    chosen = []
    if choices.listen:
        chosen += ["--listen", choices.listen]
    if choices.port:
        chosen += ["--port", str(choices.port)]
    if choices.tls:
        chosen += ["--tls"]
    for url in machine.nats_urls:
        chosen += ["--nats", url]
    for url in machine.etcd_urls:
        chosen += ["--etcd", url]
    if machine.ovn:
        chosen += ["--ovn", *machine.ovn]
    return [*chosen, "--name", machine.called] if machine.nats_urls or machine.joined else chosen


def real(places: Places, choices: Choices, machine: Machine = ALONE) -> list[Engine]:
    """controller, node, and metadata where it is a process of its own: those of them that run here, with the engines beside OVN's.

    Raises: HostError, when USER cannot run them.
    """
    for path in (Path(sys.prefix), Path(sys.base_prefix), PACKAGE_ROOT):
        if not open_to_all(path):
            raise HostError(f"{path} cannot be read by user {USER}; start with ./moln, which installs a copy that can")
    engines = [
        module(places, "controller", *options(choices, machine), user=USER, needs=["ovsdb-nb", "ovsdb-sb", "ovn-northd", "postgresql"]),
        module(places, "node", user=None, needs=["controller", "libvirtd", "ovn-controller"], address=machine.address),
    ]
    if importlib.util.find_spec("moln.metadata"):
        engines.append(module(places, "metadata", user=None, needs=["controller", "ovn-controller"]))
    here = roles.engines(machine)
    if machine.runs_nats:
        engines.insert(0, proofs.engine(places, have(proofs.NATS) or f"/usr/sbin/{proofs.NATS}"))
    if machine.postgresql:
        engines.insert(0, postgresql.engine(places, machine))
    if machine.runs_etcd:
        engines.insert(0, etcd.engine(places, machine))
    return [*chrony.engines(places, machine), *(e for e in engines if e.name in here)]


def simulated(places: Places, choices: Choices) -> list[Engine]:
    """One process, as whoever asks."""
    nodes = ["--simulate", "--nodes", str(choices.nodes)]
    return [module(places, "controller", *options(choices), *nodes, user=None, needs=[])]


def open_to_all(path: Path) -> bool:
    """Whether any user may enter and read this directory."""
    return all(p.stat().st_mode & 0o001 for p in (path, *path.parents)) and bool(path.stat().st_mode & 0o004)
