"""A Debian guest with systemd and Moln installed from wheels, as an operator's host has it; spoken to through a shell on a serial port.

It is emulated and has no network: what it needs is in its image. The distribution's part of the image is kept between runs.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tests.node.turns import CACHE, guests_alone

REPO = Path(__file__).resolve().parents[2]
PACKAGES = "systemd,systemd-sysv,udev,kmod,iproute2,procps,python3-venv,linux-image-cloud-amd64"
SUITE = "bookworm"
TOOLS = {"mmdebstrap": "mmdebstrap", "mke2fs": "e2fsprogs", "qemu-system-x86_64": "qemu-system-x86"}
BOOT_S = 900.0
APPEND = ("root=/dev/vda rw console=ttyS0 net.ifnames=0 mitigations=off no_timer_check nowatchdog rcupdate.rcu_cpu_stall_suppress=1 "
          "systemd.default_timeout_start_sec=600")  # fmt: skip
AGENT = """\
[Unit]
Description=A shell for the tests
[Service]
Type=idle
ExecStart=/bin/sh -c 'stty raw -echo; printf "agent %%s\\n" "$(cat /proc/sys/kernel/random/boot_id)"; cat | /bin/sh'
Environment=PATH=/usr/local/lib/moln/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
StandardInput=tty
StandardOutput=tty
StandardError=tty
TTYPath=/dev/ttyS1
Restart=always
[Install]
WantedBy=multi-user.target
"""
FILES = {
    "etc/systemd/system/agent.service": AGENT,
    "etc/fstab": "",
    "etc/hostname": "host\n",
    "etc/hosts": "127.0.0.1 localhost host\n",
    "etc/machine-id": "0123456789abcdef0123456789abcdef\n",
}


def run(*command: str | Path, timeout_s: float = 900, cwd: Path | None = None, env: dict[str, str] | None = None) -> None:
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=timeout_s, check=False, cwd=cwd,
                          env={**os.environ, **(env or {})})  # fmt: skip
    assert done.returncode == 0, f"{command}: {done.stdout[-2000:]}{done.stderr[-2000:]}"


def missing_tools() -> list[str]:
    """Debian packages that this machine lacks for it."""
    return [package for tool, package in TOOLS.items() if shutil.which(tool, path="/usr/sbin:/usr/bin:/sbin:/bin") is None]


def base() -> Path:
    """The distribution's part, packed; two minutes the first time."""
    packed = CACHE / f"debian-{hashlib.sha256((SUITE + PACKAGES).encode()).hexdigest()[:12]}.tar"
    if not packed.exists():
        new = packed.with_suffix(".new.tar")
        options = ["--variant=minbase", "--mode=root", f"--include={PACKAGES}", "--aptopt=APT::Install-Recommends false"]
        run("mmdebstrap", *options, SUITE, new)
        new.replace(packed)
    return packed


