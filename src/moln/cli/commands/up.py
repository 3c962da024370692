"""Start the cloud: set up the machine where needed, then have everything running."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import time
from typing import Any

import msgspec

from moln.cli import admin, credentials
from moln.cli.progress import Progress
from moln.cli.settings_file import write_database_url
from moln.console.build import BuildError, ensure
from moln.console.library import installed
from moln.host import engines, packages, processes, roles, setup, unit
from moln.host.control import NotRunning
from moln.host.places import Places, default_home
from moln.host.processes import Choices
from moln.host.roles import Machine, Part
from moln.host.run import HostError
from moln.host.settings import HostSettings
from moln.host.supervise.plan import Plan
from moln.kernel import config

HELP = "start the cloud"
FIRST_NODE_S = 60.0


class Settings(msgspec.Struct, frozen=True):
    """What of moln.toml matters before the cloud runs."""

    host: HostSettings = msgspec.field(default_factory=HostSettings)
    simulate: bool = False


class Database(msgspec.Struct, frozen=True):
    database_url: str = ""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--port", type=int, help="the APIs' port (default: what it was, or 5000)")
    parser.add_argument("--listen", metavar="ADDRESS", help="the APIs' address (default: what it was, or 127.0.0.1)")
    parser.add_argument("--tls", action=argparse.BooleanOptionalAction, help="serve https, with a certificate of the cloud's own authority")
    parser.add_argument("--database-url", metavar="URL", help="have a new cloud's database in PostgreSQL: postgresql://USER@HOST/NAME")
    parser.add_argument("--detach", action="store_true", help="return once the cloud answers")
    parser.add_argument("--demo", action="store_true", help="boot a first server and log in to it")
    parser.add_argument("--simulate", action="store_true", default=None,
                        help="without root, guests or networks: everything else is real")
    parser.add_argument("--nodes", type=int, help="how many hypervisors to simulate")


def run(args: argparse.Namespace) -> int:
    places, steps = Places(args.home), Progress()
    if getattr(args, "database_url", None):
        choose_database(places, args.database_url, steps, simulate=bool(args.simulate))
    settings: Settings = config.load(places.settings, Settings)
    choices = remembered(places, args, settings)
    machine = roles.read(places)
    if kept_by_systemd := unit.serves(places):
        unit.install(places)      # as this copy of Moln writes it
        remember(places, choices)  # the unit reads them
    if choices.simulate:
        changed = up_simulated(places, choices, settings, steps)
    else:
        changed = up_real(places, choices, settings, steps, machine)
    remember(places, choices)
    if Part.CENTRAL not in machine.parts:
        return stay(places, steps, kept_by_systemd, args.detach, f"\n{machine.called} is a node of the cloud at {', '.join(machine.controllers)}.")
    ensure_consoles(places, steps)
    with steps("First node" if Part.GUESTS in machine.parts else "Controller"):
        answer = wait_for_node(places, least=1 if Part.GUESTS in machine.parts else 0)
    credentials.write(places, answer["public_url"], answer["cacert"])
    if args.demo:
        tell_demo(places, answer["public_url"], answer["cacert"], settings, steps)
    return stay(places, steps, kept_by_systemd, args.detach, welcome(places, answer, changed))


def stay(places: Places, steps: Progress, kept_by_systemd: bool, detach: bool, welcoming: str) -> int:
    """Say that it runs. Without --detach and systemd it runs as long as this command."""
    print(welcoming, flush=True)
    if kept_by_systemd and unit.active():
        unit.wait_started()
        print(f"systemd keeps it: systemctl status {unit.NAME}", flush=True)
    elif not detach:
        print("Ctrl-C stops it.", flush=True)
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            signal.pause()
        except KeyboardInterrupt:
            engines.down(places, steps)
    return 0


def remembered(places: Places, args: argparse.Namespace, settings: Settings) -> Choices:
    """This command's options over those of the last one. Raises: HostError, when they ask for another kind of cloud."""
    old = None
    if places.choices.exists():
        old = msgspec.json.decode(places.choices.read_bytes(), type=Choices)
    simulate = args.simulate if args.simulate is not None else (old.simulate if old else settings.simulate)
    if old and old.simulate != simulate:
        kind = "simulated" if old.simulate else "real"
        raise HostError(f"{places.home} holds a {kind} cloud; choose another --home")
    old = old or Choices()
    return Choices(port=args.port or old.port, listen=args.listen or old.listen, simulate=simulate,
                   nodes=args.nodes or old.nodes, tls=old.tls if args.tls is None else args.tls)


