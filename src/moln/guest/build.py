"""Build a small guest: the distribution's cloud kernel, busybox and dropbear on one ext4 disk of about 20 MB.

Needs root (a loop mount, for extlinux) and the packages of HOST_PACKAGES. The kernel is downloaded from the
distribution's archive by apt and unpacked here, as is the static busybox; neither is ever installed on the host.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from importlib import resources
from pathlib import Path

from moln.guest.archive import write_initramfs

GUEST_LOGIN = "moln"
HOST_PACKAGES = ("kmod", "e2fsprogs", "extlinux", "dropbear-bin", "qemu-utils", "binutils")

_KERNEL_META = ("linux-image-cloud-amd64", "linux-image-virtual")  # Debian, Ubuntu
_BOOT_MODULES = (
    "virtio_pci", "virtio_mmio", "virtio_blk", "virtio_scsi", "sd_mod", "sr_mod", "ata_piix", "ahci", "isofs", "virtio-rng",
)  # fmt: skip
_ROOT_MODULES = (
    "virtio_net", "virtio_balloon", "virtio_console", "evdev", "button", "nfs", "nfsv3", "nfsv4", "virtiofs", "9p",
    "9pnet_virtio", "vfat", "nls_ascii", "nls_cp437", "nls_utf8", "xfs", "8021q", "loop", "e1000", "qemu_fw_cfg",
)  # fmt: skip
_IN_SBIN = frozenset((
    "init", "getty", "modprobe", "insmod", "lsmod", "ip", "ifconfig", "route", "reboot", "poweroff", "halt", "udhcpc", "mdev",
    "switch_root", "depmod", "rmmod", "acpid", "swapon", "swapoff", "losetup", "sulogin",
))  # fmt: skip
_FOLDERS = (
    "bin", "sbin", "usr/bin", "usr/sbin", "etc/dropbear", "proc", "sys", "dev", "run", "tmp", "mnt", "root", "home/moln",
    "var/lib/cloud", "var/log", "lib/modules", "lib64", "boot",
)  # fmt: skip
_STEP_S = 300.0
_SIZE_MIB = 64


def build_guest_image(path: Path, progress: Callable[[str], None] = lambda step: None) -> Path:
    """Make the qcow2 guest image at `path`, unless one of this recipe is there; about 10 s. Returns `path`.

    The guest takes DHCP (with option 121), metadata over HTTP or from a config drive, hostname, ssh keys for
    GUEST_LOGIN and root, user-data scripts, hot-plugged cards and disks, and ACPI shutdown.
    Raises: CalledProcessError, TimeoutExpired, FileNotFoundError (a tool of HOST_PACKAGES is missing).
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two builders at once: the second finds the first one's image
        made_from, recipe = path.with_suffix(".recipe"), _recipe()
        stale = made_from.exists() and made_from.read_text() != recipe  # an image without a recipe was put there by hand
        if stale or not path.exists():
            with tempfile.TemporaryDirectory(dir=path.parent, prefix="build-") as work:
                os.replace(_build(Path(work), progress), path)
            made_from.write_text(recipe)
    return path


def _recipe() -> str:
    """A digest of this package: what the image depends on, the distribution's packages aside."""
    digest = hashlib.sha256()
    package = resources.files("moln.guest")
    for part in sorted([*package.iterdir(), *package.joinpath("files").iterdir()], key=lambda part: part.name):
        if part.is_file() and not part.name.endswith(".pyc"):
            digest.update(part.name.encode() + b"\0" + part.read_bytes())
    return digest.hexdigest()


