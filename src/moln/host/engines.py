"""All of the engines together: their plan, up and down.

python -m moln.host.engines up|down|purge|status --home DIR: the engines without Moln's own processes, for those who
work on a driver. The machine's role is that of host/machine.json in the home, where there is one.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

from moln.host import chrony, control, libvirt, made, ovn, pool, provider, roles, tunnels, unit, users
from moln.host.libvirt import guests
from moln.host.ovs import PREFIX, Ovs, others
from moln.host.places import SHARED, Places, default_home
from moln.host.processes import descendants
from moln.host.roles import ALONE, Machine, Part
from moln.host.run import HostError, run, succeeds
from moln.host.settings import HostSettings
from moln.host.setup import prepare
from moln.host.steps import Steps
from moln.host.supervise.plan import Engine, Plan
from moln.host.supervise.processes import Identity, send

FOR_GUESTS = ["virtlogd", "ovsdb-vswitch", "ovs-vswitchd"]
"""What guests that keep running after `down` go on needing: their console logs and their network."""


MOST_TRIES, PATIENCE_S = 4, 10.0
"""`up` gives up on an engine that ended so often, so long; the supervisor never does."""


def plan(places: Places, settings: HostSettings, chosen: Ovs, more: list[Engine], machine: Machine = ALONE) -> Plan:
    """more: Moln's own processes; they start when the engines that they need are ready, those of them that this machine runs."""
    engines = ovn.engines(places, chosen, settings, machine.called, machine) + (
        libvirt.engines(places) if Part.GUESTS in machine.parts else [])
    engines += more
    names = {e.name for e in engines}
    return Plan([replace(e, needs=[n for n in e.needs if n in names]) for e in engines], str(places.log), settings.log_limit_mib << 20)


def up(places: Places, settings: HostSettings, steps: Steps, more: list[Engine], machine: Machine = ALONE, *,
       timeout_s: float = 120) -> bool:  # fmt: skip
    """Set up the machine and have everything running. Returns whether anything had to be started.

    Raises: HostError, with what is not ready and where its log lies.
    """
    chosen = prepare(places, settings, steps, machine)
    with steps("Engines"):
        return start(places, plan(places, settings, chosen, more, machine), steps, timeout_s=timeout_s)


def start(places: Places, wanted: Plan, steps: Steps, *, timeout_s: float) -> bool:
    """Have a plan followed until all of it is ready. Raises: HostError."""
    changed = control.ensure_supervisor(places, wanted)
    seen: set[str] = set()

    def tell(state: control.State) -> None:
        for engine in state["engines"]:
            if engine["state"] == "ready" and engine["name"] not in seen:
                seen.add(engine["name"])
                if changed:
                    steps.note(f"{engine['name']} is ready (pid {engine['pid']})")

    names = {e.name for e in wanted.engines}
    before: dict[str, int] = {}
    began = time.monotonic()

    def good(state: control.State) -> bool:
        for engine in state["engines"]:
            tries = engine["starts"] - before.setdefault(engine["name"], engine["starts"])
            if engine["state"] == "backoff" and tries >= MOST_TRIES and time.monotonic() - began > PATIENCE_S:
                raise HostError(f"{engine['name']} {engine['reason']}: {last_words(places, engine['name'])}\n"
                                f"It is tried again and again; see: moln logs {engine['name']} --home {places.home}")
        return {e["name"] for e in state["engines"]} == names and control.all_ready(state)

    try:
        control.wait_until(places, good, timeout_s=timeout_s, each=tell)
    except TimeoutError as error:
        raise HostError(str(error)) from error
    return changed


def last_words(places: Places, engine: str) -> str:
    """The end of its log."""
    with contextlib.suppress(OSError):
        lines = (places.log / f"{engine}.log").read_text(errors="replace").strip().splitlines()
        return "\n".join(lines[-4:]) or "it said nothing"
    return "it said nothing"


def down(places: Places, steps: Steps) -> list[str]:
    """Stop everything but guests and what they need. Returns the guests that go on. Raises: TimeoutError."""
    kept = guests(places)
    with steps("Stop"):
        if unit.serves(places):
            unit.stop()  # which comes back to `stop`
        stop(places)
    return kept


