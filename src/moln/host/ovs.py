"""Which Open vSwitch and OVN run here: the distribution's, or newer ones from a private prefix.

With openvswitch in the kernel the distribution's packages do. Without, OVS forwards in user space, and Debian 12's
3.1 aborts there when a TCP connection's addresses are used again after a reset; 3.5 does not. Its packages, of Debian
13, are unpacked under /opt/moln/ovs and run through their own ld.so. OVN comes from the same suite, so that both
halves are of one age. docs/adr/0023-engines.md
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from msgspec import Struct

from moln.host.packages import Distribution, have
from moln.host.places import SHARED
from moln.host.run import HostError, run, succeeds

PREFIX = SHARED / "ovs"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
ROOTS = ["openvswitch-switch", "ovn-central", "ovn-host"]
UNPACKED = re.compile(r"^(lib|openvswitch|ovn|zlib)")
LIBRARIES = "usr/lib/x86_64-linux-gnu"
PROGRAMS = {
    "ovsdb-server": ["usr/sbin/ovsdb-server"],
    "ovs-vswitchd": ["usr/lib/openvswitch-switch/ovs-vswitchd", "usr/sbin/ovs-vswitchd"],
    "ovn-northd": ["usr/bin/ovn-northd"],
    "ovn-controller": ["usr/bin/ovn-controller"],
    **{name: [f"usr/bin/{name}"] for name in (
        "ovsdb-tool", "ovsdb-client", "ovs-vsctl", "ovs-ofctl", "ovs-appctl", "ovs-dpctl",
        "ovn-nbctl", "ovn-sbctl", "ovn-appctl", "ovn-trace")},
}


class Ovs(Struct, frozen=True):
    """datapath: `system` (the kernel's) or `netdev` (user space). root: where usr/ begins."""

    datapath: str
    root: Path

    def command(self, name: str) -> list[str]:
        """How to run one of PROGRAMS. Raises: HostError."""
        for path in PROGRAMS[name]:
            if (self.root / path).exists():
                return [*self._loader(), str(self.root / path)]
        raise HostError(f"{name} is not installed below {self.root}; run moln up again")

    def names_its_socket(self) -> bool:
        """Whether ovn-controller takes --unixctl: Debian 12's own does not, and puts its pid into the name."""
        if self.root != Path("/"):
            return True
        return "--unixctl" in run(*self.command("ovn-controller"), "--help")

    def _loader(self) -> list[str]:
        if self.root == Path("/"):
            return []
        libraries = self.root / LIBRARIES
        return [str(libraries / "ld-linux-x86-64.so.2"), "--library-path", str(libraries)]

    def schema(self, database: str) -> Path:
        """database: vswitch, local-config, ovn-nb or ovn-sb."""
        folder = "ovn" if database.startswith("ovn-") else "openvswitch"
        return self.root / "usr/share" / folder / f"{database}.ovsschema"


def kernel_has_openvswitch() -> bool:
    """Loads the module where there is one."""
    return Path("/sys/module/openvswitch").exists() or (have("modprobe") is not None
                                                        and succeeds("modprobe", "openvswitch"))


def choose(row: Distribution, *, kernel: bool, alone: bool) -> Ovs:
    """What this machine is to run, installed or not. kernel: it has openvswitch. alone: no other ovs-vswitchd runs here;
    two would take each other's ports and flows out of the kernel's one datapath."""
    if kernel and alone:
        return Ovs("system", Path("/"))
    return Ovs("netdev", PREFIX if row.prefix_suite else Path("/"))


def others(own: Path) -> list[str]:
    """Command lines of ovs-vswitchd in our network namespace whose sockets do not lie in `own`."""
    mine, found = os.stat("/proc/self/ns/net").st_ino, []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
            here = os.stat(folder / "ns/net").st_ino == mine
        except OSError:
            continue
        if here and any(w.rpartition("/")[2] == "ovs-vswitchd" for w in words[:4]) and str(own) not in " ".join(words):
            found.append(" ".join(words).strip())
    return found


def installed(ovs: Ovs) -> bool:
    return ovs.root == Path("/") or (PREFIX / ".complete").exists()


def mirror(sources: str) -> str:
    """The Debian mirror that apt's sources name: of deb822 stanzas or one-line entries. Raises: HostError."""
    for line in sources.splitlines():
        words = line.split()
        if not words or words[0] not in ("URIs:", "deb"):
            continue
        for word in words[1:]:
            if re.fullmatch(r"https?://\S+/debian/?", word):
                return word.rstrip("/")
    raise HostError("apt's sources name no Debian mirror; add one, then run moln up again")


def apt_sources() -> str:
    etc = Path("/etc/apt")
    files = [etc / "sources.list", *sorted((etc / "sources.list.d").glob("*.sources")),
             *sorted((etc / "sources.list.d").glob("*.list"))]
    return "\n".join(f.read_text() for f in files if f.is_file())


def install_prefix(suite: str, log: Path) -> None:
    """Download and unpack. apt works in directories of its own and believes nothing is installed, so that it fetches
    every library, libc included; the host's apt state is not touched. Raises: HostError."""
    work = PREFIX.with_name("ovs.new")
    shutil.rmtree(work, ignore_errors=True)
    apt = work / "apt"
    for folder in ("lists/partial", "cache/archives/partial"):
        (apt / folder).mkdir(parents=True)
    (apt / "sources.list").write_text(f"deb [signed-by={KEYRING}] {mirror(apt_sources())} {suite} main\n")
    (apt / "status").touch()
    (apt / "apt.conf").write_text("".join(f'{key} "{value}";\n' for key, value in {
        "Dir::Etc::SourceList": apt / "sources.list",
        "Dir::Etc::SourceParts": "/dev/null",
        "Dir::State::Lists": apt / "lists",
        "Dir::State::status": apt / "status",
        "Dir::Cache": apt / "cache",
        "Acquire::Languages": "none",
        "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled": "false",
        "Acquire::Retries": "3",
        "APT::Sandbox::User": "root",
        "APT::Get::AllowUnauthenticated": "false",
    }.items()))
    env = {"APT_CONFIG": str(apt / "apt.conf"), "DEBIAN_FRONTEND": "noninteractive"}
    # The host's apt.conf.d may clean archives after each run; the hooks are dropped, and nothing is handed to dpkg.
    run("apt-get", "-o", "APT::Update::Error-Mode=any", "update", env=env, timeout_s=600, log=log)
    run("apt-get", "install", "-y", "--download-only", "--no-install-recommends", *ROOTS, env=env, timeout_s=1200,
        log=log)
    for package in sorted((apt / "cache/archives").glob("*.deb")):
        if UNPACKED.match(package.name):
            run("dpkg-deb", "-x", package, work)
    shutil.rmtree(apt)
    for useless in ("usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/bash-completion", "etc", "var",
                    "usr/lib/systemd", f"{LIBRARIES}/gconv", "usr/lib/python3", "usr/share/lintian"):
        shutil.rmtree(work / useless, ignore_errors=True)
    work.chmod(0o755)
    made = Ovs("netdev", work)
    said = run(*made.command("ovs-vswitchd"), "--version", timeout_s=20)
    for name in PROGRAMS:
        made.command(name)
    (work / ".complete").write_text(said)
    shutil.rmtree(PREFIX, ignore_errors=True)
    work.rename(PREFIX)
