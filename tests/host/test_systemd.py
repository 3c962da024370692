"""`moln install` on a booted Debian with systemd: the cloud starts with the machine, comes back, and is taken away again.

One story in the order of the file; the guest's cloud is a simulated one, the unit and the supervisor are what they are anywhere.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.host.debian_guest import DebianGuest, debian_guest, missing_tools

pytestmark = [pytest.mark.systemd, pytest.mark.timeout(3600)]
READY = """python3 -c 'import urllib.request; print(urllib.request.urlopen("http://127.0.0.1:5000/readyz").read().decode())'"""


@pytest.fixture(scope="module")
def guest() -> Iterator[DebianGuest]:
    if os.geteuid() != 0:
        pytest.skip("needs root, for chroot and a disk's owners")
    if absent := missing_tools():
        pytest.skip(f"needs the packages {' '.join(absent)}")
    folder = Path(tempfile.mkdtemp(prefix="moln-systemd-", dir="/var/tmp"))
    try:
        with debian_guest(folder) as booted:
            yield booted
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def show(guest: DebianGuest, name: str) -> str:
    return guest.ok(f"systemctl show -P {name} moln.service")


def controller(guest: DebianGuest) -> str:
    """Its pid."""
    return guest.ok("moln status | awk '$1 == \"controller\" && $2 == \"ready\" { print $3 }'")


def test_install_writes_a_unit_that_systemd_takes_as_it_is(guest: DebianGuest) -> None:
    guest.ok("mkdir -p /var/lib/moln && echo 'simulate = true' > /var/lib/moln/moln.toml")
    assert "is installed" in guest.ok("moln install")
    assert "was installed already" in guest.ok("moln install")
    assert guest.ok("systemctl is-enabled moln.service") == "enabled"
    assert guest.ok("systemd-analyze verify moln.service") == ""
    assert show(guest, "ActiveState") == "inactive"


def test_up_is_systemds_start(guest: DebianGuest) -> None:
    said = guest.ok("moln up --nodes 2", timeout_s=600)  # without --detach: it returns all the same
    assert "sim-2" in said and "systemd keeps it" in said
    assert (show(guest, "ActiveState"), show(guest, "NRestarts")) == ("active", "0")
    assert '"ready":true' in guest.ok(READY)
    assert "1 of 1 engines are ready" in show(guest, "StatusText")
    assert "✓ boot" in guest.sh("moln doctor")[1]
    assert guest.ok(f"cat /proc/{show(guest, 'MainPID')}/cmdline | tr '\\0' ' '").endswith("moln.host.supervise unit /var/lib/moln/host/run")


def test_the_cloud_starts_with_the_machine(guest: DebianGuest) -> None:
    password = guest.ok("cat /var/lib/moln/admin.password")
    guest.reboot()
    guest.sh("systemctl is-system-running --wait", timeout_s=900)  # whatever else failed: the jobs of the boot are over
    assert show(guest, "ActiveState") == "active"
    assert '"ready":true' in guest.ok(READY)
    assert guest.ok("cat /var/lib/moln/admin.password") == password
    assert guest.ok("moln top --once").count("sim-") == 2  # what `moln up` was asked is remembered


def test_a_killed_supervisor_is_back_and_nothing_else_notices(guest: DebianGuest) -> None:
    main, before = show(guest, "MainPID"), controller(guest)
    guest.ok("systemctl kill --kill-whom=main --signal=KILL moln.service")
    wait = f'until [ "$(systemctl show -P MainPID moln.service)" != {main} ] && systemctl is-active -q moln.service; do sleep 1; done'
    guest.ok(f"timeout 280 sh -c '{wait}'")
    assert controller(guest) == before and show(guest, "NRestarts") == "1"
    assert '"ready":true' in guest.ok(READY)


def test_what_a_guest_runs_in_outlives_stop_and_start(guest: DebianGuest) -> None:
    group = f"/sys/fs/cgroup{show(guest, 'ControlGroup')}"
    pid = guest.ok(f"setsid sleep 100000 >/dev/null 2>&1 & echo $! | tee {group}/cgroup.procs")
    guest.ok("systemctl restart moln.service", timeout_s=600)
    guest.ok(f"kill -0 {pid} && kill {pid}")


def test_down_is_systemds_stop_and_up_brings_it_back(guest: DebianGuest) -> None:
    guest.ok("moln down", timeout_s=400)
    assert show(guest, "ActiveState") == "inactive"
    assert guest.sh("moln status")[0] == 1 and guest.sh("pgrep -f moln.controller")[0] == 1
    guest.ok("moln up", timeout_s=600)
    assert show(guest, "ActiveState") == "active" and '"ready":true' in guest.ok(READY)


def test_uninstall_leaves_the_cloud_and_no_unit(guest: DebianGuest) -> None:
    assert "is gone" in guest.ok("moln install --uninstall", timeout_s=400)
    assert guest.sh("systemctl cat moln.service")[0] != 0
    assert "No unit" in guest.ok("moln install --uninstall")
    guest.ok("test -e /var/lib/moln/cloud.db")
    guest.ok("moln up --detach", timeout_s=600)
    assert "hand it over" in guest.ok("moln install")


def test_purge_takes_the_unit_back(guest: DebianGuest) -> None:
    guest.ok("moln down && moln up", timeout_s=600)
    assert show(guest, "ActiveState") == "active"
    guest.ok("moln down --purge", timeout_s=400)
    assert guest.sh("systemctl cat moln.service")[0] != 0 and guest.sh("pgrep -f moln.controller")[0] == 1
    guest.ok("test ! -e /var/lib/moln && test ! -e /etc/systemd/system/multi-user.target.wants/moln.service")
