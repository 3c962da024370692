"""libvirtd as an engine, in a mount namespace where /etc/libvirt, /run/libvirt and its /var directories are ours.

So the host's own libvirt, its configuration, networks and domains are neither seen nor touched, whether or not it
runs. docs/adr/0023-engines.md
"""

from __future__ import annotations

import os
import sys
import uuid
from pathlib import Path

from moln.host.checks import kvm_usable
from moln.host.places import GUEST_USER, Places
from moln.host.run import SYSTEM_PATH
from moln.host.supervise.plan import Engine
from moln.host.users import own

MOUNTS = {"etc": "/etc/libvirt", "run": "/run/libvirt", "lib": "/var/lib/libvirt", "cache": "/var/cache/libvirt",
          "log": "/var/log/libvirt"}

SCRIPT = """set -e
ours=$1; shift
for pair in {pairs}; do
  mkdir -p "${{pair#*:}}"
  mount --bind "$ours/${{pair%%:*}}" "${{pair#*:}}"
done
[ ! -e "$ours/no-kvm" ] || mount --bind "$ours/no-kvm" /dev/kvm
exec "$@"
""".format(pairs=" ".join(f"{inner}:{outer}" for inner, outer in MOUNTS.items()))

LIBVIRTD_CONF = """# written by moln up
unix_sock_ro_perms = "0700"
unix_sock_rw_perms = "0700"
unix_sock_admin_perms = "0700"
auth_unix_ro = "none"
auth_unix_rw = "none"
host_uuid = "{host_uuid}"
max_clients = 64
log_outputs = "3:stderr"
keepalive_interval = 5
"""

QEMU_CONF = """# written by moln up
user = "{guest}"
group = "{guest}"
dynamic_ownership = 1
remember_owner = 0
stdio_handler = "logd"
namespaces = []
vnc_listen = "127.0.0.1"
lock_manager = "nop"
"""

VIRTLOGD_CONF = """# written by moln up
log_outputs = "3:stderr"
max_size = 1048576
max_backups = 2
"""


ANSWERS = "import libvirt, sys; libvirt.open(sys.argv[1]).getType()"


def ensure_configuration(places: Places) -> None:
    """libvirt's directories and files, as MOUNTS shows them to it."""
    for folder in MOUNTS:
        (places.libvirt / folder).mkdir(parents=True, exist_ok=True)
    own(places.libvirt, None, None, 0o711)
    conf = places.libvirt / "etc"
    uuid_file = conf / "host-uuid"
    if not uuid_file.exists():
        uuid_file.write_text(str(uuid.uuid4()))
    _put(conf / "libvirtd.conf", LIBVIRTD_CONF.format(host_uuid=uuid_file.read_text()))
    _put(conf / "qemu.conf", QEMU_CONF.format(guest=GUEST_USER))
    _put(conf / "virtlogd.conf", VIRTLOGD_CONF)
    hidden = places.libvirt / "no-kvm"
    if kvm_usable() or not Path("/dev/kvm").exists():
        hidden.unlink(missing_ok=True)
    elif not hidden.exists():
        # A /dev/kvm that opens but cannot run guests makes libvirt believe in it and probe again at each call.
        os.close(os.open(hidden, os.O_CREAT | os.O_WRONLY, 0o000))


def _put(file: Path, text: str) -> None:
    if not file.exists() or file.read_text() != text:
        file.write_text(text)


def engines(places: Places) -> list[Engine]:
    run = places.libvirt / "run"
    env = {"PATH": f"{places.bin}:{SYSTEM_PATH}", "LANG": "C.UTF-8"}

    def inside(*argv: str) -> list[str]:
        # Mounts made later on the host (pools, volumes) appear inside; ours never appear outside.
        return ["/usr/bin/unshare", "--mount", "--propagation", "slave", "/bin/sh", "-c", SCRIPT, "sh",
                str(places.libvirt), *argv]

    return [
        Engine("virtlogd", inside("/usr/sbin/virtlogd", "--pid-file", "/run/libvirt/virtlogd.pid"), env=env,
               ready_socket=str(run / "virtlogd-sock")),
        Engine("libvirtd", inside("/usr/sbin/libvirtd", "--pid-file", "/run/libvirt/libvirtd.pid"), env=env,
               needs=["virtlogd", "ovs-vswitchd"], ready_socket=str(run / "libvirt-sock"), ready_s=60,
               # The socket accepts before the drivers are there; an answer comes after.
               after=[[sys.executable, "-c", ANSWERS, places.libvirt_uri]]),
    ]


def guests(places: Places) -> list[str]:
    """Names of the domains whose QEMU runs: those that libvirt keeps a live state file of."""
    found = []
    for file in sorted((places.libvirt / "run/qemu").glob("*.pid")):
        try:
            pid = int(file.read_text())
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except (OSError, ValueError):
            continue
        if b"qemu" in command.partition(b"\0")[0]:
            found.append(file.stem)
    return found
