"""Where everything of one cloud lies on this machine: a home holds all of its state, sockets and logs."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote

from msgspec import Struct

PACKAGE_ROOT = Path(__file__).parents[2]
"""Where `import moln` finds this very copy, installed or not."""

SHARED = Path("/opt/moln")
"""What the clouds of one machine share: the installed copy of Moln (venv) and newer OVS packages (ovs)."""

USER = "moln"
"""The user that the controller and OVN's databases run as."""

GUEST_USER = "moln-guest"
"""The user that QEMU runs as: it can neither read the cloud's state nor talk to its sockets."""

LENDING_USER = "moln-nbd"
"""The user that volumes are lent and opened as between machines: it can open those that are lent, and nothing else of the cloud's."""

INTEGRATION_BRIDGE = "moln-int"
PROVIDER_BRIDGE = "moln-ex"
PHYSICAL_NETWORK = "public"
"""The name by which a provider network asks for PROVIDER_BRIDGE (ovn-bridge-mappings)."""

GATEWAY_PORT = "moln-gw"
"""The host's own foot on the provider network."""


def default_home() -> Path:
    """MOLN_HOME; without it /var/lib/moln for root and ~/.local/share/moln for others."""
    if named := os.environ.get("MOLN_HOME"):
        return Path(named).absolute()
    return Path("/var/lib/moln") if os.geteuid() == 0 else Path.home() / ".local/share/moln/home"


class Places(Struct, frozen=True):
    """Every path of one cloud. home: absolute."""

    home: Path

    # Of the user MOLN: what the controller writes. It may add to the home, but not move what is root's (sticky bit).

    @property
    def run(self) -> Path:
        """The controller's sockets."""
        return self.home / "run"

    @property
    def ovn(self) -> Path:
        """OVN's databases and sockets."""
        return self.home / "ovn"

    @property
    def nb_socket(self) -> Path:
        return self.ovn / "nb.sock"

    @property
    def sb_socket(self) -> Path:
        return self.ovn / "sb.sock"

    @property
    def admin_socket(self) -> Path:
        return self.run / "admin.sock"

    @property
    def admin_password(self) -> Path:
        return self.home / "admin.password"

    # Of root.

    @property
    def log(self) -> Path:
        return self.home / "log"

    @property
    def settings(self) -> Path:
        return self.home / "moln.toml"

    @property
    def pool(self) -> Path:
        """Images, volumes and root disks: on a file system that can reflink."""
        return self.home / "pool"

    @property
    def host(self) -> Path:
        """The engines': nothing below it can be written by the controller."""
        return self.home / "host"

    @property
    def pool_file(self) -> Path:
        return self.host / "pool.xfs"

    @property
    def made(self) -> Path:
        """What set-up changed outside the home, so that `down --purge` can put it back."""
        return self.host / "made.json"

    @property
    def choices(self) -> Path:
        """What the last `moln up` was asked, so that the next one need not be."""
        return self.host / "up.json"

    @property
    def machine(self) -> Path:
        """What this machine is in a cloud of several (host/roles.py); absent: it is alone."""
        return self.host / "machine.json"

    @property
    def supervised(self) -> Path:
        """Pid files, plan and socket of the supervisor."""
        return self.host / "run"

    @property
    def plan(self) -> Path:
        return self.supervised / "engines.json"

    @property
    def supervisor_socket(self) -> Path:
        return self.supervised / "supervisor.sock"

    @property
    def bin(self) -> Path:
        """ovs-vsctl, ovn-nbctl and so on, each already pointing at this cloud's sockets."""
        return self.host / "bin"

    @property
    def ovs(self) -> Path:
        return self.host / "ovs"

    @property
    def ovs_socket(self) -> Path:
        return self.ovs / "db.sock"

    @property
    def libvirt(self) -> Path:
        """What libvirtd sees as its own /etc, /run and /var directories."""
        return self.host / "libvirt"

    @property
    def libvirt_socket(self) -> Path:
        return self.libvirt / "run/libvirt-sock"

    @property
    def libvirt_uri(self) -> str:
        return f"qemu:///system?socket={quote(str(self.libvirt_socket))}"

    def environment(self) -> dict[str, str]:
        """What OVS's, OVN's and libvirt's own clients want, to reach this cloud's engines and no other's."""
        return {
            "MOLN_HOME": str(self.home),
            "OVS_RUNDIR": str(self.ovs),
            "OVN_RUNDIR": str(self.ovn),
            "OVN_NB_DB": f"unix:{self.nb_socket}",
            "OVN_SB_DB": f"unix:{self.sb_socket}",
            "LIBVIRT_DEFAULT_URI": self.libvirt_uri,
        }
