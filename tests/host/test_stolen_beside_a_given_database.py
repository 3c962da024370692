"""`moln controller remove --stolen` where PostgreSQL is not on the controllers: the others stay, and take the new keys one after the other, as they do another authority's. Real etcd,
NATS and OVN with a member on each of three controllers."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator

import pytest
from tests.e2e.waiting import until
from tests.host.test_several_controllers import FIRST, SECOND
from tests.host.test_stolen_controller import THIRD, Stolen
from tests.host.test_two_machines import MOLN
from tests.network import machines
from tests.postgres import Server

pytestmark = [pytest.mark.engines, pytest.mark.timeout(1800), pytest.mark.skipif(not machines.available(), reason="needs root and engines")]


class Given(Stolen):
    def __init__(self) -> None:
        super().__init__()
        self.postgres = Server(lasting=True)
        self.postgres.folder.chmod(0o755)
        self.given = ("--database-url", asyncio.run(self.postgres.empty()))

    def close(self) -> None:
        super().close()
        self.postgres.remove()


@pytest.fixture(scope="module")
def cloud() -> Iterator[Given]:
    found = Given()
    try:
        found.up()
        yield found
    finally:
        found.close()


def test_the_other_controller_stays_and_is_one_again_when_it_took_the_new_keys(cloud: Given) -> None:
    cloud.moln(SECOND, "down")
    said = cloud.moln(FIRST, "controller", "remove", "c2", "--stolen")
    assert "Controller c3 is cut off, until there" in said and "Cut off, as they were not reached" not in said
    cloud.take_anew()
    until(lambda: {line.split("\t")[0]: line.split("\t")[2] for line in cloud.moln(THIRD, "controller", "list").splitlines()} == {"c1": "up", "c3": "up"},
          "both give signs of life, which etcd keeps", 60, each_s=1)  # fmt: skip
    until(lambda: cloud.differences() == [], "nothing is wrong", 60)
    assert cloud.make_network(FIRST, "by-both")
    until(lambda: "n4\tup" in cloud.moln(FIRST, "node", "list"), "the node is up", 60, each_s=1)


def test_another_authority_waits_for_every_controller(cloud: Given) -> None:
    rotate = [sys.executable, "-P", "-c", MOLN, "certificates", "rotate", "--home", str(cloud.home / FIRST)]
    said = cloud.inside(FIRST, *rotate, check=False)
    assert cloud.standing()["untold"] == ["c3"] and cloud.standing()["step"] == "coming.pem", said
    assert "n4" in cloud.standing()["old"]  # nobody is signed by what c3 would refuse
    cloud.take_anew()
    until(lambda: not {*cloud.standing()["untold"], *cloud.standing()["old"], *cloud.standing()["away"]}, "all are signed by the new one", 90)
    assert "alone counts" in cloud.moln(FIRST, "certificates", "rotate", "--end")
    assert cloud.make_network(FIRST, "by-the-new-one")
    cloud.take_anew()
    until(lambda: cloud.differences() == [], "nothing is wrong", 60)
    assert {(cloud.home / name / "tls/ca.crt").read_bytes().count(b"BEGIN") for name in (FIRST, THIRD)} == {1}