def choose_database(places: Places, url: str, steps: Progress, *, simulate: bool) -> None:
    """Write it into moln.toml before the cloud begins. Raises: HostError, when it has begun elsewhere."""
    settings: Database = config.load(places.settings, Database)
    if settings.database_url == url:
        return
    if settings.database_url or (places.home / "cloud.db").exists():
        raise HostError(f"{places.home} holds a cloud with another database; moln grow --to URL moves one from SQLite to PostgreSQL.")
    if not simulate and os.geteuid() == 0:
        setup.make_home(places)
    places.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    setup.ensure_extra("scale", places, steps)  # its driver
    write_database_url(places, url)


def remember(places: Places, choices: Choices) -> None:
    text = msgspec.json.encode(choices) + b"\n"
    if not places.choices.exists() or places.choices.read_bytes() != text:
        places.choices.write_bytes(text)


def up_real(places: Places, choices: Choices, settings: Settings, steps: Progress, machine: Machine) -> bool:
    """Returns whether anything had to be started. Raises: HostError."""
    if os.geteuid() != 0:
        raise HostError("Only root can start guests; for a cloud without any, run: moln up --simulate")
    return engines.up(places, settings.host, steps, processes.real(places, choices, machine), machine)


def up_simulated(places: Places, choices: Choices, settings: Settings, steps: Progress) -> bool:
    """The same supervisor, with one engine and no set-up. Raises: HostError."""
    plan = plan_simulated(places, choices, settings)
    with steps("Controller"):
        return engines.start(places, plan, steps, timeout_s=90)


def plan_simulated(places: Places, choices: Choices, settings: Settings) -> Plan:
    places.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    for folder in (places.host, places.supervised, places.log, places.run):
        folder.mkdir(exist_ok=True)
    return Plan(processes.simulated(places, choices), str(places.log), settings.host.log_limit_mib << 20)


def ensure_consoles(places: Places, steps: Progress) -> None:
    """The libraries of the consoles' pages. A cloud without them is whole but for those, and says why."""
    if installed(places.home):
        return
    with steps("Pages of consoles"):
        try:
            steps.note(ensure(places.home))
        except (BuildError, OSError) as error:
            steps.note(f"no consoles in the browser ({error}): have npm and its registry reachable, then run `moln up` again")


def wait_for_node(places: Places, timeout_s: float = FIRST_NODE_S, least: int = 1) -> dict[str, Any]:
    """The controller's status once so many nodes have joined. Raises: HostError."""
    ends, reason = time.monotonic() + timeout_s, "no node has joined; see: moln logs node"
    while time.monotonic() < ends:
        try:
            answer: dict[str, Any] = admin.ask(places, "status", timeout_s=10)
            if len(answer["nodes"]) >= least:
                return answer
        except NotRunning as error:
            reason = str(error)
        time.sleep(0.1)   # the controller tells nobody when a node joins: ask again
    raise HostError(f"after {timeout_s:g} s {reason}")


def tell_demo(places: Places, url: str, cacert: str, settings: Settings, steps: Progress) -> None:
    """Raises: HostError, with what did not work."""
    from moln.demo.client import Client, DemoError
    from moln.demo.story import tell
    from moln.guest.build import HOST_PACKAGES

    with steps("Packages that build the demo's guest"):
        row = packages.here()
        if row.tool != "apt":
            raise HostError("the demo's guest image is built from Debian packages: it needs a host with apt")
        if absent := packages.missing(row, list(HOST_PACKAGES)):
            steps.note(f"installing {' '.join(absent)}")
            packages.install(row, absent, places.log / "setup.log")
    try:
        client = Client(url, user="admin", password=places.admin_password.read_text().strip(), project="admin", cacert=cacert)
        said = tell(client, places.home, settings.host.provider, steps)
    except (DemoError, OSError, subprocess.SubprocessError) as error:
        more = getattr(error, "stderr", None) or ""
        raise HostError(f"the demo failed: {error} {more}".strip()) from error
    print(f"The guest says:\n{said.strip()}", flush=True)


def welcome(places: Places, answer: dict[str, Any], changed: bool) -> str:
    url = answer["public_url"]
    home = "" if places.home == default_home() else f" --home {places.home}"
    return f"""
Moln {'runs' if changed else 'was running already'}: {url}/identity/v3, nodes: {', '.join(answer['nodes']) or 'none'}
Password of admin:  {places.admin_password}
Next:               eval "$(moln env{home})" && openstack server list
"""
