"""Makes this machine ready, step by step. Each step looks first and changes only what is missing."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import re
import shutil
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

from msgspec import Struct

from moln.host import chrony, libvirt, made, ovn, ovs, packages, pool, postgresql, proofs, provider, roles, tunnels, users
from moln.host.checks import kvm_usable
from moln.host.control import NotRunning, status
from moln.host.places import GUEST_USER, LENDING_USER, USER, Places
from moln.host.roles import ALONE, Machine, Part, Provider, Role
from moln.host.run import HostError, run
from moln.host.settings import HostSettings, NodeSettings
from moln.host.steps import Steps
from moln.kernel import config

BINDING = ["libvirt.py", "libvirt_qemu.py", "libvirt_lxc.py", "libvirtaio.py"]
SYSTEM_PACKAGES = Path("/usr/lib/python3/dist-packages")


class Chosen(Struct):
    """What of moln.toml decides which packages there are."""

    node: NodeSettings = NodeSettings()


class SetUp(Struct):
    """One run of the steps. chosen: which OVS, once packages are there."""

    places: Places
    settings: HostSettings
    machine: Machine
    steps: Steps
    chosen: ovs.Ovs


def prepare(places: Places, settings: HostSettings, steps: Steps, machine: Machine = ALONE) -> ovs.Ovs:
    """Everything up to the start of the engines, as the machine's role has it. Returns which OVS to run. Raises: HostError."""
    if os.geteuid() != 0:
        raise HostError("Only root can set up the machine; for a cloud without guests, run: moln up --simulate")
    row = packages.here()
    make_directories(places)
    with made.shared() as record:
        record.homes = sorted({*record.homes, str(places.home)})
    at = SetUp(places, settings, machine, steps, choose_ovs(row, places))
    for title in roles.steps(machine, userspace=at.chosen.datapath == "netdev"):
        with steps(title):
            STEPS[title](at)
    return at.chosen


def _packages(at: SetUp) -> None:
    disks = config.load(at.places.settings, Chosen).node.disks
    besides = {"chrony": chrony.keeps_time(at.machine), "ceph": disks.pool and Part.GUESTS in at.machine.parts}
    engines = (*at.machine.packages, *(name for name, needed in besides.items() if needed))
    at.chosen = install_packages(packages.here(), at.places, at.steps, roles.unneeded(at.machine), engines)
    if at.machine.serves_nodes or at.machine.role == Role.NODE:
        ensure_extra("scale", at.places, at.steps)
    if at.machine.postgresql:
        ensure_extra(postgresql.EXTRA, at.places, at.steps)


def _users(at: SetUp) -> None:
    for name in users.ensure_users(*([LENDING_USER] if at.machine.lends else [])):
        at.steps.note(f"made user {name}")
    give_directories(at.places)
    if Part.GUESTS in at.machine.parts:
        ensure_binding(at.places)


def _certificates(at: SetUp) -> None:
    proofs.ensure(at.places, at.machine)


def _pool(at: SetUp) -> None:
    at.steps.note(pool.ensure_pool(at.places, at.settings))
    give_pool(at.places)


def _provider(at: SetUp) -> None:
    if at.machine.provider == Provider.INTERFACE:
        provider.ensure_interface(at.places, at.machine.provider_interface, userspace=at.chosen.datapath == "netdev")
        at.steps.note(f"{at.machine.provider_interface} is the provider network's")
    else:
        provider.ensure_provider(at.places, at.settings)
        at.steps.note(f"{at.settings.provider}, this host is {at.settings.gateway}")


def _tunnels(at: SetUp) -> None:
    tunnels.ensure_tunnels(at.places, at.machine.address)
    at.steps.note(f"geneve at {at.machine.address}, by way of the kernel's routes")


def _configuration(at: SetUp) -> None:
    ovn.write_clients(at.places, at.chosen)
    if Part.SWITCH in at.machine.parts:
        provider.note_bridges(at.places)
    with_guests = Part.GUESTS in at.machine.parts
    if said := chrony.ensure(at.places, at.machine):
        at.steps.note(said)
    if with_guests:
        libvirt.ensure_configuration(at.places)
    if not running(at.places):
        ovn.ensure_databases(at.places, at.chosen, at.machine)
        if at.machine.postgresql:
            postgresql.ensure(at.places, at.machine)
        if with_guests and not kvm_usable():
            at.steps.note("no KVM here: guests are emulated, about 10 times slower; `moln doctor` says what would help")


STEPS: dict[str, Callable[[SetUp], None]] = {
    "Packages": _packages,
    "Users and directories": _users,
    "Certificates": _certificates,
    "Storage pool": _pool,
    "Provider network": _provider,
    "Tunnels": _tunnels,
    "Engine configuration": _configuration,
}


