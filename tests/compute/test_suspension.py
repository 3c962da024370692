"""Suspended servers: their memory is kept; and the NMI that makes a guest dump its own."""

from __future__ import annotations

import pytest
from tests.compute.world import World, world
from tests.faults.test_refusals import order

__all__ = ["world"]


def boots(world: World, server: dict) -> int:
    return world.api.nodes["sim-1"].kept.servers[server["id"]].console.count("GUEST: boot")


async def actions(world: World, server: dict) -> list[tuple[str, str | None]]:
    found = (await world.call("GET", f"/servers/{server['id']}/os-instance-actions"))["instanceActions"]
    return [(a["action"], a["message"]) for a in found]


async def suspended(world: World, **asked: object) -> dict:
    server = await world.boot(**asked)
    await world.act(server, {"suspend": None})
    await world.settle()
    return server


async def test_a_suspended_guest_goes_on_where_it_was(world: World) -> None:
    server = await world.boot()
    await world.act(server, {"suspend": None})
    seen = await world.show(server)
    assert (seen["status"], seen["OS-EXT-STS:task_state"]) == ("ACTIVE", "suspending")
    await world.settle()
    seen = await world.show(server)
    assert (seen["status"], seen["OS-EXT-STS:vm_state"], seen["OS-EXT-STS:power_state"]) == ("SUSPENDED", "suspended", 4)
    assert [s["id"] for s in (await world.call("GET", "/servers?status=SUSPENDED"))["servers"]] == [server["id"]]
    assert await world.violations() == []
    await world.act(server, {"resume": None})
    assert (await world.show(server))["OS-EXT-STS:task_state"] == "resuming"
    await world.settle()
    seen = await world.show(server)
    assert (seen["status"], seen["OS-EXT-STS:power_state"]) == ("ACTIVE", 1)
    assert boots(world, server) == 1
    assert (await actions(world, server))[:2] == [("resume", None), ("suspend", None)]


async def test_a_hard_reboot_forgets_the_memory(world: World) -> None:
    server = await suspended(world, networks="none")
    await world.act(server, {"reboot": {"type": "SOFT"}}, 409)
    await world.act(server, {"reboot": {"type": "HARD"}})
    await world.settle()
    assert (await world.show(server))["status"] == "ACTIVE"
    assert boots(world, server) == 2


async def test_what_a_suspended_server_cannot_do_and_what_it_can(world: World) -> None:
    server = await suspended(world)
    for name in ("suspend", "pause", "os-stop", "os-start", "rescue", "unrescue", "unshelve", "restore", "trigger_crash_dump"):
        said = await world.act(server, {name: None}, 409)
        wanted = f"Cannot '{name.removeprefix('os-')}' instance {server['id']} while it is in vm_state suspended"
        assert said["conflictingRequest"]["message"] == wanted
    await world.call("POST", f"/servers/{server['id']}/metadata", 200, {"metadata": {"a": "b"}})
    made = await world.act(server, {"createImage": {"name": "copy"}})
    await world.settle()
    assert (await world.api.member.get(f"/image/v2/images/{made['image_id']}")).json()["status"] == "active"
    assert (await world.show(server))["status"] == "SUSPENDED"
    await world.act(server, {"lock": None})
    await world.act(server, {"resume": None}, 409)
    await world.act(server, {"unlock": None})
    await world.call("DELETE", f"/servers/{server['id']}", 204)
    await world.settle()
    assert await world.violations() == []
    assert world.api.nodes["sim-1"].kept.servers == {}


async def test_a_port_that_went_meanwhile_is_gone_when_it_resumes(world: World) -> None:
    server = await suspended(world)
    (port,) = (await world.neutron("GET", f"/ports?device_id={server['id']}"))["ports"]
    assert (await world.api.admin.delete(f"/network/v2.0/ports/{port['id']}")).status_code == 204
    await world.settle()
    await world.act(server, {"resume": None})
    await world.settle()
    seen = await world.show(server)
    assert (seen["status"], seen["addresses"]) == ("ACTIVE", {})
    assert await world.violations() == []


@pytest.mark.parametrize(("verb", "action"), [("suspend_server", "suspend"), ("resume_server", "resume")])
async def test_what_a_host_refuses_ends_in_error_until_a_hard_reboot(world: World, verb: str, action: str) -> None:
    server = await (suspended(world) if action == "resume" else world.boot())
    order(world, verb, "refused")
    await world.act(server, {action: None})
    await world.settle()
    seen = await world.show(server)
    assert (seen["status"], seen["fault"]["message"]) == ("ERROR", "This fault was ordered.")
    assert (await actions(world, server))[0] == (action, "Error")
    await world.act(server, {"reboot": {"type": "HARD"}})
    await world.settle()
    assert (await world.show(server))["status"] == "ACTIVE"


@pytest.mark.parametrize("after", [False, True])
async def test_lost_calls_and_lost_answers_change_nothing(world: World, after: bool) -> None:
    server = await world.boot(networks="none")
    for verb, body, status in (("suspend_server", {"suspend": None}, "SUSPENDED"), ("resume_server", {"resume": None}, "ACTIVE")):
        order(world, verb, "unreachable", after=after)
        await world.act(server, body)
        for _ in range(3):
            await world.settle()
        assert (await world.show(server))["status"] == status
    assert boots(world, server) == 1


async def test_an_nmi_reaches_the_guest_and_changes_no_state(world: World) -> None:
    server = await world.boot(networks="none")
    await world.call("POST", f"/servers/{server['id']}/action", 404, {"trigger_crash_dump": None}, "2.16")
    await world.act(server, {"trigger_crash_dump": None})
    assert "NMI" in (await world.act(server, {"os-getConsoleOutput": {}}, 200))["output"]
    seen = await world.show(server)
    assert (seen["status"], seen["OS-EXT-STS:task_state"]) == ("ACTIVE", None)
    order(world, "trigger_crash_dump", "refused")
    await world.act(server, {"trigger_crash_dump": None})
    assert (await actions(world, server))[:2] == [("trigger_crash_dump", "Error"), ("trigger_crash_dump", None)]
    await world.act(server, {"os-stop": None})
    await world.settle()
    said = await world.act(server, {"trigger_crash_dump": None}, 409)
    assert said["conflictingRequest"]["message"].endswith("while it is in vm_state stopped")


async def test_a_guest_that_runs_after_all_is_active(world: World) -> None:
    server = await suspended(world, networks="none")
    await world.guest_goes(server["id"], "running")
    assert (await world.show(server))["status"] == "ACTIVE"
