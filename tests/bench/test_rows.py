"""The table that `moln bench` prints, and the two sides that its rows compare."""

from __future__ import annotations

import shutil
import ssl
from pathlib import Path

import pytest

from moln.bench import extras, load
from moln.bench.load import Side, Wire, request
from moln.bench.process import folder, lasting_port, measured
from moln.bench.rows import Row, table


def test_a_row_without_a_budget_is_shown_and_never_missed() -> None:
    rows = [Row("fast", 2, "x", 1.5), Row("slow", 2, "x", 2.5, "why"), Row("shown", None, "x", 9.0), Row("unknown", 2, "s", None, "no engine"),
            Row("count", 0, "", 0), Row("absent", None, "x")]  # fmt: skip
    assert [row.met for row in rows] == [True, False, True, False, True, True]
    lines = [line.split() for line in table(rows).splitlines()[1:]]
    assert lines == [
        ["fast", "1.50", "x", "2", "x", "ok"], ["slow", "2.50", "x", "2", "x", "MISSED", "why"], ["shown", "9.00", "x", "-", "-"],
        ["unknown", "not", "measured", "2", "s", "-", "no", "engine"], ["count", "0", "0", "ok"],
        ["absent", "not", "measured", "-", "-"],
    ]  # fmt: skip


def test_what_costs_nearly_the_same_is_compared_round_by_round() -> None:
    rounds = [(1.0, 1.1), (2.0, 2.2), (1.0, 1.1), (0.5, 0.9), (4.0, 4.4)]
    assert round(load.typical(rounds, 7).ratio, 3) == 1.1, "one lucky round of the first decides nothing"
    assert load.best(rounds, 7) == load.Cost(0.9 / 0.5, 0.9e6, 0.5e6, 7)


def test_one_process_answers_with_and_without_tls(tmp_path: Path) -> None:
    home, port = tmp_path / "home", lasting_port()
    home.mkdir()
    with measured("cloud", "--home", str(home), "--no-work", "--tls-port", str(port), log=tmp_path / "log") as cloud:
        context = ssl.create_default_context(cafile=str(home / "tls/ca.crt"))
        versions = request("GET", "/identity/v3")
        sides = [Side(cloud, Wire(at, tls=tls, kept=kept), lambda: versions, 8)
                 for at, tls in ((cloud.port, None), (port, context)) for kept in (True, False)]  # fmt: skip
        for side in sides:
            assert side.round() >= 0 and side.round() >= 0  # so little work may fall between two ticks of the processor's clock
            side.wire.close()
        assert len({side.size for side in sides}) == 1 and sides[0].size > 100


def test_the_log_of_a_process_that_does_not_begin_is_left_to_be_read() -> None:
    with folder("moln-bench-") as clean:
        assert clean.is_dir()
    assert not clean.exists()
    with pytest.raises(AssertionError), folder("moln-bench-") as missed:
        raise AssertionError("another answer")
    assert not missed.exists()
    with pytest.raises(RuntimeError, match="does not begin") as told, folder("moln-bench-") as kept:
        (kept / "moln.toml").write_text("[nonsense]\n")
        with measured("cloud", "--home", str(kept), log=kept / "log"):
            pass
    try:
        assert str(kept / "log") in str(told.value) and "nonsense" in (kept / "log").read_text()
    finally:
        shutil.rmtree(kept)


def test_an_extra_names_what_it_lacks() -> None:
    there = extras.Extra("parsed", on="", off="", needs=("json", "json.decoder"))
    absent = extras.Extra("absent", on="", off="", needs=("json", "json.nowhere", "no_such_package.part"))
    assert there.missing == [] and absent.missing == ["json.nowhere", "no_such_package.part"]


def test_every_extra_is_a_setting_that_loads(tmp_path: Path) -> None:
    from moln.app import load_settings

    for extra in extras.EXTRAS:
        assert extra.on != extra.off
        for text in (extra.on.replace("SINK", "http://127.0.0.1:1/"), extra.off):
            (tmp_path / "moln.toml").write_text(text)
            load_settings(tmp_path)