def wheels(work: Path) -> Path:
    """Moln and all it needs. pip builds inside the tree that it is given: it gets one of its own."""
    tree, made = work / "tree", work / "wheels"
    tree.mkdir()
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(REPO / name, tree)
    shutil.copytree(REPO / "src", tree / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    run(sys.executable, "-m", "pip", "wheel", "-q", "-w", made, tree)
    return made


def build(work: Path) -> Path:
    """The guest's disk; its kernel and initrd lie beside it."""
    root = work / "root"
    root.mkdir()
    run("tar", "-xf", base(), "-C", root)
    shutil.copytree(wheels(work), root / "wheels")
    run("chroot", root, "/usr/bin/python3", "-m", "venv", "/usr/local/lib/moln")
    run("chroot", root, "/usr/local/lib/moln/bin/pip", "install", "-q", "--no-index", "--find-links", "/wheels", "moln",
        env={"PIP_CONFIG_FILE": "/dev/null"})  # fmt: skip
    shutil.rmtree(root / "wheels")
    for name, text in FILES.items():
        (root / name).write_text(text)
    run("chroot", root, "systemctl", "enable", "agent.service")
    run("chroot", root, "systemctl", "mask", "apt-daily.timer", "apt-daily-upgrade.timer", "serial-getty@ttyS0.service")
    for name in ("vmlinuz", "initrd.img"):
        shutil.copy((root / name).resolve() if not (root / name).is_symlink() else next((root / "boot").glob(f"{name}-*")), work / name)
    disk = work / "disk.raw"
    with disk.open("wb") as file:
        file.truncate(2 << 30)
    run("mke2fs", "-q", "-t", "ext4", "-d", root, disk)
    shutil.rmtree(root)
    return disk


class DebianGuest:
    """One running guest. folder: what `build` made."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.received = b"\n"
        self.asked = 0

    def start(self) -> None:
        path = self.folder / "agent"
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        listener.listen(1)
        self.log = (self.folder / "qemu.log").open("wb")
        self.process = subprocess.Popen(
            ["qemu-system-x86_64", "-accel", "tcg,thread=multi", "-machine", "q35", "-cpu", "max", "-smp", "2", "-m", "1024", "-nodefaults", "-display", "none",
             "-kernel", self.folder / "vmlinuz", "-initrd", self.folder / "initrd.img", "-append", APPEND,
             "-drive", f"file={self.folder / 'disk.raw'},format=raw,if=virtio,cache=unsafe", "-device", "virtio-rng-pci",
             "-serial", f"file:{self.folder / 'console.log'}", "-chardev", f"socket,id=agent,path={path}", "-serial", "chardev:agent"],
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
        )  # fmt: skip
        listener.settimeout(60)
        self.agent, _ = listener.accept()
        listener.close()
        self.boot = self.wait_boot()

    def stop(self) -> None:
        self.process.kill()
        self.process.wait(30)
        self.agent.close()
        self.log.close()

    def wait_boot(self) -> str:
        """Until the shell is there. Returns the boot's id."""
        return self._until(b"agent ", BOOT_S)[1]

    def sh(self, command: str, *, timeout_s: float = 300) -> tuple[int, str]:
        """(exit status, what it printed)"""
        self.asked += 1
        mark = f"done-{self.asked}-"
        self.agent.sendall(f"{{ {command}\n}} </dev/null 2>&1; printf '\\n{mark}%s\\n' $?\n".encode())
        said, status = self._until(mark.encode(), timeout_s)
        return int(status), said.strip()

    def ok(self, command: str, *, timeout_s: float = 300) -> str:
        """What a command that has to succeed printed."""
        status, said = self.sh(command, timeout_s=timeout_s)
        assert status == 0, f"{command}: {status} {said}"
        return said

    def reboot(self) -> None:
        self.agent.sendall(b"systemctl reboot --no-block\n")
        before, self.boot = self.boot, self.wait_boot()
        assert self.boot != before

    def _until(self, mark: bytes, timeout_s: float) -> tuple[str, str]:
        """(what came before a line that begins with `mark`, the rest of that line)"""
        ends = time.monotonic() + timeout_s
        while True:
            said, found, rest = self.received.partition(b"\n" + mark)
            if found and b"\n" in rest:
                line, _, rest = rest.partition(b"\n")
                self.received = b"\n" + rest
                return said.decode(errors="replace"), line.decode().strip()
            self.agent.settimeout(max(0.1, ends - time.monotonic()))
            try:
                data = self.agent.recv(1 << 16)
            except TimeoutError:
                data = b""
            assert data, f"nothing more from the guest: {self.received[-2000:]!r}; its console: {self.console()}"
            self.received += data.replace(b"\r", b"")

    def console(self) -> str:
        with contextlib.suppress(OSError):
            return (self.folder / "console.log").read_text(errors="replace")[-3000:]
        return ""


@contextlib.contextmanager
def debian_guest(folder: Path) -> Iterator[DebianGuest]:
    """A fresh one, booted; alone on this machine."""
    CACHE.mkdir(parents=True, exist_ok=True)
    build(folder)
    with guests_alone():
        guest = DebianGuest(folder)
        try:
            guest.start()
            yield guest
        finally:
            guest.stop()
