"""python -m moln.cli.unit prepare|finish|stop: what the systemd unit does around the supervisor (moln.host.unit).

prepare: set up the machine, as a boot has undone it, and write the plan. finish: wait for the first node, write the credentials.
stop: end everything but guests and what they need.
"""

from __future__ import annotations

import argparse
import sys

from moln.cli import credentials, expected
from moln.cli.commands.up import Settings, plan_simulated, remembered, wait_for_node
from moln.cli.progress import Progress
from moln.host import control, engines, processes, roles
from moln.host.places import Places, default_home
from moln.host.roles import Part
from moln.host.setup import prepare as set_up
from moln.kernel import config

NOTHING_ASKED = argparse.Namespace(port=None, listen=None, simulate=None, nodes=None, tls=None)


def prepare(places: Places) -> None:
    """Raises: HostError."""
    settings: Settings = config.load(places.settings, Settings)
    choices = remembered(places, NOTHING_ASKED, settings)
    if choices.simulate:
        plan = plan_simulated(places, choices, settings)
    else:
        machine = roles.read(places)
        chosen = set_up(places, settings.host, Progress(), machine)
        plan = engines.plan(places, settings.host, chosen, processes.real(places, choices, machine), machine)
    control.write_plan(places, plan)


def finish(places: Places) -> None:
    """Raises: HostError."""
    machine = roles.read(places)
    if Part.CENTRAL not in machine.parts:
        return
    answer = wait_for_node(places, least=1 if Part.GUESTS in machine.parts else 0)
    credentials.write(places, answer["public_url"], answer["cacert"])


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m moln.cli.unit")
    parser.add_argument("do", choices=["prepare", "finish", "stop"])
    places = Places(default_home())
    try:
        {"prepare": prepare, "finish": finish, "stop": engines.stop}[parser.parse_args().do](places)
    except Exception as error:
        if not isinstance(error, expected()):
            raise
        print(f"moln: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
