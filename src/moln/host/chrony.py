"""Time for a cloud of several machines: the controller serves it, nodes follow the controller. One chronyd keeps a machine's clock.

Where systemd runs, that is the distribution's own service, which is told in a file of its configuration; elsewhere one that the supervisor keeps,
unless another program keeps the clock already. What may not adjust the clock follows it all the same (`-x`), so that it is known how far off it is.
"""

from __future__ import annotations

import contextlib
import json
import re
from ipaddress import ip_interface
from pathlib import Path

from moln.host import made, unit
from moln.host.clock import SOCKET
from moln.host.packages import have
from moln.host.places import Places
from moln.host.roles import Machine, Role
from moln.host.run import HostError, run, succeeds
from moln.host.supervise.plan import Engine

ENGINE = "chronyd"
KEEPERS = ("chronyd", "ntpd", "openntpd", "systemd-timesyn")  # as the kernel names processes: 15 characters
SITES = (Path("/etc/chrony/chrony.conf"), Path("/etc/chrony.conf"))
FOLDERS = (Path("/etc/chrony/conf.d"), Path("/etc/chrony.d"))  # Debian's; ours, where RHEL's configuration names none
STRATUM = 10  # of a controller that follows nobody: nodes agree with it, whatever the time is elsewhere
CAP_SYS_TIME = 25
CONTAINERS = (Path("/run/systemd/container"), Path("/.dockerenv"), Path("/run/.containerenv"))


def keeps_time(machine: Machine) -> bool:
    """Whether the cloud cares for this machine's clock: not that of a machine alone."""
    return machine.role != Role.ALL and bool(machine.address)


def socket_of(home: Path) -> Path:
    """Where our own chronyd is asked."""
    return home / SOCKET


def directives(machine: Machine, site: list[str], network: str) -> list[str]:
    """What chronyd does (chrony.conf(5)). site: the distribution's sources. network: the management network."""
    if machine.role == Role.NODE:
        return [f"server {address} iburst minpoll 2 maxpoll 6" for address in machine.controllers] + ["makestep 1 3"]
    followed = machine.ntp or ((machine.joined,) if machine.joined else ())
    sources = [f"server {name} iburst" for name in followed] or site
    return [*sources, f"local stratum {STRATUM} orphan", f"allow {network}", "makestep 1 3"]


def site_sources(files: tuple[Path, ...] = SITES) -> list[str]:
    """Lines of the distribution's configuration that name sources."""
    for file in files:
        if file.exists():
            lines = (line.strip() for line in file.read_text(errors="replace").splitlines())
            return [line for line in lines if re.match(r"(server|pool|peer)\s", line)]
    return []


def network_of(address: str) -> str:
    """The network that an address of this machine is on. Raises: HostError."""
    for card in json.loads(run("ip", "-j", "address", "show")):
        for info in card.get("addr_info", ()):
            if info["local"] == address:
                return str(ip_interface(f"{address}/{info['prefixlen']}").network)
    raise HostError(f"{address} is no address of this machine, and others know it by that: give it the address, then again: moln up")


def may_adjust(proc: Path = Path("/proc"), containers: tuple[Path, ...] = CONTAINERS) -> bool:
    """Whether this machine's clock is its own: not in a container, nor in a network namespace beside the machine's."""
    if any(path.exists() for path in containers):
        return False
    found = re.search(r"CapEff:\s*([0-9a-f]+)", (proc / "self/status").read_text())
    if not found or not int(found[1], 16) >> CAP_SYS_TIME & 1:
        return False
    try:
        return b"container=" not in (proc / "1/environ").read_bytes() and (proc / "self/ns/net").readlink() == (proc / "1/ns/net").readlink()
    except OSError:
        return False