def _build(work: Path, progress: Callable[[str], None]) -> Path:
    progress("download kernel")
    kernel = _unpack_kernel(work)
    _unpack(work, kernel, ["busybox-static"])  # the host's own busybox may be the dynamic one
    busybox = next(path for path in kernel.rglob("bin/busybox") if path.is_file() and not path.is_symlink())
    version = next((kernel / "lib/modules").iterdir()).name
    _run("depmod", "-b", str(kernel), version)

    progress("initramfs")
    initramfs = work / "initramfs"
    for folder in ("bin", "proc", "sys", "dev", "newroot"):
        (initramfs / folder).mkdir(parents=True)
    shutil.copy(busybox, initramfs / "bin/busybox")
    _copy_modules(kernel, version, _BOOT_MODULES, initramfs)
    _place("initramfs-init", initramfs / "init", 0o755)

    progress("root file system")
    root = work / "root"
    _fill_root(root, busybox)
    _copy_modules(kernel, version, _BOOT_MODULES + _ROOT_MODULES, root)
    shutil.copy(kernel / f"boot/vmlinuz-{version}", root / "boot/vmlinuz")
    write_initramfs(initramfs, root / "boot/initrd.gz")
    (root / "boot/extlinux").mkdir()
    _place("extlinux.conf", root / "boot/extlinux/extlinux.conf", 0o644)
    _own(root)

    progress("disk image")
    return _disk(work, root)


def _unpack_kernel(work: Path) -> Path:
    """Download and unpack the newest cloud kernel with its modules."""
    target = work / "kernel"
    for meta in _KERNEL_META:
        names = set(re.findall(r"Depends: (linux-(?:image|modules)-\d\S*)", _run("apt-cache", "depends", meta, check=False)))
        for name in list(names):  # Ubuntu ships the modules in a package of their own
            names |= set(re.findall(r"Depends: (linux-modules-\d\S*)", _run("apt-cache", "depends", name)))
        if names:
            _unpack(work, target, sorted(names))
            if not (target / "lib/modules").exists():  # a merged /usr
                (target / "lib").mkdir(exist_ok=True)
                shutil.move(str(target / "usr/lib/modules"), target / "lib/modules")
            return target
    raise FileNotFoundError(f"apt knows no kernel package among {', '.join(_KERNEL_META)}; run apt-get update")


def _unpack(work: Path, target: Path, packages: list[str]) -> None:
    """Download packages and unpack them into `target`."""
    debs = work / f"debs-{packages[0]}"
    debs.mkdir()
    _run("apt-get", "download", "-q", *packages, cwd=debs)
    for deb in debs.iterdir():
        _run("dpkg-deb", "-x", str(deb), str(target))


def _copy_modules(kernel: Path, version: str, names: Iterable[str], root: Path) -> None:
    """Copy modules and what they depend on, uncompressed and stripped; those the kernel lacks are built in."""
    base = kernel / "lib/modules" / version
    for name in names:
        listed = _run("modprobe", "-d", str(kernel), "-S", version, "-D", "--ignore-install", name, check=False)
        for source in (Path(found) for found in re.findall(r"^insmod (\S+)", listed, re.M)):
            inside = source.relative_to(base)
            target = root / "lib/modules" / version / inside
            target.parent.mkdir(parents=True, exist_ok=True)
            plain = _uncompressed(source, target)
            _run("strip", "--strip-debug", str(plain), check=False)
    for index in ("modules.order", "modules.builtin", "modules.builtin.modinfo"):
        if (base / index).exists():
            shutil.copy(base / index, root / "lib/modules" / version / index)
    _run("depmod", "-b", str(root), version)


def _uncompressed(source: Path, target: Path) -> Path:
    tool = {".xz": "xz", ".zst": "zstd"}.get(source.suffix)
    if tool is None:
        shutil.copy(source, target)
        return target
    target = target.with_suffix("")
    with open(target, "wb") as out:
        subprocess.run([tool, "-dc", str(source)], stdout=out, check=True, timeout=_STEP_S)
    return target


