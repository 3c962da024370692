"""The supervisor with real small processes: each of them, the supervisor and the guardian killed with SIGKILL."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from moln.host import control
from moln.host.places import Places
from moln.host.supervise.plan import Engine, Plan
from moln.host.supervise.processes import Identity, start_time

SERVER = """
import os, signal, socket, sys
path = sys.argv[1]
if os.path.exists(path): os.unlink(path)
s = socket.socket(socket.AF_UNIX); s.bind(path); s.listen()
signal.signal(signal.SIGTERM, lambda n, f: sys.exit(0))
print("serving", flush=True)
while True: s.accept()[0].close()
"""
TELLER = """
import os, signal, sys
with os.fdopen(int(os.environ["MOLN_READY_FD"]), "w") as f: f.write("ready\\n")
while True: signal.pause()
"""


@pytest.fixture
def places() -> Iterator[Places]:
    folder = Path(tempfile.mkdtemp(prefix="moln-sup-"))   # short: unix socket names end at 108 bytes
    places = Places(folder)
    yield places
    try:
        control.stop(places, keep=[], timeout_s=20)
    finally:
        for file in places.supervised.glob("*.pid"):
            found = Identity.read(file)
            if found and found.alive():
                os.kill(found.pid, signal.SIGKILL)
        shutil.rmtree(folder)


def server(places: Places, name: str, **more: object) -> Engine:
    path = str(places.home / f"{name}.sock")
    return Engine(name, [sys.executable, "-c", SERVER, path], ready_socket=path, **more)  # type: ignore[arg-type]


def teller(name: str, **more: object) -> Engine:
    return Engine(name, [sys.executable, "-c", TELLER], notify=True, **more)  # type: ignore[arg-type]


def start(places: Places, *engines: Engine, log_limit: int = 1 << 20) -> None:
    control.ensure_supervisor(places, Plan(list(engines), str(places.log), log_limit))
    names = {e.name for e in engines}
    control.wait_until(places, lambda s: {e["name"] for e in s["engines"]} == names and control.all_ready(s),
                       timeout_s=20)


def pids(places: Places) -> dict[str, int]:
    return {e["name"]: e["pid"] for e in control.status(places)["engines"]}


def identity(places: Places, name: str) -> Identity:
    found = Identity.read(places.supervised / f"{name}.pid")
    assert found is not None
    return found


def until(what: Callable[[], bool], timeout_s: float = 15) -> None:
    ends = time.monotonic() + timeout_s
    while not what():
        assert time.monotonic() < ends, "it did not happen in time"
        time.sleep(0.02)


def changed(places: Places, name: str, old: Identity) -> Callable[[], bool]:
    def look() -> bool:
        found = Identity.read(places.supervised / f"{name}.pid")
        return found is not None and found.pid != old.pid and found.alive()
    return look


def running(places: Places) -> int:
    """How many processes of ours there are, by their command lines: doubled ones show."""
    count = 0
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if str(places.home).encode() in command and start_time(int(folder.name)) is not None:
            count += 1
    return count


def test_engines_start_in_order_of_their_needs(places: Places) -> None:
    marks = places.home / "marks"
    start(places, server(places, "b", needs=["a"], after=[["/bin/sh", "-c", f"echo b >> {marks}"]]),
          server(places, "a", after=[["/bin/sh", "-c", f"sleep 0.3; echo a >> {marks}"]]))
    assert marks.read_text().split() == ["a", "b"]


def test_an_engine_killed_comes_back_and_what_it_needs_afterwards_is_done_again(places: Places) -> None:
    marks = places.home / "marks"
    start(places, server(places, "a", after=[["/bin/sh", "-c", f"echo done >> {marks}"]]), teller("t", needs=["a"]))
    before = pids(places)
    os.kill(before["a"], signal.SIGKILL)
    until(lambda: marks.read_text().count("done") == 2)
    control.wait_until(places, control.all_ready, timeout_s=10)
    after = pids(places)
    assert after["a"] != before["a"]
    assert after["t"] == before["t"]


def test_a_killed_supervisor_comes_back_and_adopts_what_runs(places: Places) -> None:
    start(places, server(places, "a"), teller("t"))
    before, count = pids(places), running(places)
    old = identity(places, "supervisor")
    os.kill(old.pid, signal.SIGKILL)
    until(changed(places, "supervisor", old))
    control.wait_until(places, control.all_ready, timeout_s=10)
    assert pids(places) == before
    assert running(places) == count


def test_an_adopted_engine_that_dies_is_noticed(places: Places) -> None:
    start(places, server(places, "a"))
    old = identity(places, "supervisor")
    os.kill(old.pid, signal.SIGKILL)
    until(changed(places, "supervisor", old))
    engine = identity(places, "a")
    os.kill(engine.pid, signal.SIGKILL)
    until(changed(places, "a", engine))


def test_a_killed_guardian_is_replaced_and_no_engine_notices(places: Places) -> None:
    start(places, server(places, "a"), teller("t"))
    before, count = pids(places), running(places)
    for _ in range(2):
        guardian, supervisor = identity(places, "guardian"), identity(places, "supervisor")
        os.kill(guardian.pid, signal.SIGKILL)
        until(changed(places, "guardian", guardian))
        until(changed(places, "supervisor", supervisor))
        assert identity(places, "guardian").pid == supervisor.pid, "the supervisor takes the guardian's place"
    control.wait_until(places, control.all_ready, timeout_s=10)
    assert pids(places) == before
    assert running(places) == count


def test_both_killed_at_once_an_up_adopts_what_runs(places: Places) -> None:
    engines = server(places, "a"), teller("t")
    start(places, *engines)
    before = pids(places)
    guardian, supervisor = identity(places, "guardian"), identity(places, "supervisor")
    os.kill(supervisor.pid, signal.SIGSTOP)  # else it may take the guardian's place between the two
    for found in (guardian, supervisor):
        os.kill(found.pid, signal.SIGKILL)
    until(lambda: not supervisor.alive() and not guardian.alive())
    start(places, *engines)
    assert pids(places) == before


def test_a_second_start_changes_nothing(places: Places) -> None:
    engines = server(places, "a"), teller("t")
    start(places, *engines)
    before = {f: f.stat().st_mtime_ns for f in places.supervised.iterdir()}, pids(places)
    start(places, *engines)
    assert ({f: f.stat().st_mtime_ns for f in places.supervised.iterdir()}, pids(places)) == before


def test_a_changed_plan_restarts_what_changed_and_ends_what_left(places: Places) -> None:
    start(places, server(places, "a"), teller("t"), teller("gone"))
    before, gone = pids(places), identity(places, "gone")
    start(places, server(places, "a"), teller("t", env={"NEW": "1"}))
    after = pids(places)
    assert after["a"] == before["a"]
    assert after["t"] != before["t"]
    until(lambda: not gone.alive())


def test_what_is_run_after_a_start_is_run_again_when_it_is_another_and_the_process_goes_on(places: Places) -> None:
    marks = places.home / "marks"

    def marking(text: str) -> Engine:
        return server(places, "a", after=[["/bin/sh", "-c", f"echo {text} >> {marks}"]])

    start(places, marking("one"))
    before = pids(places)
    start(places, marking("two"), teller("t"))
    until(lambda: marks.read_text() == "one\ntwo\n")
    start(places, marking("two"))
    control.stop(places, keep=["a"])
    start(places, marking("two"))
    assert marks.read_text() == "one\ntwo\n"
    control.stop(places, keep=["a"])
    start(places, marking("three"))  # an adopted one, too
    until(lambda: marks.read_text() == "one\ntwo\nthree\n")
    assert pids(places) == before


def test_what_is_run_after_a_start_is_run_when_it_became_another_meanwhile(places: Places) -> None:
    marks, pipe = places.home / "marks", places.home / "pipe"
    os.mkfifo(pipe)

    def marking(text: str) -> Engine:
        return server(places, "a", after=[["/bin/sh", "-c", f"echo {text} >> {marks}; test {text} != one || cat {pipe}"]])

    def plan(text: str) -> Plan:
        return Plan([marking(text)], str(places.log))

    control.ensure_supervisor(places, plan("one"))
    until(lambda: marks.exists() and marks.read_text() == "one\n")
    control.ensure_supervisor(places, plan("two"))
    assert control.status(places)["engines"][0]["state"] == "setting up"
    pipe.write_text("go on")
    start(places, marking("two"))
    assert marks.read_text() == "one\ntwo\n"
    assert identity(places, "a").setting_up == marking("two").setting_up


def test_an_engine_that_keeps_failing_waits_longer_and_longer(places: Places) -> None:
    marks = places.home / "marks"
    plan = Plan([Engine("bad", ["/bin/sh", "-c", f"echo x >> {marks}; exit 3"], notify=True)], str(places.log))
    control.ensure_supervisor(places, plan)
    with pytest.raises(TimeoutError, match=r"bad \(backoff: ended with 3\)"):
        control.wait_until(places, control.all_ready, timeout_s=3)
    assert 2 <= marks.read_text().count("x") <= 5


def test_one_that_never_becomes_ready_is_started_again(places: Places) -> None:
    marks = places.home / "marks"
    script = f"echo x >> {marks}; exec sleep 60"
    plan = Plan([Engine("mute", ["/bin/sh", "-c", script], notify=True, ready_s=0.3)], str(places.log))
    control.ensure_supervisor(places, plan)
    until(lambda: marks.exists() and marks.read_text().count("x") >= 2)


def test_stop_spares_what_guests_need_and_the_next_start_adopts_it(places: Places) -> None:
    engines = server(places, "a"), server(places, "b", needs=["a"])
    start(places, *engines)
    before = pids(places)
    b = identity(places, "b")
    control.stop(places, keep=["a"])
    assert identity(places, "a").alive() and not b.alive()
    assert not (places.supervised / "supervisor.pid").exists()
    start(places, *engines)
    assert pids(places)["a"] == before["a"]


def test_a_pid_that_belongs_to_another_process_by_now_is_not_adopted(places: Places) -> None:
    places.supervised.mkdir(parents=True)
    engine = server(places, "a")
    mine = Identity.mine(engine.digest)
    Identity(mine.pid, mine.start - 1, mine.boot, engine.digest, ready=True).write(places.supervised / "a.pid")
    start(places, engine)
    assert pids(places)["a"] != os.getpid()


def test_logs_are_bounded(places: Places) -> None:
    noisy = "import sys, time\nfor i in range(3000): print('x' * 99, flush=True)\n" + TELLER
    start(places, Engine("noisy", [sys.executable, "-c", noisy], notify=True), log_limit=100_000)
    old = identity(places, "supervisor")
    os.kill(old.pid, signal.SIGKILL)      # a fresh supervisor looks at the logs at once
    until(changed(places, "supervisor", old))
    until(lambda: (places.log / "noisy.log").stat().st_size == 0)
    assert (places.log / "noisy.log.1").stat().st_size == 100_000


def test_the_supervisor_is_small(places: Places) -> None:
    start(places, teller("t"))
    for name in ("guardian", "supervisor"):
        rollup = Path(f"/proc/{identity(places, name).pid}/smaps_rollup").read_text()
        pss_kib = next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
        assert pss_kib < 16 * 1024


def test_the_supervisor_sleeps_while_nothing_happens(places: Places) -> None:
    start(places, server(places, "a"), teller("t"))

    def used() -> float:
        seconds = 0.0
        for name in ("guardian", "supervisor"):
            fields = Path(f"/proc/{identity(places, name).pid}/stat").read_text().rpartition(")")[2].split()
            seconds += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        return seconds

    before = used()
    time.sleep(2)
    assert used() - before <= 0.02
