"""Power: what an owner asks for, and what a guest or its QEMU does by itself."""

from __future__ import annotations

import os
import signal

from tests.e2e.guests import Guest
from tests.e2e.waiting import until
from tests.e2e.world import World


def test_a_soft_reboot_asks_the_guest_and_boots_its_kernel_anew(world: World, demo: Guest) -> None:
    before = demo.wait().boot_id()
    demo.run("touch /root/kept && sync")
    demo.conn.compute.reboot_server(demo.id, "SOFT")
    demo.wait_status("ACTIVE")
    until(lambda: demo.answers() and demo.boot_id() != before, "the kernel booted anew", 240)
    assert demo.works("test -f /root/kept")


def test_a_hard_reboot_is_another_qemu(world: World, demo: Guest) -> None:
    before = world.qemu_pid(demo.id)
    demo.conn.compute.reboot_server(demo.id, "HARD")
    until(lambda: world.qemu_pid(demo.id) not in (0, before), "another QEMU", 60)
    demo.wait_status("ACTIVE")
    demo.wait()


def test_a_stopped_server_has_no_qemu_until_it_is_started(world: World, demo: Guest) -> None:
    demo.conn.compute.stop_server(demo.id)
    demo.wait_status("SHUTOFF")
    assert not world.qemu_pid(demo.id)
    demo.conn.compute.start_server(demo.id)
    demo.wait_status("ACTIVE")
    demo.wait()
    assert demo.works("test -f /root/kept")


def test_a_paused_guest_stands_still_and_goes_on(world: World, demo: Guest) -> None:
    boot, pid = demo.boot_id(), world.qemu_pid(demo.id)
    demo.conn.compute.pause_server(demo.id)
    demo.wait_status("PAUSED")
    assert not demo.answers()
    demo.conn.compute.unpause_server(demo.id)
    demo.wait_status("ACTIVE")
    demo.wait()
    assert (demo.boot_id(), world.qemu_pid(demo.id)) == (boot, pid)


def test_a_guest_that_shuts_itself_down_is_shutoff_within_seconds(world: World, demo: Guest) -> None:
    demo._ssh("(sleep 1; poweroff) >/dev/null 2>&1 &", 30, 10)
    until(lambda: not world.qemu_pid(demo.id), "QEMU ended", 60)
    demo.wait_status("SHUTOFF", timeout_s=5)
    demo.conn.compute.start_server(demo.id)
    demo.wait_status("ACTIVE")
    demo.wait()


def test_a_killed_qemu_is_shutoff_within_seconds_and_starts_again(world: World, demo: Guest) -> None:
    os.kill(world.qemu_pid(demo.id), signal.SIGKILL)
    demo.wait_status("SHUTOFF", timeout_s=5)
    demo.conn.compute.start_server(demo.id)
    demo.wait_status("ACTIVE")
    assert demo.wait().works("test -f /root/kept")