def _fill_root(root: Path, busybox: Path) -> None:
    for folder in _FOLDERS:
        (root / folder).mkdir(parents=True)
    (root / "tmp").chmod(0o1777)
    (root / "root").chmod(0o700)
    shutil.copy(busybox, root / "bin/busybox")
    for applet in _run(str(busybox), "--list").split():
        if applet not in ("busybox", "ar", "mke2fs") and not applet.startswith(("dpkg", "rpm")):
            (root / ("sbin" if applet in _IN_SBIN else "bin") / applet).symlink_to("/bin/busybox")
    programs = [(tool, "sbin") for tool in ("resize2fs", "mke2fs")]
    programs += [("dropbear", "usr/sbin"), ("dropbearkey", "usr/bin"), ("dbclient", "usr/bin")]
    for tool, folder in programs:
        binary = _tool(tool)
        shutil.copy(binary, root / folder / tool)
        for library in re.findall(r"(/\S+) \(0x", _run("ldd", binary)):
            target = root / library.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(library, target)
    (root / "sbin/mkfs.ext4").symlink_to("mke2fs")
    for name in ("inittab", "rc.sysinit", "rc.cloud", "rc.shutdown", "udhcpc.script"):
        _place(name, root / "etc" / name, 0o644 if name == "inittab" else 0o755)
    _accounts(root / "etc", busybox)


def _accounts(etc: Path, busybox: Path) -> None:
    """Users. The password opens the serial console only, which the cloud guards; sshd takes keys alone."""
    password = _run(str(busybox), "mkpasswd", "-m", "sha512", "gomoln").strip()
    files = {
        "passwd": f"root:x:0:0:root:/root:/bin/sh\n{GUEST_LOGIN}:x:1000:1000:guest:/home/{GUEST_LOGIN}:/bin/sh\n",
        "shadow": f"root:*:19000:0:99999:7:::\n{GUEST_LOGIN}:{password}:19000:0:99999:7:::\n",
        "group": f"root:x:0:\n{GUEST_LOGIN}:x:1000:\n",
        "shells": "/bin/sh\n",
        "hostname": "guest\n",
        "hosts": "127.0.0.1 localhost\n",
        "issue": f"Moln guest \\n \\l\nlogin as {GUEST_LOGIN}, password gomoln (console only)\n",
        "nsswitch.conf": "passwd: files\n",
        "profile": "export PATH=/sbin:/bin:/usr/sbin:/usr/bin\n",
    }
    for name, text in files.items():
        (etc / name).write_text(text)
    (etc / "shadow").chmod(0o600)


def _own(root: Path) -> None:
    for path in [root, *root.rglob("*")]:
        mine = path.is_relative_to(root / "home" / GUEST_LOGIN)
        os.chown(path, 1000 if mine else 0, 1000 if mine else 0, follow_symlinks=False)


def _disk(work: Path, root: Path) -> Path:
    """The file system is the whole disk (resize2fs alone grows it); 4 KiB blocks, or extlinux fails."""
    raw, packed, mount = work / "guest.raw", work / "guest.qcow2", work / "mnt"
    with open(raw, "wb") as disk:
        disk.truncate(_SIZE_MIB << 20)
    options = "^64bit,^metadata_csum,^has_journal"
    _run("mke2fs", "-q", "-t", "ext4", "-L", "molnguest", "-O", options, "-b", "4096", "-m", "0", "-d", str(root), str(raw))
    mount.mkdir()
    _run("mount", "-o", "loop", str(raw), str(mount))
    try:
        _run("extlinux", "--install", str(mount / "boot/extlinux"))
    finally:
        _run("umount", str(mount))
    _run("qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", str(raw), str(packed))
    return packed


def _place(name: str, target: Path, mode: int) -> None:
    target.write_bytes(resources.files("moln.guest").joinpath("files", name).read_bytes())
    target.chmod(mode)


def _tool(name: str) -> str:
    found = shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin")
    if found is None:
        raise FileNotFoundError(f"{name} is missing; install {' '.join(HOST_PACKAGES)}")
    return found


def _run(*command: str, cwd: Path | None = None, check: bool = True) -> str:
    program = command[0] if command[0].startswith("/") else _tool(command[0])
    done = subprocess.run([program, *command[1:]], cwd=cwd, check=check, timeout=_STEP_S, text=True, capture_output=True)
    return done.stdout
