"""What is asked of guests, against libvirt's own test driver: a domain that is made up, behind the real bindings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

pytest.importorskip("libvirt")
import libvirt

from moln.compute.drivers import libvirt_guests
from moln.kernel.errors import BackendRefused

HOST = """<node><domain type='test'><name>moln-one</name><uuid>6695eb01-f6a4-8304-79aa-97f2502e193f</uuid>
  <memory unit='MiB'>512</memory><currentMemory unit='MiB'>256</currentMemory><vcpu>2</vcpu><os><type>hvm</type></os>
  <devices>
    <disk type='file' device='disk'><source file='/disk'/><target dev='vda' bus='virtio'/></disk>
    <memballoon model='virtio'/><interface type='ethernet'><mac address='aa:bb:cc:dd:ee:ff'/><target dev='tap1'/></interface>
  </devices>
</domain></node>"""


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[libvirt.virConnect]:
    (tmp_path / "host.xml").write_text(HOST)
    made = libvirt.open(f"test://{tmp_path}/host.xml")
    yield made
    made.close()


def test_a_running_domain_in_numbers(connection: libvirt.virConnect) -> None:
    (domain,) = connection.listAllDomains()
    told = libvirt_guests.find_diagnostics(connection, domain.UUIDString(), "kvm")
    assert told is not None and (told.driver, told.hypervisor) == ("libvirt", "kvm")
    assert len(told.cpu_times_ns) == 2 and all(told.cpu_times_ns)
    assert (told.memory_kib, told.memory_used_kib) == (512 << 10, 256 << 10) and told.memory_stats["actual"] == 256 << 10
    (disk,), (card,) = told.disks, told.cards
    numbers = [disk.read_requests, disk.read_bytes, disk.write_requests, disk.write_bytes, disk.errors]
    assert disk.device == "vda" and numbers == sorted(numbers, reverse=True) and all(numbers)  # as the test driver makes them up
    assert (card.name, card.mac) == ("tap1", "aa:bb:cc:dd:ee:ff") and card.rx_octets > card.rx_packets > card.rx_errors > 0


def test_what_does_not_run_has_no_numbers_and_takes_no_password(connection: libvirt.virConnect) -> None:
    (domain,) = connection.listAllDomains()
    id = domain.UUIDString()
    assert libvirt_guests.set_password(connection, id, "root", "secret")
    domain.suspend()
    assert libvirt_guests.find_diagnostics(connection, id, "kvm") is None
    domain.destroy()
    assert libvirt_guests.find_diagnostics(connection, id, "kvm") is None
    for unknown in (id, str(uuid4())):
        with pytest.raises(BackendRefused):
            libvirt_guests.set_password(connection, unknown, "root", "secret")
    assert libvirt_guests.find_diagnostics(connection, str(uuid4()), "kvm") is None


@pytest.mark.parametrize(("code", "silent"), [(libvirt.VIR_ERR_AGENT_UNRESPONSIVE, True), (libvirt.VIR_ERR_ARGUMENT_UNSUPPORTED, True),
                                              (libvirt.VIR_ERR_INTERNAL_ERROR, False)])  # fmt: skip
def test_an_agent_that_is_silent_is_told_from_one_that_refuses(monkeypatch: pytest.MonkeyPatch, connection: libvirt.virConnect, code: int,
                                                              silent: bool) -> None:  # fmt: skip
    def refuse(domain: libvirt.virDomain, user: str, password: str, flags: int) -> None:
        error = libvirt.libvirtError("no")
        error.err = (code, 0, f"secret {password}", 2, "", "", "", -1, -1)
        raise error

    (domain,) = connection.listAllDomains()
    monkeypatch.setattr(libvirt.virDomain, "setUserPassword", refuse)
    if silent:
        assert libvirt_guests.set_password(connection, domain.UUIDString(), "root", "hidden") is False
        return
    with pytest.raises(BackendRefused) as refused:
        libvirt_guests.set_password(connection, domain.UUIDString(), "root", "hidden")
    assert "hidden" not in f"{refused.value.message} {refused.value.detail} {refused.value.__cause__}"
