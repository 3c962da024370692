"""Have the cloud start with the machine: a systemd unit that keeps it."""

from __future__ import annotations

import argparse
import os

from moln.host import control, unit
from moln.host.places import Places, default_home
from moln.host.run import HostError
from moln.host.setup import make_directories

HELP = "have the cloud start with the machine, kept by systemd"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--uninstall", action="store_true", help="take the unit away; the cloud stops, guests keep running")


def run(args: argparse.Namespace) -> int:
    places = Places(args.home)
    if os.geteuid() != 0:
        raise HostError("only root can write systemd units; try sudo")
    if args.uninstall:
        gone = unit.uninstall(places)
        print(f"{unit.NAME} is gone; `moln up` starts the cloud without systemd." if gone else f"No unit keeps {places.home}.")
        return 0
    make_directories(places)
    changed = unit.install(places)
    print(f"{unit.NAME} {'is installed' if changed else 'was installed already'}: the cloud in {places.home} starts with the machine.")
    print(advice(places))
    return 0


def advice(places: Places) -> str:
    """What comes next."""
    if not unit.BOOTED.is_dir():
        return "systemd does not run here; it takes over at the next boot."
    if unit.active():
        return "systemd keeps it now."
    home = "" if places.home == default_home() else f" --home {places.home}"
    try:
        control.status(places)
    except control.NotRunning:
        return f"Start it now: moln up{home}"
    return f"It runs without systemd now; hand it over (guests do not notice): moln down{home} && moln up{home}"
