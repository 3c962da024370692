"""The supervisor as the main process of a systemd unit, without systemd: who hears it, who may be its guardian. (test_systemd has the real one.)"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from moln.host import control, unit
from moln.host.places import PACKAGE_ROOT, Places
from moln.host.supervise.plan import Engine, Plan
from moln.host.supervise.supervisor import KEPT_ELSEWHERE

TELLER = "import os, signal, sys; os.write(int(os.environ['MOLN_READY_FD']), b'ready\\n'); sys.stdin and signal.pause()"


@pytest.fixture
def places() -> Iterator[Places]:
    folder = Path(tempfile.mkdtemp(prefix="moln-unit-"))  # short: unix socket names end at 108 bytes
    places = Places(folder)
    for made in (places.host, places.supervised, places.log):
        made.mkdir()
    plan = Plan([Engine("one", [sys.executable, "-c", TELLER], notify=True)], str(places.log))
    control.write_plan(places, plan)
    yield places
    control.stop(places, keep=[], timeout_s=20)
    shutil.rmtree(folder)


class Heard:
    """systemd's ear."""

    def __init__(self, path: Path):
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.socket.settimeout(20)

    def until(self, line: str) -> str:
        while True:
            text = self.socket.recv(4096).decode()
            if line in text.splitlines():
                return text


@pytest.fixture
def heard(places: Places) -> Iterator[Heard]:
    made = Heard(places.home / "notify")
    yield made
    made.socket.close()


def start(places: Places, heard: Heard) -> subprocess.Popen[bytes]:
    env = {**os.environ, "PYTHONPATH": str(PACKAGE_ROOT), "NOTIFY_SOCKET": str(heard.path)}
    return subprocess.Popen([sys.executable, "-P", "-m", "moln.host.supervise", "unit", str(places.supervised)], env=env,
                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip


def engine(places: Places) -> int:
    (found,) = control.status(places)["engines"]
    assert found["state"] == "ready"
    return int(found["pid"])


def test_init_hears_when_all_is_ready_and_when_it_ends(places: Places, heard: Heard) -> None:
    main = start(places, heard)
    assert "STATUS=1 of 1 engines are ready" in heard.until("READY=1")
    control.stop(places, keep=[], timeout_s=20)
    assert "STATUS=Stopping" in heard.until("STOPPING=1")
    assert main.wait(20) == 0


def test_killed_it_leaves_the_engines_to_the_next_one_and_starts_no_guardian(places: Places, heard: Heard) -> None:
    main = start(places, heard)
    heard.until("READY=1")
    before = engine(places)
    main.kill()
    main.wait(20)
    again = start(places, heard)
    heard.until("READY=1")
    assert engine(places) == before
    assert not (places.supervised / "guardian.pid").exists()
    again.terminate()
    assert again.wait(20) == 0


def test_a_cloud_with_a_guardian_of_its_own_is_left_to_it(places: Places, heard: Heard) -> None:
    control.ensure_supervisor(places, Plan.read(places.plan))
    control.wait_until(places, control.all_ready, timeout_s=20)
    assert start(places, heard).wait(20) == KEPT_ELSEWHERE
    assert engine(places)


def test_its_engines_do_not_inherit_its_way_to_init(places: Places, heard: Heard) -> None:
    start(places, heard)
    heard.until("READY=1")
    assert b"NOTIFY_SOCKET" not in Path(f"/proc/{engine(places)}/environ").read_bytes()


@pytest.mark.parametrize("home", ["/var/lib/moln", '/srv/a "b" 100% $HOME\\x'])
def test_the_unit_names_its_home_whatever_it_is_called(home: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unit, "FOLDER", tmp_path)
    assert unit.home() is None and not unit.installed(Places(Path(home)))
    (tmp_path / unit.NAME).write_text(unit.text(Places(Path(home))))
    assert unit.home() == home
    assert unit.installed(Places(Path(home))) and not unit.installed(Places(Path("/var/lib/other")))


def test_the_unit_of_another_home_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unit, "FOLDER", tmp_path)
    (tmp_path / unit.NAME).write_text(unit.text(Places(Path("/var/lib/moln"))))
    assert unit.uninstall(Places(Path("/srv/other"))) is False
    assert (tmp_path / unit.NAME).exists()


@pytest.mark.skipif(shutil.which("systemctl") is None, reason="no systemctl here")
def test_another_clouds_unit_is_named_in_the_refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unit, "FOLDER", tmp_path)
    (tmp_path / unit.NAME).write_text(unit.text(Places(Path("/var/lib/moln"))))
    with pytest.raises(unit.HostError, match=r"--uninstall --home /var/lib/moln"):
        unit.install(Places(Path("/srv/other")))


def test_a_host_without_systemd_is_told_what_works_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unit, "FOLDER", tmp_path / "none")
    with pytest.raises(unit.HostError, match="no systemd"):
        unit.install(Places(Path("/srv/other")))
