"""A small cloud of many machines, measured: short, and without a word on how fast. `moln bench --scale` says that."""

from __future__ import annotations

import pytest

from moln.bench import many
from moln.bench.engines import nats_program, postgres_programs


@pytest.mark.usefixtures("as_installed")
@pytest.mark.engines
@pytest.mark.skipif(not (postgres_programs() and nats_program()), reason="no PostgreSQL or nats-server here: `./moln test` installs them")
def test_every_boot_is_active_none_is_lost_and_nobody_is_left_without_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(many, "FLOOD_S", 4.0)
    monkeypatch.setattr(many, "IDLE_S", 0.1)
    rows = many.measure(many.Size(nodes=12, servers=60, controllers=2, boots=40, at_once=8, projects=3), lambda step: None)
    zeros = [row for row in rows if row.limit == 0]
    assert len(zeros) == 6 and all(row.value == 0 for row in zeros), zeros
    assert {"boots to ACTIVE a second, sustained", "processor time of a boot"} <= {row.name for row in rows if row.value}
