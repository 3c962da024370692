"""How far off this machine's clock is, by whoever keeps it."""

from __future__ import annotations

import ctypes
import os
import subprocess
from pathlib import Path

from moln.host.run import SYSTEM_PATH

CHRONY_S = 5.0
SOCKET = "host/chrony/run/chronyd.sock"  # of a chronyd that the supervisor keeps, in the home
UNKEPT = 0x0040  # STA_UNSYNC, linux/timex.h
NOT_SYNCHRONISED = "Not synchronised"  # chronyc's leap status


class _Timex(ctypes.Structure):
    """struct timex (adjtimex(2)): what comes first, and room for the rest."""

    _fields_ = [
        ("modes", ctypes.c_uint), ("offset", ctypes.c_long), ("freq", ctypes.c_long), ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long), ("status", ctypes.c_int), ("more", ctypes.c_byte * 256),
    ]  # fmt: skip


def off_ms() -> float | None:
    """Milliseconds, never negative: by chrony, else as the kernel estimates. None: nobody keeps the clock, or nobody says. Blocks."""
    found = by_chrony()
    return by_kernel() if found is None else found


def by_chrony(home: str = "") -> float | None:
    """None: there is no chrony here, or it follows nobody yet. home: of the cloud, whose own chronyd comes first (MOLN_HOME, unless told)."""
    own = Path(home or os.environ.get("MOLN_HOME", "/nonexistent"), SOCKET)
    asked = ["-h", str(own)] if own.exists() else []
    try:
        done = subprocess.run(["chronyc", *asked, "-c", "tracking"], capture_output=True, text=True, timeout=CHRONY_S, check=True,
                              env={"PATH": os.environ.get("PATH", SYSTEM_PATH), "LANG": "C.UTF-8"})  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return tracked(done.stdout)


def tracked(text: str) -> float | None:
    """Of `chronyc -c tracking`: the fifth value is how many seconds the system's clock is off, the last one whether that is known."""
    fields = text.strip().split(",")
    try:
        return None if fields[-1] == NOT_SYNCHRONISED else abs(float(fields[4])) * 1000
    except (ValueError, IndexError):
        return None


def by_kernel() -> float | None:
    """The estimate that whoever keeps the clock gave to the kernel (systemd-timesyncd, ntpd)."""
    told = _Timex()
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.adjtimex(ctypes.byref(told)) < 0:
            return None
    except (OSError, AttributeError):
        return None
    return None if told.status & UNKEPT else told.esterror / 1000
