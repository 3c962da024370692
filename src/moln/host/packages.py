"""The packages that a host needs, by distribution, and their installation.

libvirt comes without its `-system` half: that is units, a polkit rule and a default network, and Moln runs libvirtd
itself (docs/adr/0023-engines.md). Nothing that a package brings is started while it is installed.
"""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

from moln.host.run import HostError, run, succeeds

DEBIAN_BASE = {
    "qemu": ["qemu-system-x86", "qemu-utils"],
    "libvirt": ["libvirt-daemon", "libvirt-daemon-driver-qemu"],
    "python": ["python3-venv", "python3-libvirt"],
    "pool": ["xfsprogs", "e2fsprogs"],
    "network": ["iproute2", "ethtool", "nftables", "procps"],
    "guest tools": ["openssh-client", "genisoimage"],
}
DEBIAN_OVS = ["openvswitch-switch", "ovn-central", "ovn-host", "ovn-common"]


DEBIAN_ENGINES = {
    "postgresql": ["postgresql"],
    "etcd": ["etcd-server", "etcd-client"],
    "nats": ["nats-server"],
    "chrony": ["chrony"],
    "nbdkit": ["nbdkit"],
    "ceph": ["qemu-block-extra", "python3-rados", "python3-rbd"],
}
"""What clouds of several machines stand on, by its own name (docs/adr/0030-roles.md); of Ceph, what its clients are."""


ENGINE_PACKAGES = {*DEBIAN_OVS, "libvirt-daemon", "libvirt-daemon-log", "postgresql", "postgresql-common", "etcd-server", "nats-server"}
"""Those that bring services of their own, which Moln starts itself. chrony's is the machine's: its clock is everybody's."""


class Distribution(Struct, frozen=True):
    """id, version: of /etc/os-release. packages: by what they are for. ovs: the distribution's own OVS and OVN.

    engines: packages of what clouds of several machines stand on; none, where the distribution has none, and elsewhere says why not.

    prefix_suite: the Debian suite whose OVS replaces the distribution's where the kernel has no openvswitch (the
    userspace datapath needs 3.5); None: the distribution's own is new enough, or nothing fits.
    """

    id: str
    version: str
    tool: str
    packages: dict[str, list[str]]
    ovs: list[str]
    engines: dict[str, list[str]]
    prefix_suite: str | None = None
    note: str = ""
    elsewhere: dict[str, str] = {}


TABLE = [
    Distribution("debian", "12", "apt", DEBIAN_BASE, DEBIAN_OVS, DEBIAN_ENGINES, prefix_suite="trixie"),
    Distribution("debian", "13", "apt", DEBIAN_BASE | {
        "libvirt": ["libvirt-daemon", "libvirt-daemon-driver-qemu", "libvirt-daemon-log", "libvirt-daemon-common"],
    }, DEBIAN_OVS, DEBIAN_ENGINES),
    Distribution("ubuntu", "24.04", "apt", DEBIAN_BASE, DEBIAN_OVS, DEBIAN_ENGINES),
    Distribution("rhel", "9", "dnf", {
        "qemu": ["qemu-kvm-core", "qemu-img"],
        "libvirt": ["libvirt-daemon", "libvirt-daemon-driver-qemu", "libvirt-daemon-log"],
        "python": ["python3.11", "python3-libvirt"],
        "pool": ["xfsprogs", "e2fsprogs"],
        "network": ["iproute", "ethtool", "nftables", "procps-ng"],
        "guest tools": ["openssh-clients", "xorriso"],
    }, ["openvswitch3.3", "ovn24.03-central", "ovn24.03-host", "ovn24.03"], {
        "postgresql": ["postgresql-server"], "etcd": [], "nats": [], "chrony": ["chrony"],
        "nbdkit": ["nbdkit-server", "nbdkit-basic-plugins", "nbdkit-basic-filters", "nbdkit-nbd-plugin"],
        "ceph": ["qemu-kvm-block-rbd", "python3-rados", "python3-rbd"],
    }, note="openvswitch and ovn come from the NFV SIG: dnf install centos-release-nfv-openvswitch; python3-rbd from the Storage SIG: centos-release-ceph-reef",
       elsewhere={
        "etcd": "install the etcd of its own releases (etcd.io) or give one with --etcd",
        "nats": "install the nats-server of its own releases (nats.io) or give one with --nats",
    }),
]


def os_release(text: str) -> dict[str, str]:
    """/etc/os-release as a table (os-release(5))."""
    pairs = (line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))
    return {key.strip(): value.strip().strip("\"'") for key, value in pairs}


