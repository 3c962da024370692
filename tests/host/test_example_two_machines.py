"""examples/two-machines, as it stands: a controller and a node by the documented commands, a guest on each, one of which moves
to the other machine and notices nothing; all of it gone afterwards."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from tests.network import machines
from tests.node.turns import CACHE, GUESTS, guests_alone

from moln.guest import build_guest_image

pytestmark = [pytest.mark.engines, GUESTS, pytest.mark.skipif(not machines.available(), reason="needs root and engines")]
EXAMPLE = Path(__file__).parents[2] / "examples/two-machines/run"


@pytest.mark.timeout(900)
def test_it_does_what_it_says_and_cleans_up() -> None:
    with guests_alone():
        build_guest_image(CACHE / "guest.qcow2")
        before = set(os.listdir("/var/tmp"))
        done = subprocess.run([EXAMPLE], env={**os.environ, "GUEST": str(CACHE / "guest.qcow2")}, capture_output=True, text=True, timeout=840,
                              check=False)  # fmt: skip
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "on-controller hears SSH-2.0" in said and "on-compute hears SSH-2.0" in said, said
    assert re.search(r"compute: ACTIVE after [\d.]+ s; the longest time without an answer was [\d.]+ s", said), said
    assert re.search(r"the guest has been up for [\d.]+ s, boot id [0-9a-f-]{36} as before", said), said
    assert {name for name in os.listdir("/var/tmp") if name.startswith("moln-two-")} <= before
    assert "-controller" not in subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