def other_keeper(places: Places, proc: Path = Path("/proc")) -> str:
    """The program that keeps this machine's clock and is not ours; empty: none does."""
    here = (proc / "self/ns/net").readlink()
    for folder in proc.glob("[0-9]*"):
        try:
            name = (folder / "comm").read_text().strip()
            if name in KEEPERS and (folder / "ns/net").readlink() == here and str(places.host).encode() not in (folder / "cmdline").read_bytes():
                return name
        except OSError:
            continue  # it ended meanwhile
    return ""


def engines(places: Places, machine: Machine) -> list[Engine]:
    """Our own chronyd, where it is ours to keep."""
    if not keeps_time(machine) or unit.BOOTED.is_dir() or other_keeper(places):
        return []
    folder = socket_of(places.home).parent.parent
    own = [f"pidfile {folder}/chronyd.pid", f"bindcmdaddress {socket_of(places.home)}", "cmdport 0", f"driftfile {folder}/drift"]
    own.append("port 0" if machine.role == Role.NODE else f"bindaddress {machine.address}")
    network = network_of(machine.address) if machine.role == Role.CONTROLLER else ""
    options = [] if may_adjust() else ["-x"]
    argv = [have(ENGINE) or f"/usr/sbin/{ENGINE}", "-n", *options, *directives(machine, site_sources(), network), *own]
    return [Engine(ENGINE, argv, env=places.environment())]


def ensure(places: Places, machine: Machine) -> str:
    """What comes before any engine starts; what was done, in words. Raises: HostError."""
    if not keeps_time(machine):
        return ""
    if not unit.BOOTED.is_dir():
        if name := other_keeper(places):
            return f"{name} keeps this machine's clock already: see that it follows the controller's, or the same sources"
        folder = socket_of(places.home).parent.parent
        folder.mkdir(mode=0o755, exist_ok=True)
        _forget_dead(folder / "chronyd.pid")
        return "" if may_adjust() else "the clock is not this machine's to adjust: chronyd only tells how far off it is"
    return _tell_service(places, machine)


def _forget_dead(file: Path, proc: Path = Path("/proc")) -> None:
    """What a chronyd wrote that ended with the machine: another one does not begin while any process has that number now."""
    with contextlib.suppress(OSError):
        pid = file.read_text().strip()
        with contextlib.suppress(OSError):
            if (proc / pid / "comm").read_text().strip() == ENGINE:
                return
        file.unlink()


def _tell_service(places: Places, machine: Machine) -> str:
    """The distribution's own service does it. Nothing is restarted when nothing changed."""
    network = network_of(machine.address) if machine.role == Role.CONTROLLER else ""
    site = [] if not machine.ntp else ["# the site's sources are those that --ntp named, beside the distribution's"]
    text = "\n".join(["# written by moln; moln down --purge takes it away", *directives(machine, site, network)]) + "\n"
    file = next((folder for folder in FOLDERS if folder.is_dir()), FOLDERS[-1]) / "moln.conf"
    if file.exists() and file.read_text() == text:
        return ""
    record = made.read(places)
    record.chrony = str(file)
    made.write(places, record)
    if file.parent == FOLDERS[-1]:
        _have_read(file.parent)
    file.write_text(text)
    for name in ("chrony", "chronyd"):
        if succeeds("systemctl", "enable", name) and succeeds("systemctl", "restart", name):
            return f"chrony follows {file}"
    raise HostError("systemd has no chrony to start; see: systemctl status chronyd")


def _have_read(folder: Path) -> None:
    """RHEL's configuration names no folder for others' files."""
    folder.mkdir(exist_ok=True)
    line = f"confdir {folder}\n"
    main = next((file for file in reversed(SITES) if file.exists()), SITES[-1])
    if line not in main.read_text():
        with main.open("a") as out:
            out.write(line)


def remove(places: Places) -> None:
    """Take back what was told to the distribution's service."""
    record = made.read(places)
    if not record.chrony:
        return
    Path(record.chrony).unlink(missing_ok=True)
    for name in ("chrony", "chronyd"):
        if succeeds("systemctl", "try-restart", name):
            break
    record.chrony = ""
    made.write(places, record)