def distribution(release: dict[str, str]) -> Distribution:
    """Whose names apply. Rebuilds of RHEL count as RHEL. Raises: HostError, when the table has none."""
    version = release.get("VERSION_ID", "")
    names = [release.get("ID", ""), *release.get("ID_LIKE", "").split()]
    for row in TABLE:
        exact = row.id == names[0] and row.version == version
        if exact or (row.id == "rhel" and "rhel" in names and version.split(".")[0] == row.version):
            return row
    known = ", ".join(f"{r.id} {r.version}" for r in TABLE)
    raise HostError(f"This is {release.get('PRETTY_NAME', 'an unknown system')}; Moln knows {known}.")


def here() -> Distribution:
    """Raises: HostError."""
    if platform.machine() != "x86_64":
        raise HostError(f"Moln runs on x86_64, not on {platform.machine()}.")
    return distribution(os_release(Path("/etc/os-release").read_text()))


def wanted(row: Distribution, *, own_ovs: bool, but: frozenset[str] = frozenset(), engines: tuple[str, ...] = ()) -> list[str]:
    """own_ovs: the distribution's OVS is used, not the private prefix. but: groups to leave out. engines: those to add.

    Raises: HostError, when the distribution has no package of one.
    """
    names = [name for group, members in row.packages.items() if group not in but for name in members]
    if without := [engine for engine in engines if not row.engines[engine]]:
        raise HostError("; ".join(f"{row.id} {row.version} has no package of {e}: {row.elsewhere[e]}" for e in without))
    return names + (row.ovs if own_ovs else []) + [name for engine in engines for name in row.engines[engine]]


def missing(row: Distribution, names: list[str]) -> list[str]:
    """Those not installed."""
    if row.tool == "dnf":
        return [n for n in names if not succeeds("rpm", "-q", n)]
    installed = set()
    try:
        lines = run("dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n", *names)
    except HostError:   # dpkg-query fails when it knows one of them not at all
        lines = run("dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n")
    for line in lines.splitlines():
        name, _, status = line.partition(" ")
        if status == "installed":
            installed.add(name)
    return [n for n in names if n not in installed]


def install(row: Distribution, names: list[str], log: Path) -> None:
    """Raises: HostError."""
    if row.tool == "dnf":
        if row.note:
            with log.open("a") as out:
                out.write(row.note + "\n")
        run("dnf", "-y", "--setopt=install_weak_deps=False", "install", *names, timeout_s=1800, log=log)
        return
    env = {"DEBIAN_FRONTEND": "noninteractive", "NEEDRESTART_MODE": "l"}
    options = ["-o", "DPkg::Lock::Timeout=300", "-o", "Acquire::Retries=3"]
    with contextlib.suppress(HostError):   # one unreachable source of the user's must not stop us
        run("apt-get", *options, "update", timeout_s=600, env=env, log=log)
    with nothing_started():
        run("apt-get", *options, "-y", "--no-install-recommends", "-o", "Dpkg::Options::=--force-confold", "install",
            *names, timeout_s=1800, env=env, log=log)
    # Nor at the next boot: Moln starts what it needs itself.
    for name in ENGINE_PACKAGES.intersection(names):
        units = [Path(line).name for line in run("dpkg", "-L", name).splitlines()
                 if "/systemd/system/" in line and line.endswith((".service", ".socket"))]
        if units and have("systemctl"):
            succeeds("systemctl", "disable", *[u for u in units if "@" not in u])


@contextlib.contextmanager
def nothing_started(policy: Path = Path("/usr/sbin/policy-rc.d")) -> Iterator[None]:
    """Services of new packages stay down meanwhile (invoke-rc.d's policy layer). A policy that exists is put back."""
    aside = policy.with_name(policy.name + ".before-moln")
    if aside.exists():               # a set-up of ours died here: put back what was there before it
        aside.replace(policy)
    if policy.exists() or policy.is_symlink():
        policy.rename(aside)
    try:
        policy.write_text("#!/bin/sh\n# written by moln while it installs packages\nexit 101\n")
        policy.chmod(0o755)
        yield
    finally:
        policy.unlink(missing_ok=True)
        if aside.exists() or aside.is_symlink():
            aside.replace(policy)


def have(program: str) -> str | None:
    """The program's path, looked for where the system keeps its own."""
    return shutil.which(program, path="/usr/sbin:/usr/bin:/sbin:/bin:" + os.defpath)
