"""nbdkit's processes (nbdkit(1)): one for each volume that is lent to one host, one for each that is opened here. Plain functions; they block.

They outlive whoever starts them, as QEMU's do. They are found again by their command line, which names the file with their key and no secret.
Each has a socket that is bound for it (systemd's protocol: file descriptor 3), a user of its own and small bounds, and gets no privileges.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import select
import signal
import socket
import struct
from pathlib import Path

from msgspec import Struct

from moln.host.packages import have
from moln.host.supervise.processes import start_time
from moln.kernel.errors import BackendRefused, BackendUnreachable
from moln.volume.drivers.base import Export

END_S = 10.0  # for which a process that was killed may be in the kernel
THREADS = 16  # requests of one guest that are at work at once
RETRIES = 1_000_000  # of one request, a second apart: a guest waits for its volume as it would for a slow disk
CONNECT_S = 5  # for which an exporter that is just being started anew is waited for
ACCESS = "system.posix_acl_access"
BEGIN = """/bin/sh -c 'while [ "$(cut -d" " -f4 /proc/$$/stat)" = "$1" ]; do sleep 0.01; done
shift; ulimit -c 0; ulimit -n 256; ulimit -v 4194304; export LISTEN_PID=$$; exec "$@"' sh $$ "$@" >/dev/null & echo $!"""
"""A shell begins it and ends: nbdkit with a socket of systemd's kind ends with its parent (prctl(2), PR_SET_PDEATHSIG), so that has to be the one
that reaps orphans before nbdkit begins."""
KEY = "key"


class Process(Struct, frozen=True):
    """began: clock ticks after the machine's start, as a pid alone is another process's some day."""

    pid: int
    began: int


def serving(volume: Path, folder: Path, export: Export) -> list[str]:
    """The command that lends a raw file by TLS with a key of its own."""
    return ["nbdkit", "--log=syslog", f"--threads={THREADS}", "--tls=require", f"--tls-psk={folder / KEY}", "--filter=exportname", "file",
            f"file={volume}", f"exportname={export.name}", "exportname-strict=true"]  # fmt: skip


def opening(folder: Path, export: Export) -> list[str]:
    """The command that opens what another host lends, and goes on trying where that breaks off."""
    host, _, port = export.address.rpartition(":")
    return ["nbdkit", "--log=syslog", f"--threads={THREADS}", "--filter=retry", "nbd", f"hostname={host.strip('[]')}", f"port={port}",
            f"export={export.name}", "tls=require", f"tls-psk={folder / KEY}", f"tls-username={export.host}", f"retry={CONNECT_S}",
            f"retries={RETRIES}", "retry-delay=1", "retry-exponential=no"]  # fmt: skip


def start(command: list[str], listening: socket.socket, user: str | None) -> Process:
    """user: whose it is to be; None: ours. Raises: BackendRefused, where it cannot be started."""
    program = have(command[0])
    if program is None:
        raise BackendRefused(f"This host has no {command[0]}: it neither lends volumes nor opens those of others.")
    drop = []
    if user is not None:
        uid, gid = ids(user)
        drop = ["/usr/bin/setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups", "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"]
    argv = [*drop, "/bin/sh", "-c", BEGIN, "sh", program, *command[1:]]
    kept = {name: os.environ[name] for name in ("MOLN_HOME", "MOLN_ENGINE") if name in os.environ}  # so that a purge finds it
    env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "LISTEN_FDS": "1", **kept}
    said, out = os.pipe2(os.O_CLOEXEC)
    files = [(os.POSIX_SPAWN_OPEN, n, "/dev/null", os.O_RDWR, 0) for n in (0, 2)] + [(os.POSIX_SPAWN_DUP2, out, 1), (os.POSIX_SPAWN_DUP2, listening.fileno(), 3)]
    try:
        shell = os.posix_spawn(argv[0], argv, env, file_actions=files, setsid=True, setsigmask=[], setsigdef=[signal.SIGPIPE, signal.SIGTERM, signal.SIGINT])
        os.waitpid(shell, 0)
    except OSError as error:
        raise BackendRefused("This host cannot start nbdkit.", detail=str(error)) from None
    finally:
        os.close(out)
        with open(said, "rb") as told:
            text = told.read(64).strip()
    if not text.isdigit():
        raise BackendRefused("This host cannot start nbdkit.")
    return Process(int(text), start_time(int(text)) or 0)


def stop(process: Process) -> None:
    """It is gone when this returns. Raises: BackendUnreachable, when the kernel does not let go of it."""
    try:
        fd = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return
    try:
        if ended(process):
            return
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(fd, signal.SIGKILL)
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        if not poll.poll(END_S * 1000):
            raise BackendUnreachable("A process that lends a volume does not end.")
    finally:
        os.close(fd)
    ended(process)


def ended(process: Process) -> bool:
    """Whether it runs no more. A child of ours is let go of."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(process.pid, os.WNOHANG)
    return start_time(process.pid) != process.began


def running(below: Path) -> dict[Path, list[Process]]:
    """By the folders, below this one, that their keys lie in."""
    found: dict[Path, list[Process]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        began = start_time(int(folder.name))
        try:
            words = (folder / "cmdline").read_bytes().decode("utf-8", "replace").split("\0")
        except OSError:
            continue
        for word in words:
            key = Path(word.partition("tls-psk=")[2])
            if began is not None and key.name == KEY and key.is_relative_to(below):
                found.setdefault(key.parent, []).append(Process(int(folder.name), began))
    return found


def let_in(volume: Path, user: str | None) -> None:
    """The user may read and write the file, whoever owns it: libvirt gives it to QEMU's user and takes it back. Raises: BackendRefused."""
    if user is None:
        return
    nobody = 0xFFFFFFFF
    entries = ((0x01, 6, nobody), (0x02, 6, ids(user)[0]), (0x04, 0, nobody), (0x10, 6, nobody), (0x20, 0, nobody))  # acl(5): owner, user, group, mask, others
    try:
        os.setxattr(volume, ACCESS, struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries))
    except FileNotFoundError:
        raise BackendRefused("The pool has no such volume.") from None
    except OSError as error:
        raise BackendRefused("The pool's file system keeps no access control lists, by which volumes are lent.", detail=str(error)) from None


def shut_out(volume: Path) -> None:
    """The file is its owner's alone again. Nothing, where there is none."""
    with contextlib.suppress(OSError):
        os.removexattr(volume, ACCESS)
        os.chmod(volume, 0o600)


def ids(user: str) -> tuple[int, int]:
    """uid, gid. Raises: BackendRefused."""
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        raise BackendRefused(f"This host was set up without the user {user}: moln up makes it.") from None
    return entry.pw_uid, entry.pw_gid
