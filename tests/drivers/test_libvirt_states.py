"""What a server's power is by libvirt's states: a guest on its way to a host must never be taken for one that is there."""

from __future__ import annotations

import pytest

libvirt = pytest.importorskip("libvirt")

from moln.compute.drivers.libvirt_domains import find_state  # noqa: E402

SERVER = "bbbbbbbb-0000-4000-8000-000000000001"


class Domain:
    """As libvirt would have it, in one state; a connection that has it alone."""

    def __init__(self, state: int, reason: int) -> None:
        self.now = [state, reason]

    def lookupByUUIDString(self, _: str) -> Domain:
        return self

    def state(self) -> list[int]:
        return self.now

    def UUIDString(self) -> str:
        return SERVER

    def XMLDesc(self, flags: int = 0) -> str:
        return "<domain/>"


@pytest.mark.parametrize(("state", "reason", "power"), [
    ("RUNNING", "RUNNING_MIGRATED", "running"), ("PAUSED", "PAUSED_USER", "paused"), ("PAUSED", "PAUSED_IOERROR", "paused"),
    ("PAUSED", "PAUSED_MIGRATION", "stopped"), ("PAUSED", "PAUSED_STARTING_UP", "stopped"), ("SHUTOFF", "SHUTOFF_DESTROYED", "stopped"),
    ("SHUTOFF", "SHUTOFF_CRASHED", "crashed"), ("CRASHED", "CRASHED_PANICKED", "crashed"),
])  # fmt: skip
def test_power_by_state_and_reason(state: str, reason: str, power: str) -> None:
    found = find_state(Domain(*(getattr(libvirt, f"VIR_DOMAIN_{name}") for name in (state, reason))), SERVER)
    assert found is not None and found.power == power
