"""The systemd unit of a cloud, on hosts that have systemd: it starts with the machine, and systemd is its supervisor's guardian.

docs/adr/0026-systemd.md says why it is as it is.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from moln.host.places import PACKAGE_ROOT, Places
from moln.host.run import SYSTEM_PATH, HostError, run, succeeds
from moln.host.supervise.supervisor import KEPT_ELSEWHERE

NAME = "moln.service"
FOLDER = Path("/etc/systemd/system")
BOOTED = Path("/run/systemd/system")
"""Is there while systemd is the init (sd_booted(3))."""

_TEXT = """\
# Written by `moln install`, which writes it again; changes of your own belong into {name}.d/*.conf.
[Unit]
Description=Moln, a whole IaaS cloud
Wants=network-online.target
After=network-online.target
RequiresMountsFor={folder}
StartLimitIntervalSec=0

[Service]
Type=notify
Environment=PATH={path} LANG=C.UTF-8 {pythonpath}
Environment={home}
WorkingDirectory=/
ExecStartPre={python} -P -m moln.cli.unit prepare
ExecStart={python} -P -m moln.host.supervise unit {run}
ExecStartPost=-{python} -P -m moln.cli.unit finish
ExecStop={python} -P -m moln.cli.unit stop
TimeoutStartSec=600
TimeoutStopSec=150
Restart=always
RestartSec=1
RestartPreventExitStatus={elsewhere}

# Guests, and what they need, are in the unit's control group; nothing that happens to it may end them.
KillMode=process
OOMPolicy=continue
Delegate=yes
TasksMax=infinity
LimitNOFILE=1048576
LimitMEMLOCK=infinity

# Whatever needs a mount namespace (ProtectSystem=, PrivateTmp=, ...) would hide the pool's mount from the host and guests' namespaces
# from libvirt; NoNewPrivileges= would end its confinement of guests. What remains costs nothing that is needed.
CapabilityBoundingSet=~CAP_SYS_BOOT CAP_SYS_TIME CAP_WAKE_ALARM CAP_BLOCK_SUSPEND CAP_SYS_PACCT
LockPersonality=yes
SystemCallArchitectures=native
SystemCallFilter=~@clock @cpu-emulation @obsolete @reboot @swap
SystemCallErrorNumber=EPERM
UMask=0022

[Install]
WantedBy=multi-user.target
"""


def quote(text: str) -> str:
    """One word of a unit file (systemd.syntax(7)): specifiers and variables are no such thing."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$") + '"'


def text(places: Places) -> str:
    """The unit that keeps the cloud of this home, run by this very copy of Moln."""
    def named(name: str, value: Path) -> str:  # Environment= expands no variables
        return quote(f"{name}={value}").replace("$$", "$")

    return _TEXT.format(
        name=NAME, folder=quote(str(places.home)).replace("$$", "$"), path=SYSTEM_PATH, python=quote(sys.executable),
        pythonpath=named("PYTHONPATH", PACKAGE_ROOT), home=named("MOLN_HOME", places.home), run=quote(str(places.supervised)),
        elsewhere=KEPT_ELSEWHERE,
    )  # fmt: skip


def home() -> str | None:
    """The home that the machine's unit keeps; None, when there is no unit."""
    try:
        found = re.search(r'^Environment="MOLN_HOME=(.*)"$', (FOLDER / NAME).read_text(), re.M)
    except OSError:
        return None
    return re.sub(r"\\(.)", r"\1", found[1]).replace("%%", "%") if found else ""


def installed(places: Places) -> bool:
    """Whether the machine's unit is this cloud's."""
    return home() == str(places.home)


def serves(places: Places) -> bool:
    """Whether systemd runs and is to keep this cloud."""
    return BOOTED.is_dir() and installed(places)


def active() -> bool:
    """Whether systemd runs the unit, or is about to."""
    return run_state() in ("active", "activating", "reloading")


def failed() -> bool:
    return run_state() == "failed"


def run_state() -> str:
    return run("systemctl", "show", "-P", "ActiveState", NAME).strip()


def install(places: Places) -> bool:
    """Have the unit there and enabled. Returns whether anything had to be changed. Raises: HostError."""
    if not FOLDER.is_dir() or not succeeds("systemctl", "--version"):
        raise HostError("this host has no systemd; `moln up --detach` keeps the cloud running, but somebody must run it after a boot")
    if (other := home()) is not None and other != str(places.home):
        raise HostError(f"{NAME} keeps the cloud in {other or 'another place'}; end that first: moln install --uninstall --home {other}")
    wanted, file = text(places), FOLDER / NAME
    changed = not file.exists() or file.read_text() != wanted
    if changed:
        new = file.with_suffix(".new")
        new.write_text(wanted)
        new.chmod(0o644)
        new.replace(file)
        reload()
    if not succeeds("systemctl", "is-enabled", "--quiet", NAME):
        run("systemctl", "enable", "--quiet", NAME)
        changed = True
    return changed


def uninstall(places: Places) -> bool:
    """Stop the cloud where systemd keeps it (guests go on), and take the unit away. False: there was none of this cloud's."""
    if not installed(places):
        return False
    if BOOTED.is_dir():
        stop()
    run("systemctl", "disable", "--quiet", NAME)
    (FOLDER / NAME).unlink(missing_ok=True)
    reload()
    if BOOTED.is_dir():
        succeeds("systemctl", "reset-failed", NAME)
    return True


def reload() -> None:
    """Have systemd read its units, where it runs; elsewhere (an image that is being made) the next boot does."""
    if BOOTED.is_dir():
        run("systemctl", "daemon-reload")


def start() -> None:
    """Begin; nobody waits for the end of it. Raises: HostError."""
    run("systemctl", "start", "--no-block", NAME)


def wait_started() -> None:
    """Until the start that is under way has ended. Raises: HostError."""
    run("systemctl", "start", NAME, timeout_s=600)


def stop() -> None:
    """Raises: HostError."""
    run("systemctl", "stop", NAME, timeout_s=200)
