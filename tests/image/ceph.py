"""A real Ceph of one monitor and one OSD on plain files, and its S3 gateway: Debian's packages, no systemd, nothing outside a folder."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.image.s3 import KEYS

from moln.bench.process import lasting_port
from moln.kernel.rbd import Access

PROGRAMS = ("ceph", "ceph-mon", "ceph-osd", "ceph-authtool", "monmaptool", "radosgw", "radosgw-admin")
LIMIT_S = 120.0
CONF = """[global]
fsid = {fsid}
mon_host = [v2:{address}:{port}/0]
ms_bind_msgr1 = false
public_addr = {address}
cluster_addr = {address}
auth_cluster_required = cephx
auth_service_required = cephx
auth_client_required = cephx
keyring = {folder}/keyring
run_dir = {folder}/run
pid_file = {folder}/run/$name.pid
admin_socket =
log_file = {folder}/$name.log
crash_dir = {folder}
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 4
osd_pool_default_pgp_num = 4
osd_pool_default_pg_autoscale_mode = off
osd_crush_chooseleaf_type = 0
mon_allow_pool_size_one = true
mon_data_avail_crit = 1
mon_data_avail_warn = 2
mon_max_pg_per_osd = 1000
paxos_propose_interval = 0.05
paxos_min_wait = 0.01
[mon]
mon_data = {folder}/mon
auth_allow_insecure_global_id_reclaim = false
[osd]
osd_data = {folder}/osd
osd_objectstore = memstore
memstore_device_bytes = 2147483648
osd_max_object_name_len = 256
osd_max_object_namespace_len = 64
[client]
log_file =
"""


def available() -> bool:
    return os.geteuid() == 0 and all(map(shutil.which, PROGRAMS))


class Ceph:
    """conf: its ceph.conf; the users `admin` and `glance` are in its keyring, and the pool `images` is there. address: where it listens."""

    def __init__(self, folder: Path, address: str = "127.0.0.1"):
        self.folder = folder
        self.address = address
        self.conf = folder / "ceph.conf"
        self.started: list[subprocess.Popen[bytes]] = []

    def run(self, *args: object, text: str | None = None, check: bool = True) -> str:
        command = [str(arg) for arg in args]
        done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=LIMIT_S, check=False)
        if check and done.returncode:
            raise AssertionError(f"{' '.join(command)}: {done.stderr[-2000:]}")
        return done.stdout

    def ceph(self, *args: object, text: str | None = None) -> str:
        return self.run("ceph", "-c", self.conf, "--connect-timeout", 30, *args, text=text)

    def start(self, *args: object) -> subprocess.Popen[bytes]:
        """In the foreground, so that it is ours to end."""
        with open(self.folder / f"{args[0]}.out", "ab") as out:
            process = subprocess.Popen([*map(str, args), "-c", str(self.conf), "-f"], stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        self.started.append(process)
        return process

    def up(self) -> None:
        folder, fsid, port = self.folder, uuid.uuid4(), lasting_port()
        for name in ("run", "mon", "osd"):
            (folder / name).mkdir()
        self.conf.write_text(CONF.format(fsid=fsid, port=port, folder=folder, address=self.address))
        keyring = folder / "keyring"
        self.run("ceph-authtool", keyring, "--create-keyring", "--gen-key", "-n", "mon.", "--cap", "mon", "allow *")
        self.key("client.admin", mon="allow *", osd="allow *", mgr="allow *")
        self.key("client.glance", mon="profile rbd", osd="profile rbd pool=images")
        self.key("client.rgw", mon="allow rw", osd="allow rwx")
        self.run("monmaptool", "--create", "--clobber", "--fsid", fsid, "--addv", "a", f"[v2:{self.address}:{port}/0]", folder / "monmap")
        self.run("ceph-mon", "-c", self.conf, "--mkfs", "-i", "a", "--monmap", folder / "monmap", "--keyring", keyring)
        self.start("ceph-mon", "-i", "a")
        self.osd(folder / "osd")
        self.pool("images")

    def pool(self, name: str) -> None:
        self.ceph("osd", "pool", "create", name, 4, 4)
        self.ceph("osd", "pool", "application", "enable", name, "rbd")

    def user(self, name: str, osd: str) -> Path:
        """A user of RBD. Its keyring, which only root reads."""
        path = self.folder / f"{name}.keyring"
        path.touch(0o600)
        self.ceph("auth", "get-or-create", f"client.{name}", "mon", "profile rbd", "osd", osd, "-o", path)
        return path

    def manager(self) -> None:
        """Who counts how full pools are."""
        folder = self.folder / "mgr"
        folder.mkdir()
        self.ceph("auth", "get-or-create", "mgr.x", "mon", "allow profile mgr", "osd", "allow *", "-o", folder / "keyring")
        self.start("ceph-mgr", "-i", "x", "--mgr_data", folder, "--keyring", folder / "keyring")
        until(lambda: json.loads(self.ceph("mgr", "dump", "-f", "json"))["available"])

    def disks(self) -> Access:
        """A pool for a cloud's disks, and its user."""
        self.pool("vms")
        keyring = self.user("moln", "profile rbd pool=vms")
        return Access(str(self.conf), "moln", str(keyring), "vms", timeout_s=10)

    def osd(self, folder: Path) -> None:
        secret, name = self.run("ceph-authtool", "--gen-print-key").strip(), uuid.uuid4()
        self.ceph("osd", "new", name, "-i", "-", text=json.dumps({"cephx_secret": secret}))
        (folder / "keyring").write_text(f"[osd.0]\n\tkey = {secret}\n")
        self.run("ceph-osd", "-c", self.conf, "-i", 0, "--mkfs", "--osd-uuid", name, "--keyring", folder / "keyring")
        self.start("ceph-osd", "-i", 0, "--keyring", folder / "keyring")
        until(lambda: json.loads(self.ceph("osd", "stat", "-f", "json")).get("num_up_osds") == 1)

    def key(self, name: str, **caps: str) -> None:
        words = [word for service, cap in caps.items() for word in ("--cap", service, cap)]
        self.run("ceph-authtool", self.folder / "keyring", "--gen-key", "-n", name, *words)

    def s3(self) -> str:
        """The endpoint of its gateway, with a user that has KEYS."""
        port = lasting_port()
        admin = ("radosgw-admin", "-c", self.conf, "-n", "client.rgw", "user", "create", "--uid=moln", "--display-name=moln")
        self.run(*admin, f"--access-key={KEYS[0]}", f"--secret-key={KEYS[1]}")
        gateway = self.start("radosgw", "-n", "client.rgw", f"--rgw-frontends=beast endpoint=127.0.0.1:{port}")

        def listens() -> bool:
            assert gateway.poll() is None, (self.folder / "radosgw.out").read_text()[-2000:]
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                return True
            return False

        until(listens)
        return f"http://127.0.0.1:{port}"

    def down(self) -> None:
        for process in reversed(self.started):
            process.send_signal(signal.SIGKILL)
            process.wait(30)


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + LIMIT_S
    while not true():
        assert time.monotonic() < end, "Ceph did not come up"
        time.sleep(0.05)


@contextlib.contextmanager
def ceph(folder: Path, address: str = "127.0.0.1") -> Iterator[Ceph]:
    cluster = Ceph(folder, address)
    try:
        cluster.up()
        yield cluster
    finally:
        cluster.down()
