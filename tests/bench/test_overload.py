"""Four times what a cloud can serve: short, and without a word on how fast. `moln bench --overload` says that."""

from __future__ import annotations

import pytest

from moln.bench import overload

SECONDS, SERVERS = 8.0, 20


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_nobody_is_left_without_an_answer_and_whoever_is_refused_knows_when_to_come_back() -> None:
    found = overload.measure(SECONDS, lambda step: None, servers=SERVERS)
    said = {row.name: f"{row.value:g} {row.note}" for row in found.rows()}
    assert found.count("5", "timeout", "cut") == 0, said
    assert found.heavy.unsaid == found.light.unsaid == 0, said
    assert set(found.heavy.answers) <= {"200", "202", "429"} and set(found.light.answers) <= {"200", "429"}, said
    assert found.heavy.served and found.light.served, said