def stop(places: Places) -> None:
    """The same, whoever started them. Raises: TimeoutError."""
    control.stop(places, keep=FOR_GUESTS if guests(places) else [])


def purge(places: Places, steps: Steps) -> None:
    """Stop everything, guests too, and take away all that we made. Raises: HostError, TimeoutError."""
    if unit.installed(places):
        with steps("Remove the systemd unit"):
            unit.uninstall(places)
    with steps("Stop engines and guests"):
        stop_guests(places)
        control.stop(places, keep=[])
        for file in places.supervised.glob("*.pid"):     # those that an earlier `down` left for the guests' sake
            found = Identity.read(file)
            if found and (fd := found.open()) is not None:
                send(fd, signal.SIGKILL)
        for pid in descendants(places):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    with steps("Remove devices, routes, rules"):
        remove_plugged(places)
        tunnels.remove_tunnels(places)
        chrony.remove(places)
        provider.remove_provider(places)
    with steps("Remove files and users"):
        for mount in mounts_below(places.home, Path("/proc/self/mounts").read_text()):
            if mount != str(places.pool):
                run("umount", "-l", mount)
        pool.remove_pool(places)
        if places.home.exists():
            shutil.rmtree(places.home)
        leave_shared(places)


def stop_guests(places: Places) -> None:
    """SIGKILL, by the pid files that libvirt keeps: their disks go too, so there is nothing to save."""
    for file in (places.libvirt / "run/qemu").glob("*.pid"):
        if file.stem in guests(places):
            succeeds("kill", "-9", file.read_text().strip())


def remove_plugged(places: Places) -> None:
    """Guests' taps and the like that outlast whoever used them, and what the userspace datapath leaves behind."""
    if not (places.ovs / "conf.db").exists():
        return
    if provider.link_exists("ovs-netdev") and not others(places.ovs):
        succeeds("ip", "link", "delete", "ovs-netdev")
    try:
        names = ovn.plugged(places, Ovs("", PREFIX if (PREFIX / ".complete").exists() else Path("/")))
    except HostError:
        return       # a set-up that never got its packages has plugged nothing
    for name in names:
        if provider.link_exists(name):
            succeeds("ip", "link", "delete", name)


def mounts_below(folder: Path, mounts: str) -> list[str]:
    """Mount points below a folder, the innermost first. mounts: /proc/self/mounts."""
    points = [line.split()[1].replace("\\040", " ") for line in mounts.splitlines() if line]
    return sorted((p for p in points if p.startswith(f"{folder}/")), key=len, reverse=True)


def leave_shared(places: Places, *, program: bool = True) -> None:
    """The last cloud of the machine takes with it what they shared: users, newer OVS and, with `program`, the installed
    copy of Moln."""
    if os.geteuid() != 0 or not SHARED.is_dir():
        return
    with made.shared() as record:
        record.homes = [h for h in record.homes if h != str(places.home) and Path(h).exists()]
        if record.homes:
            return
        users.remove_users(record.users)
        record.users = []
    shutil.rmtree(PREFIX, ignore_errors=True)
    made.forget_shared()
    if program and (SHARED / "venv/.moln-made-from").exists():  # by ./moln; what pip installed there stays
        shutil.rmtree(SHARED / "venv", ignore_errors=True)
    if not any(SHARED.iterdir()):
        SHARED.rmdir()


def main() -> int:
    from moln.cli.progress import Progress

    parser = argparse.ArgumentParser(prog="python -m moln.host.engines")
    parser.add_argument("do", choices=["up", "down", "purge", "status"])
    parser.add_argument("--home", type=Path, default=default_home())
    parser.add_argument("--pool-gib", type=int, default=0)
    args = parser.parse_args()
    places = Places(args.home.absolute())
    steps = Progress()
    try:
        match args.do:
            case "up":
                up(places, HostSettings(pool_size_gib=args.pool_gib), steps, [], roles.read(places))
            case "down":
                down(places, steps)
            case "purge":
                purge(places, steps)
            case "status":
                for engine in control.status(places)["engines"]:
                    print(engine["name"], engine["state"], engine["pid"], engine["reason"])
    except (HostError, control.NotRunning, TimeoutError) as error:
        print(f"moln: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