def install_packages(row: packages.Distribution, places: Places, steps: Steps, but: frozenset[str] = frozenset(),
                     engines: tuple[str, ...] = ()) -> ovs.Ovs:  # fmt: skip
    """The distribution's, then newer OVS where the kernel has none. The log is log/setup.log. but, engines: see packages.wanted."""
    log = places.log / "setup.log"
    chosen = choose_ovs(row, places)
    absent = packages.missing(row, packages.wanted(row, own_ovs=chosen.root == Path("/"), but=but, engines=engines))
    if absent:
        steps.note(f"installing {' '.join(absent)}")
        with made.shared():     # one at a time, as another cloud of this machine may be set up meanwhile
            packages.install(row, absent, log)
        if still := packages.missing(row, absent):
            raise HostError(f"{row.tool} did not install {' '.join(still)}; see {log}. {row.note}")
    if chosen.root != Path("/"):
        with made.shared():     # one at a time
            if not ovs.installed(chosen):
                assert row.prefix_suite
                steps.note(f"unpacking Open vSwitch and OVN of Debian {row.prefix_suite} into {ovs.PREFIX}")
                ovs.install_prefix(row.prefix_suite, log)
    return chosen


def choose_ovs(row: packages.Distribution, places: Places) -> ovs.Ovs:
    """As the first start chose, while the kernel still allows. Raises: HostError, when another cloud has our bridges."""
    strangers = ovs.others(places.ovs)
    if clouds := [line for line in strangers if line.partition("/host/ovs/")[1]]:
        raise HostError(f"Another Moln runs guests on this machine ({clouds[0].rpartition('unix:')[2]}); there can be one.")
    record, kernel = made.read(places), ovs.kernel_has_openvswitch()
    alone = record.datapath == "system" or (not record.datapath and not strangers)
    chosen = ovs.choose(row, kernel=kernel, alone=alone)
    record.datapath = chosen.datapath
    made.write(places, record)
    return chosen


def make_directories(places: Places) -> None:
    """Root's own, before anything is written. places.home may hold a moln.toml already."""
    for folder, mode in ((places.home, None), (places.host, 0o711), (places.supervised, 0o700), (places.log, 0o755)):
        folder.mkdir(parents=True, exist_ok=True)
        if mode is not None:
            users.own(folder, None, None, mode)


def give_directories(places: Places) -> None:
    """The controller may add to the home (sticky: what is root's there it can neither move nor replace), guests may
    pass through it."""
    users.own(places.home, None, USER, 0o1771)
    places.run.mkdir(exist_ok=True)
    users.own(places.run, USER, USER, 0o755)
    audit = places.log / "audit"
    audit.mkdir(exist_ok=True)
    users.own(audit, USER, USER, 0o700)


def make_home(places: Places) -> None:
    """Folders and users alone, for what belongs into the home before the machine is set up."""
    make_directories(places)
    users.ensure_users()
    give_directories(places)


def give_pool(places: Places) -> None:
    """pool/images: written by the controller, read by guests. The rest of the pool belongs to root."""
    users.own(places.pool, None, None, 0o755)
    images = places.pool / "images"
    images.mkdir(exist_ok=True)
    users.own(images, USER, GUEST_USER, 0o2750)


def ensure_binding(places: Places) -> None:
    """libvirt's Python binding in this environment: the distribution's own files where they fit this Python, else
    built by pip against the installed libvirt. Raises: HostError."""
    try:
        __import__("libvirt")
        return
    except ImportError:
        pass
    target = Path(sysconfig.get_path("platlib"))
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    extensions = [f"{name}{suffix}" for name in ("libvirtmod", "libvirtmod_qemu", "libvirtmod_lxc")]
    found = [SYSTEM_PACKAGES / f for f in (*BINDING, *extensions) if (SYSTEM_PACKAGES / f).exists()]
    if (SYSTEM_PACKAGES / extensions[0]).exists() and sys.prefix != sys.base_prefix:
        for file in found:
            shutil.copy2(file, target / file.name)
        return
    version = run("/usr/sbin/libvirtd", "--version").split()[-1]
    run(sys.executable, "-m", "pip", "install", "-q", f"libvirt-python=={version}", timeout_s=600,
        log=places.log / "setup.log")


def ensure_extra(extra: str, places: Places, steps: Steps) -> None:
    """Packages of one of Moln's own extras in this environment. Raises: HostError."""
    wanted = [r.partition(";")[0].strip() for r in importlib.metadata.requires("moln") or [] if f'extra == "{extra}"' in r.replace("'", '"')]
    absent = [r for r in wanted if not _installed(r)]
    if absent:
        steps.note(f"installing {' '.join(absent)}")
        pip_install(absent, extra, places.log / "setup.log")


def pip_install(absent: list[str], extra: str, log: Path) -> None:
    """Raises: HostError."""
    try:
        run(sys.executable, "-m", "pip", "install", "-q", *absent, timeout_s=600, log=log)
    except HostError as error:
        raise HostError(f"{', '.join(absent)} could not be installed ({str(error).splitlines()[-1]}). What pip said is in {log}. "
                        f"Where this machine reaches no index of Python packages, install moln[{extra}] beforehand.") from error  # fmt: skip


def _installed(requirement: str) -> bool:
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        importlib.metadata.version(re.split(r"[\[<>=!~ ]", requirement)[0])
        return True
    return False


def running(places: Places) -> bool:
    """Whether this home's supervisor answers."""
    try:
        status(places)
    except NotRunning:
        return False
    return True
