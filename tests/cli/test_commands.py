"""The command line, run as its user runs it."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from _pytest.mark.expression import Expression

from moln.cli import commands, credentials, main
from moln.cli.commands.test import COMPUTED, FAST, FAST_OF_ALL, HEAVY, LONG, SECOND, SLOW, find_checkout
from moln.cli.commands.test import pytest as run_parts
from moln.cli.commands.up import Settings, remember, remembered
from moln.host import control
from moln.host.places import Places
from moln.host.processes import Choices, descendants
from moln.host.run import HostError
from moln.host.supervise.plan import Engine, Plan


@pytest.fixture
def places() -> Iterator[Places]:
    folder = Path(tempfile.mkdtemp(prefix="moln-cli-"))
    places = Places(folder)
    places.host.mkdir()
    yield places
    control.stop(places, keep=[], timeout_s=20)
    shutil.rmtree(folder, ignore_errors=True)


def sleeping(places: Places, *names: str) -> None:
    """A cloud of engines that do nothing."""
    engines = [Engine(n, ["/bin/sh", "-c", "echo hello from $0; exec sleep 600", n]) for n in names]
    control.ensure_supervisor(places, Plan(engines, str(places.log)))
    control.wait_until(places, control.all_ready, timeout_s=15)


def asked(places: Places, **more: object) -> object:

    return Namespace(**{"home": places.home, "port": None, "listen": None, "simulate": None, "nodes": None, "tls": None, **more})


def test_the_list_of_commands_is_the_files(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    for file in Path(commands.__path__[0]).glob("[a-z]*.py"):
        assert f"    {file.stem.rstrip('_')}" in shown


def test_a_failure_is_one_readable_line(places: Places, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--home", str(places.home)]) == 1
    assert capsys.readouterr().err == f"moln: nothing runs in {places.home}; to start it: moln up\n"


def test_status_tells_each_engine_and_its_exit_code_tells_all(places: Places, capsys: pytest.CaptureFixture[str]) -> None:
    sleeping(places, "one", "two")
    assert main(["status", "--home", str(places.home), "--json"]) == 0
    state = json.loads(capsys.readouterr().out)
    assert [(e["name"], e["state"]) for e in state["engines"]] == [("one", "ready"), ("two", "ready")]
    assert main(["status", "--home", str(places.home)]) == 0
    assert str(state["engines"][0]["pid"]) in capsys.readouterr().out


def test_down_ends_all_and_twice_is_no_error(places: Places, capsys: pytest.CaptureFixture[str]) -> None:
    sleeping(places, "one")
    pid = control.status(places)["engines"][0]["pid"]
    for _ in range(2):
        assert main(["down", "--home", str(places.home)]) == 0
    assert not Path(f"/proc/{pid}/cwd").exists()
    assert main(["down", "--home", str(places.home / "none")]) == 0
    assert "no cloud" in capsys.readouterr().out


def test_purge_leaves_neither_files_nor_processes(places: Places) -> None:
    sleeping(places, "one")
    assert main(["down", "--purge", "--home", str(places.home)]) == 0
    assert not places.home.exists()
    assert descendants(places) == []


def test_what_an_engine_started_is_found_and_a_users_shell_is_not(places: Places) -> None:
    sleep = ["/bin/sleep", "60"]
    ours = subprocess.Popen(sleep, env={"MOLN_HOME": str(places.home), "MOLN_ENGINE": "node"})
    shell = subprocess.Popen(sleep, env={"MOLN_HOME": str(places.home)})
    try:
        assert descendants(places) == [ours.pid]
    finally:
        for process in (ours, shell):
            process.send_signal(signal.SIGKILL)
            process.wait()


def test_logs_are_shown_by_engine(places: Places) -> None:
    sleeping(places, "one", "two")
    shown = subprocess.run([sys.executable, "-c", "import sys; from moln.cli import main; sys.exit(main(sys.argv[1:]))",
                            "logs", "two", "--home", str(places.home)], capture_output=True, text=True, timeout=30)
    assert shown.stdout == "hello from two\n"
    assert main(["logs", "three", "--home", str(places.home)]) == 1


def test_doctor_judges_a_host_without_a_cloud(places: Places, capsys: pytest.CaptureFixture[str]) -> None:
    main(["doctor", "--json", "--home", str(places.home)])
    names = {f["name"] for f in json.loads(capsys.readouterr().out)}
    assert {"kvm", "openvswitch", "disk", "reflink", "clock", "boot", "engines"} <= names


def test_credentials_are_closed_to_others_and_right_for_a_shell(places: Places) -> None:
    places.admin_password.write_text("it's $HOME\n")
    credentials.write(places, "http://127.0.0.1:5000")
    for name in ("openrc", "clouds.yaml"):
        assert (places.home / name).stat().st_mode & 0o777 == 0o600
    shell = subprocess.run(["/bin/sh", "-c", ". ./openrc; printf %s \"$OS_PASSWORD\""], cwd=places.home, text=True,
                           capture_output=True, timeout=10, check=True)
    assert shell.stdout == "it's $HOME"
    cloud = yaml.safe_load((places.home / "clouds.yaml").read_text())["clouds"]["moln"]
    assert cloud["auth"]["password"] == "it's $HOME"
    assert cloud["auth"]["auth_url"] == "http://127.0.0.1:5000/identity/v3"


def test_a_second_up_remembers_what_the_first_was_asked(places: Places) -> None:
    first = remembered(places, asked(places, port=5055, simulate=True, nodes=3), Settings())  # type: ignore[arg-type]
    assert first == Choices(port=5055, simulate=True, nodes=3)
    remember(places, first)
    assert remembered(places, asked(places), Settings()) == first  # type: ignore[arg-type]
    remember(places, Choices())
    with pytest.raises(HostError, match="another --home"):
        remembered(places, asked(places, simulate=True), Settings())  # type: ignore[arg-type]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may")
def test_without_root_up_says_what_works_without(places: Places, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["up", "--detach", "--home", str(places.home)]) == 1
    assert "--simulate" in capsys.readouterr().err


@pytest.mark.parametrize("marks", [set(m) for n in range(6) for m in itertools.combinations(("engines", "slow", "computes", "systemd", "postgresql"), n)])
def test_every_test_belongs_to_one_part(marks: set[str]) -> None:
    """What needs engines or minutes runs on SQLite alone."""
    runs = [part for part in (FAST, SECOND, LONG, COMPUTED, HEAVY, SLOW) if Expression.compile(part[1]).evaluate(marks.__contains__)]
    assert len(runs) == (0 if "postgresql" in marks and marks & {"engines", "slow"} and "systemd" not in marks else 1)


def test_a_sample_is_left_out_where_the_whole_is_run() -> None:
    assert [Expression.compile(part[1]).evaluate({"sample"}.__contains__) for part in (FAST, FAST_OF_ALL)] == [True, False]
    assert FAST_OF_ALL[2:] == FAST[2:] and Expression.compile(FAST_OF_ALL[1]).evaluate(set().__contains__)


def test_who_asks_for_tests_that_are_not_there_is_told(capfd: pytest.CaptureFixture[str]) -> None:
    asked = Namespace(fast=True, slow=False, pytest=["tests/cli/test_commands.py", "-k", "no_test_has_this_name"])
    assert run_parts(find_checkout(), asked) == 1
    assert "No test is what was asked for: tests/cli/test_commands.py -k no_test_has_this_name" in capfd.readouterr().err


def test_the_tests_are_found_from_the_checkout() -> None:
    assert (find_checkout() / "tests" / "cli").is_dir()
