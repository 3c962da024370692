"""What `moln controller recover` goes by before it changes anything; test_authority_beside_patroni.py has it done."""

from __future__ import annotations

import socket
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from moln.host import recovering, recovery
from moln.host.places import Places
from moln.host.roles import Machine, Role, Tls
from moln.host.run import HostError
from moln.kernel.controllers import proof
from moln.kernel.controllers.lone import Sync, missing
from moln.kernel.http import succession
from moln.kernel.http.certificates import Authority

NOW = datetime.now(UTC)
C3 = Machine(Role.CONTROLLER, "c3", "192.0.2.3", guests=False, clusters=("ovn", "etcd", "nats"), peers=("192.0.2.1", "192.0.2.9"), tls=Tls("k", "c", "a"))


@pytest.mark.parametrize(
    ("sync", "all_there"),
    [
        (Sync("c3", "c1,c2", 1), True),  # it took writes itself
        (Sync("c1", "c3", 0), True),  # each was confirmed by it
        (Sync("c1", "c2,c3", 1), False),
        (Sync("c1", "c2", 0), False),
        (Sync("c1", "", 0), False),
        (Sync("c1", None, 0), False),
        (Sync(None, None, 0), False),
        (None, False),
    ],
)
def test_a_standby_has_everything_if_nobody_else_confirmed_what_was_answered(sync: Sync | None, all_there: bool) -> None:
    assert (missing("c3", sync) == "") == all_there


def test_the_others_are_those_that_it_knew_last(tmp_path: Path) -> None:
    places = Places(tmp_path)
    for folder in (places.ovn, places.host, tmp_path / "controllers"):
        folder.mkdir()
    assert recovery.others(places, C3) == ["192.0.2.1", "192.0.2.9"], "whom it joined"
    (places.ovn / "northbound").write_text("ssl:192.0.2.3:6641,ssl:192.0.2.1:6641,ssl:[fd00::2]:6641")
    (tmp_path / "controllers/database-hosts").write_text("192.0.2.1:5432\n192.0.2.3:5432\n[fd00::2]:5432\n")
    assert recovery.others(places, C3) == ["192.0.2.1", "fd00::2"], "one that was removed since is none of them"
    recovery.file(places).write_bytes(msgspec.json.encode(recovery.Begun(["192.0.2.1", "fd00::2"], {}, "")))
    (places.ovn / "northbound").write_text("ssl:192.0.2.3:6641")
    (tmp_path / "controllers/database-hosts").write_text("192.0.2.3:5432\n")
    assert recovery.others(places, C3) == ["192.0.2.1", "fd00::2"], "when it died of something in between"


def test_who_answers_is_named_with_what_answers() -> None:
    with socket.create_server(("127.0.0.7", 2380)), socket.create_server(("127.0.0.7", 2379)):
        found = recovery.answering(["127.0.0.7", "127.0.0.8"])
    assert found == {"127.0.0.7": [2379, 2380]}
    assert recovery.described(found) == "127.0.0.7 answers (etcd at port 2379)"


def test_a_machine_whose_engines_are_elsewhere_is_not_recovered() -> None:
    with pytest.raises(HostError, match="no member of clusters"):
        recovery.check(msgspec.structs.replace(C3, clusters=()))
    recovery.check(C3)


def test_another_authority_of_controllers_comes_once(tmp_path: Path) -> None:
    proof.ensure(tmp_path, "c3", NOW)
    folder = tmp_path / proof.FOLDER
    before, shown = Authority(folder, NOW), (folder / "controller.pem").read_bytes()
    succession.begin(folder, NOW)  # whoever rotates does not go on with one that a lost controller has
    recovering.authority(tmp_path, before.fingerprint, NOW)
    after = Authority(folder, NOW)
    assert after.fingerprint != before.fingerprint and not succession.step(folder)
    assert after.public.read_bytes().count(b"BEGIN") == 1
    recovering.authority(tmp_path, before.fingerprint, NOW)
    assert Authority(folder, NOW).fingerprint == after.fingerprint
    proof.ensure(tmp_path, "c3", NOW)
    assert (folder / "controller.pem").read_bytes() != shown
