"""A guest put aside and brought back: its memory when it is suspended, its disk when it is shelved, its addresses always."""

from __future__ import annotations

from tests.e2e.guests import Guest
from tests.e2e.world import World


def test_a_suspended_guest_goes_on_where_it_was(world: World, demo: Guest) -> None:
    before = demo.wait().boot_id()
    demo.conn.compute.suspend_server(demo.id)
    demo.wait_status("SUSPENDED")
    assert not world.qemu_pid(demo.id)
    demo.conn.compute.resume_server(demo.id)
    demo.wait_status("ACTIVE")
    assert demo.wait().boot_id() == before


def test_a_shelved_server_leaves_its_host_and_comes_back_with_its_disk(world: World, demo: Guest) -> None:
    demo.run("touch /root/shelved && sync")
    name = demo.server.name
    demo.conn.compute.shelve_server(demo.id)
    demo.wait_status("SHELVED_OFFLOADED")
    assert not world.qemu_pid(demo.id)
    assert demo.conn.image.find_image(f"{name}-shelved").status == "active"
    assert demo.port().status == "DOWN"
    world.healthy()
    demo.conn.compute.unshelve_server(demo.id)
    demo.wait_status("ACTIVE")
    assert demo.wait().works("test -f /root/shelved")
    assert demo.conn.image.find_image(f"{name}-shelved") is None
