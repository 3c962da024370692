"""The demo, and that a second `moln up` changes nothing."""

from __future__ import annotations

from tests.e2e.guests import Guest
from tests.e2e.waiting import until
from tests.e2e.world import World

from moln.host import control


def process_ids(world: World) -> dict[str, int]:
    return {e["name"]: e["pid"] for e in control.status(world.places)["engines"]}


def test_the_demo_logs_in_and_prints_the_nonce_of_its_user_data(world: World) -> None:
    nonce = (world.places.home / "demo/nonce").read_text().strip()
    assert nonce in world.story and "The guest says:" in world.story
    assert "demo" in world.story and "load average" in world.story


def test_the_first_server_is_active_with_its_volume_and_floating_address(world: World, demo: Guest) -> None:
    server = demo.server
    assert server.status == "ACTIVE"
    assert [a["OS-EXT-IPS:type"] for a in server.addresses["demo"]] == ["fixed", "floating"]
    assert "demo-data" in world.openstack("volume", "list", "--status", "in-use", "-f", "value")
    assert world.openstack("server", "show", "demo", "-f", "value", "-c", "status").strip() == "ACTIVE"


def test_a_second_up_starts_and_writes_nothing(world: World, demo: Guest) -> None:
    until(lambda: demo.server.task_state is None, "rest")
    world.moln("up", "--detach")
    processes, rows, database = process_ids(world), world.nb_rows(), world.database_hash()
    qemu = world.qemu_pid(demo.id)
    said = world.moln("up", "--detach")
    assert "runs already" in said or "was running already" in said
    assert process_ids(world) == processes and world.qemu_pid(demo.id) == qemu
    assert world.nb_rows() == rows
    assert world.database_hash() == database


def test_the_doctor_finds_a_fresh_cloud_healthy(world: World) -> None:
    assert "✗" not in world.doctor()
