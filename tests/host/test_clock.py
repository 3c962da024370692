"""How far off a clock is, as chrony and the kernel tell."""

from __future__ import annotations

from pathlib import Path

import pytest

from moln.host import checks, clock
from moln.host.places import Places

TRACKING = "C0000205,192.0.2.5,3,1764409393.1,{0},-0.000013,0.000021,-3.2,0.001,0.04,0.012,0.0006,64.2,{1}\n"


@pytest.mark.parametrize(("text", "wanted"), [
    (TRACKING.format("-0.612345", "Normal"), 612.345), (TRACKING.format("0.000004", "Insert second"), 0.004),
    (TRACKING.format("0.000000", "Not synchronised"), None), ("", None), ("506 Cannot talk to daemon", None), ("a,b,c,d,e,f", None),
])  # fmt: skip
def test_chronys_word_is_read_where_it_has_one(text: str, wanted: float | None) -> None:
    found = clock.tracked(text)
    assert found == (wanted if wanted is None else pytest.approx(wanted))


def test_the_kernel_answers_or_says_that_nobody_keeps_the_clock() -> None:
    found = clock.by_kernel()
    assert found is None or 0 <= found < 1e9


def test_chrony_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "chronyc"
    program.write_text("#!/bin/sh\n[ \"$*\" = '-c tracking' ] || exit 1\nprintf %s '" + TRACKING.format("0.7", "Normal").strip() + "'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert clock.off_ms() == pytest.approx(700)
    finding = checks.check_clock(Places(tmp_path))
    assert (finding.level, finding.mend) == ("bad", "chronyc makestep") and "700 ms" in finding.text
