"""The system users: one for the controller and OVN's databases, one for guests."""

from __future__ import annotations

import grp
import os
import pwd
import sys
from pathlib import Path

from moln.host import made
from moln.host.places import GUEST_USER, PACKAGE_ROOT, USER
from moln.host.run import run, succeeds

LIBVIRT_DEFAULT = "libvirt-qemu"
"""Debian's libvirtd looks this user up before it reads qemu.conf, and ends without it; its packages make it in the half
that we do not install. Nothing runs as it."""


def ensure_users(*more: str) -> list[str]:
    """Create those that do not exist, and `more` of them. Returns the names of the new ones; they are recorded as ours beforehand."""
    debian = (LIBVIRT_DEFAULT,) if Path("/etc/debian_version").exists() else ()
    new = [name for name in (USER, GUEST_USER, *debian, *more) if not _exists(name)]
    if new:
        with made.shared() as record:
            record.users = sorted({*record.users, *new})
        with made.shared():  # one at a time: another cloud of this machine may be set up meanwhile
            new = [name for name in new if not _exists(name)]
            for name in new:
                run("useradd", "--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent",
                    "--shell", "/usr/sbin/nologin", name)
    # Guests use KVM through the group that udev gives /dev/kvm to.
    if _group_exists("kvm") and GUEST_USER not in grp.getgrnam("kvm").gr_mem:
        run("usermod", "--append", "--groups", "kvm", GUEST_USER)
    return new


def remove_users(names: list[str]) -> None:
    """Those given, where they still exist. Raises: HostError."""
    for name in names:
        if _exists(name):
            run("userdel", name)
        if _group_exists(name):
            succeeds("groupdel", name)


def run_module(name: str, *arguments: str | Path, input: str | None = None) -> None:
    """`python -m NAME` of this very copy of Moln as the controller's user, for what that user's folders hold: root writes nothing where others may.

    Raises: HostError, with its last words.
    """
    run("setpriv", f"--reuid={USER}", f"--regid={USER}", "--init-groups", sys.executable, "-P", "-m", name, *arguments, input=input,
        env={"PYTHONPATH": str(PACKAGE_ROOT), "PYTHONDONTWRITEBYTECODE": "1"})  # fmt: skip


def ids(name: str = USER) -> tuple[int, int]:
    """uid, gid. Raises: KeyError."""
    entry = pwd.getpwnam(name)
    return entry.pw_uid, entry.pw_gid


def own(path: os.PathLike[str], user: str | None, group: str | None, mode: int) -> None:
    """Have owner, group and mode as asked; None: root."""
    wanted = (ids(user)[0] if user else 0), (ids(group)[1] if group else 0)
    found = os.stat(path)
    if (found.st_uid, found.st_gid) != wanted:
        os.chown(path, *wanted)
    if found.st_mode & 0o7777 != mode:
        os.chmod(path, mode)


def _exists(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def _group_exists(name: str) -> bool:
    try:
        grp.getgrnam(name)
    except KeyError:
        return False
    return True
