"""`moln controller recover`: too few of several controllers are left for anything to be written, and the others are lost for good. This one goes on alone."""

from __future__ import annotations

import argparse
import os
import time

from moln.cli import admin
from moln.cli.commands import up
from moln.cli.progress import Progress
from moln.cli.unit import NOTHING_ASKED
from moln.host import control, engines, packages, processes, recovery, roles, setup
from moln.host.places import Places
from moln.host.roles import Machine, bracketed
from moln.host.run import HostError
from moln.kernel import config, notifications

PROMOTE_S, LOOK_S = 120.0, 1.0
FURTHER = "The same command with --accept-data-loss has it take writes nevertheless. If the disk of another one is still to be had, that may be the better one to go on with."


def recover(args: argparse.Namespace) -> int:
    """May be asked for again, whatever it died of. Status 1: nothing was changed, and it says what to type. Raises: HostError, NotRunning, TimeoutError."""
    places, steps = Places(args.home), Progress()
    machine = roles.read(places)
    if os.geteuid() != 0:
        raise HostError("Only root can recover a controller.")
    recovery.check(machine)
    others = recovery.others(places, machine)
    if not others:
        raise HostError("There is no other controller: this one's members are clusters of one already. Start it: moln up")
    if there := recovery.answering(others):
        raise HostError(f"Nothing was changed: {recovery.described(there)}. Who answers is not lost, and two clouds would come of this one. With more than half of the controllers "
                        "up nothing is to be recovered: moln doctor. If that machine is not wanted any more: moln down --purge there.")  # fmt: skip
    lacks = missing(places, machine)
    if set(args.lost) != set(others) or (lacks and not args.accept_data_loss):
        return tell_before(places, machine, others, lacks)
    go(places, machine, others, args.accept_data_loss, steps)
    up.run(argparse.Namespace(home=args.home, detach=True, demo=False, **vars(NOTHING_ASKED)))
    url, names = forget(places, others)
    recovery.end(places)
    tell_after(places, machine, url, names)
    return 0


def missing(places: Places, machine: Machine) -> str | None:
    """Why the database here may lack what was answered; empty: it does not; None: etcd cannot be asked before it has a majority."""
    from moln.kernel.controllers.lone import Lone, missing
    from moln.kernel.errors import Failure

    if not machine.postgresql:
        return ""
    if "etcd" not in machine.clusters:
        return "the etcd that was given is not asked here who confirmed what (patronictl list)"
    try:
        return missing(machine.called, Lone(places.home, machine.address).sync())
    except (Failure, OSError):
        return None


def tell_before(places: Places, machine: Machine, others: list[str], lacks: str | None) -> int:
    words = " ".join(["moln controller recover", *(f"--lost {address}" for address in others), *(["--accept-data-loss"] if lacks else [])])
    print(f"Nothing was changed. {machine.called} ({machine.address}) has members of {', '.join(machine.clusters)}. The other controllers were at {', '.join(others)}; "
          "nobody answers there.")  # fmt: skip
    if recovery.begun(places) is not None:
        print("But a recovery was begun here, and did not end: the others cannot be gone back to.")
    if machine.postgresql:
        print(f"PostgreSQL here: {standing(lacks)}")
    print(f"If one of them can be started again, do that. If all of them are lost for good, and will never be started again:\n  {words}")
    return 1


def standing(lacks: str | None) -> str:
    if lacks is None:
        return "whether it has all that was answered etcd can say once it is recovered; you will be asked if it may not."
    return f"what was answered last may be missing. {lacks}. It needs your word: --accept-data-loss" if lacks else "it has all that was answered, by what etcd heard last."


def go(places: Places, machine: Machine, others: list[str], accepted: bool, steps: Progress) -> None:
    """Until engines run as clusters of one. Raises: HostError, TimeoutError."""
    settings: up.Settings = config.load(places.settings, up.Settings)
    ovs = setup.choose_ovs(packages.here(), places)
    engines.down(places, steps)
    machine = recovery.alone(places, ovs, machine, recovery.begin(places, ovs, machine, others), steps)
    chosen = setup.prepare(places, settings.host, steps, machine)
    more = processes.real(places, up.remembered(places, NOTHING_ASKED, settings), machine)
    with steps("Engines"):
        control.ensure_supervisor(places, engines.plan(places, settings.host, chosen, more, machine))
    if machine.postgresql:
        with steps("PostgreSQL takes writes"):
            promote(places, machine, accepted, steps)


def promote(places: Places, machine: Machine, accepted: bool, steps: Progress) -> None:
    """Raises: HostError, when it may lack something and nobody said that it may; TimeoutError."""
    from moln.kernel.controllers.lone import PRIMARY, Lone
    from moln.kernel.errors import Failure

    lone, ends, why = Lone(places.home, machine.address), time.monotonic() + PROMOTE_S, ""
    while time.monotonic() < ends:
        try:
            server = lone.server()
            if server.role in PRIMARY:
                return
            lacks = missing(places, machine)
            if lacks and not accepted:
                raise HostError(f"Engines here are clusters of one, but PostgreSQL may lack what was answered last: {lacks}. Its last transaction is of "
                                f"{server.xlog.replayed_timestamp}. {FURTHER}")  # fmt: skip
            if lacks is not None:
                why = lone.promote(machine.called)
        except (Failure, OSError) as failure:
            why = str(failure)
        time.sleep(LOOK_S)  # it copies nothing, but starts, and reads what is in its log
    raise TimeoutError(f"PostgreSQL does not take writes after {PROMOTE_S:g} s ({why}); see log/postgresql.log, and run the same again")


def forget(places: Places, others: list[str]) -> tuple[str, list[str]]:
    """Rows of those that are lost. Where this one's APIs are; the names of those."""
    own, names = "", []
    for found in admin.ask(places, "controllers"):
        if found["here"]:
            own = found["url"]
        elif any(f"//{bracketed(address)}:" in found["url"] for address in others):
            admin.ask(places, "controllers", found["name"], method="DELETE", lost="true")
            names.append(found["name"])
    return own, names


def tell_after(places: Places, machine: Machine, url: str, names: list[str]) -> None:
    print(f"{machine.called} is the only controller of the cloud now. Forgotten: {', '.join(names) or 'nobody who was not before'}.")
    print("Next:")
    print(f"- Have two others join: moln controller token here, moln controller join {url} there, in new homes. "
          "Until then all that is written is on this machine alone.")  # fmt: skip
    print("- Never start the lost ones again, and destroy their disks. They know every key of the cloud. If somebody may have them, before others join: "
          f"moln controller remove {names[0] if names else 'NAME'} --stolen")  # fmt: skip
    print("- Clients: public_url in moln.toml, if it names a machine that is lost.")
    if notifications.wanted(places.home):
        print("- Notifications go out again when two others have joined, and wait in the database until then. Those that were kept and not read yet are not told again.")
