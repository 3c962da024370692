"""Runs in a process of its own: first gives up what it can, then sniffs an image or becomes qemu-img.

    sandbox_child.py LIMITS sniff             the image is file descriptor 0; prints JSON {"formats", "virtual_size", "unsafe"}
    sandbox_child.py LIMITS unpack KIND TARGET  the file is descriptor 0, TARGET that of an empty one
    sandbox_child.py LIMITS exec PROGRAM ARGS...
    LIMITS is JSON {"cpu_s", "memory", "file_size"}: seconds, bytes, bytes.

It imports nothing of moln but the file beside it, so that `python -I` on the file's path is enough.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import resource
import signal
import sys
from collections.abc import Callable

HEAD = 16 << 20  # bytes given to the sniffer from the start, which hold every header that qemu reads first
TAIL = 1 << 20  # and from the end (VMDK's footer)
STEP = 64 << 10
MAGIC = (  # what QEMU, left to itself, goes by: an offset, the bytes there, and our name of the format
    (0, b"QFI\xfb\0\0\0\1", "qcow"), (0, b"QFI\xfb", "qcow2"), (0, b"QED\0", "qed"), (0, b"KDMV", "vmdk"), (0, b"COWD", "vmdk"), (0, b"conectix", "vhd"),
    (0, b"vhdxfile", "vhdx"), (0x40, b"\x7f\x10\xda\xbe", "vdi"),
)  # fmt: skip
NOBODY = 65534
PR_SET_NO_NEW_PRIVS = 38
PR_SET_DUMPABLE = 4


def confine(limits: dict[str, int]) -> None:
    """Lower every limit for good, and stop being root when it is."""
    for kind, value in (
        (resource.RLIMIT_CPU, limits["cpu_s"]),
        (resource.RLIMIT_AS, limits["memory"]),
        (resource.RLIMIT_FSIZE, limits["file_size"]),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 64),
    ):
        resource.setrlimit(kind, (value, value))
    os.chdir("/")
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "PR_SET_NO_NEW_PRIVS")
    os.nice(5)


def sniff() -> dict[str, object]:
    """What the content of descriptor 0 is, judged by oslo.utils' inspectors on its head and its tail."""
    import logging

    logging.disable(logging.CRITICAL)
    from oslo_utils.imageutils import format_inspector as fi

    size = os.fstat(0).st_size
    spans = [(0, size)] if size <= HEAD + TAIL else [(0, HEAD), (size - TAIL, size)]
    wrapper = fi.InspectWrapper(open(0, "rb", buffering=0, closefd=False))  # noqa: SIM115 (descriptor 0 stays ours)
    for start, end in spans:
        os.lseek(0, start, os.SEEK_SET)
        while start < end:
            got = len(wrapper.read(min(STEP, end - start)))
            if not got:
                break
            start += got
    wrapper.close()
    found = wrapper.formats or []
    unsafe, virtual_size = [], 0
    for inspector in found:
        try:
            inspector.safety_check()
        except Exception as error:
            if str(inspector) != "gpt":  # an odd partition table endangers nobody: it is the guest's
                unsafe.append(str(error)[:200])
        if str(inspector) not in ("raw", "gpt", "iso", "luks"):
            virtual_size = int(inspector.virtual_size)
    os.lseek(0, 0, os.SEEK_SET)
    return {"formats": sorted({str(i) for i in found} | looks_like(os.read(0, STEP))), "virtual_size": virtual_size, "unsafe": unsafe}


def looks_like(head: bytes) -> set[str]:
    """What QEMU would take it for, however broken the rest is: the inspectors call that raw, and it must never be."""
    found = {name for at, magic, name in MAGIC if head.startswith(magic, at)}
    found -= {"qcow2"} if "qcow" in found else set()
    lines = (line.strip() for line in head.split(b"\n"))
    first = next((line for line in lines if line and not line.startswith(b"#")), b"")
    return found | {"vmdk"} if first in (b"version=1", b"version=2", b"version=3") else found


def unpack(work: Callable[[str, int], int], kind: str, target: int) -> int:
    """An exit status: 0 done, 27 (EFBIG) it grew too large, 1 it is damaged."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        work(kind, target)
    except OSError as error:
        print(f"{type(error).__name__}: {error}")
        return error.errno if error.errno in (errno.EFBIG, errno.ENOSPC, errno.EDQUOT) else 1
    except Exception as error:
        print(f"{type(error).__name__}: {error}")
        return 1
    return 0


def main() -> None:
    if sys.argv[2] == "unpack":  # while the file beside this one can be read
        sys.path.append(os.path.dirname(os.path.abspath(__file__)))
        from sandbox_unpack import unpack as work
    confine(json.loads(sys.argv[1]))
    if sys.argv[2] == "sniff":
        print(json.dumps(sniff()))
    elif sys.argv[2] == "unpack":
        sys.exit(unpack(work, sys.argv[3], int(sys.argv[4])))
    else:
        os.execvp(sys.argv[3], sys.argv[3:])


if __name__ == "__main__":
    main()
