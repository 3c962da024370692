"""What is decided about the host from what it says of itself."""

from __future__ import annotations

import shlex
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import msgspec
import pytest

from moln.host import libvirt, made, ovn, pool, provider, setup
from moln.host.checks import HOST_CHECKS, check_reflink, cpu_has_virtualisation
from moln.host.engines import mounts_below
from moln.host.ovs import Ovs
from moln.host.places import Places
from moln.host.processes import Choices, build, open_to_all, options, simulated
from moln.host.roles import Machine, Role
from moln.host.run import HostError, run
from moln.host.settings import HostSettings

GIB = 1 << 30


@pytest.mark.parametrize(("settings", "free", "gib"), [
    (HostSettings(), 90 * GIB, 30),
    (HostSettings(), 12 * GIB, 8),
    (HostSettings(), 9000 * GIB, 500),
    (HostSettings(pool_size_gib=20), 90 * GIB, 20),
    (HostSettings(pool_size_gib=200, pool_allocated=False), 90 * GIB, 200),
])
def test_the_pools_size_follows_the_disk_unless_it_is_set(settings: HostSettings, free: int, gib: int) -> None:
    assert pool.image_size(settings, free) == gib * GIB


def test_a_pool_that_does_not_fit_is_refused_with_a_way_out() -> None:
    with pytest.raises(HostError, match="pool_size_gib"):
        pool.image_size(HostSettings(pool_size_gib=100), 50 * GIB)


def test_the_gateway_is_the_first_address_of_the_range() -> None:
    assert HostSettings(provider_cidr="203.0.113.0/24").gateway == IPv4Address("203.0.113.1")
    with pytest.raises(ValueError):
        _ = HostSettings(provider_cidr="203.0.113.7/24").provider


def test_a_floating_range_in_use_is_refused() -> None:
    def link(name: str, address: str, length: int) -> dict[str, object]:
        return {"ifname": name, "addr_info": [{"family": "inet", "local": address, "prefixlen": length}]}

    cidr = IPv4Network("172.24.4.0/24")
    provider.check_free(cidr, [link("eth0", "192.0.2.2", 24), link("moln-gw", "172.24.4.1", 24)])
    with pytest.raises(HostError, match=r"172\.24\.0\.0/16 on eth0.*provider_cidr"):
        provider.check_free(cidr, [link("eth0", "172.24.9.9", 16)])


def test_nat_is_only_for_the_range_and_replaces_the_table_whole() -> None:
    text = provider.rules(HostSettings(provider_cidr="203.0.113.0/24"))
    assert text.index("delete table ip moln") < text.index("masquerade")
    assert "ip saddr 203.0.113.0/24 ip daddr != 203.0.113.0/24" in text


@pytest.mark.parametrize(("cpuinfo", "has"), [
    ("flags\t\t: fpu vmx sse2\n", True), ("flags : svm\n", True), ("flags : fpu sse2\nmodel name : svm\n", False)])
def test_kvm_needs_the_cpus_flag(cpuinfo: str, has: bool) -> None:
    assert cpu_has_virtualisation(cpuinfo) is has


def test_every_check_answers_on_any_host_and_says_how_to_mend(tmp_path: Path) -> None:
    for check in HOST_CHECKS:
        finding = check(Places(tmp_path / "none"))
        assert finding.level in ("ok", "note", "bad")
        assert finding.text
        assert finding.level == "ok" or finding.mend or finding.name == "disk"


@pytest.mark.parametrize(("simulate", "level"), [(True, "note"), (False, "bad")])
def test_a_pool_that_copies_is_no_fault_of_a_simulated_cloud(tmp_path: Path, simulate: bool, level: str) -> None:
    places = Places(tmp_path)
    places.pool.mkdir()
    if pool.can_reflink(places.pool):
        pytest.skip("nothing here copies")
    places.choices.parent.mkdir()
    places.choices.write_bytes(msgspec.json.encode(Choices(simulate=simulate)))
    assert check_reflink(places).level == level


def test_every_engine_waits_for_engines_that_exist(tmp_path: Path) -> None:
    places, usr = Places(tmp_path), tmp_path / "usr"
    for program in ("sbin/ovsdb-server", "sbin/ovs-vswitchd", "bin/ovn-northd", "bin/ovn-controller"):
        (usr / program).parent.mkdir(parents=True, exist_ok=True)
        (usr / program).touch()
    engines = ovn.engines(places, Ovs("netdev", tmp_path), HostSettings(), "host-1") + libvirt.engines(places)
    names = [e.name for e in engines]
    assert len(set(names)) == len(names)
    for engine in engines:
        assert set(engine.needs) <= set(names[: names.index(engine.name)]), engine.name
        assert engine.ready_socket and len(engine.ready_socket) - len(str(tmp_path)) < 60
    assert {e.name for e in engines if e.user == "moln"} == {"ovsdb-nb", "ovsdb-sb", "ovn-northd"}


def test_the_chassis_is_set_up_with_our_bridges_only(tmp_path: Path) -> None:
    command = shlex.join(ovn.chassis_setup("vsctl", Places(tmp_path), Ovs("netdev", tmp_path), HostSettings(), "h"))
    assert "br-int" not in command
    assert 'ovn-bridge="moln-int"' in command
    assert 'ovn-bridge-mappings="public:moln-ex"' in command
    assert "datapath_type=netdev" in command


def test_only_what_was_chosen_is_told_to_the_controller(tmp_path: Path) -> None:
    assert options(Choices()) == []
    assert options(Choices(port=5001, listen="::1")) == ["--listen", "::1", "--port", "5001"]
    (engine,) = simulated(Places(tmp_path), Choices(simulate=True, nodes=3))
    assert engine.argv[-3:] == ["--simulate", "--nodes", "3"]
    assert engine.notify


def test_a_folder_behind_a_closed_one_is_not_open_to_all(tmp_path: Path) -> None:
    inner = tmp_path / "closed" / "inner"
    inner.mkdir(parents=True)
    inner.parent.chmod(0o700)
    assert not open_to_all(inner)
    assert open_to_all(Path("/usr/bin"))


def test_a_home_that_is_purged_already_can_be_purged_again(tmp_path: Path) -> None:
    places = Places(tmp_path / "gone")
    made.write(places, made.read(places))
    assert not places.home.exists()


def test_each_bridge_that_is_made_is_noted_and_goes_with_the_cloud(tmp_path: Path) -> None:
    places = Places(tmp_path)
    places.host.mkdir()
    node = Machine(Role.NODE, "n1", "192.0.2.2", controllers=("192.0.2.1",))
    provider.note_bridges(places)
    words = ovn.chassis_setup("ovs-vsctl", places, Ovs("system", Path("/")), HostSettings(), "n1", node)
    bridges = {words[n + 1] for n, word in enumerate(words) if word == "add-br"}
    assert bridges == {"moln-int"} and bridges <= set(made.read(places).links)


def test_mounts_are_taken_down_from_the_inside(tmp_path: Path) -> None:
    text = "a /h/pool xfs rw 0 0\nb /h/pool/x\\040y ext4 rw 0 0\nc /home xfs rw 0 0\n"
    assert mounts_below(Path("/h"), text) == ["/h/pool/x y", "/h/pool"]


def test_a_program_that_fails_says_its_last_words() -> None:
    with pytest.raises(HostError, match=r"failed \(3\): oh no"):
        run("/bin/sh", "-c", "echo oh no >&2; exit 3")
    with pytest.raises(HostError, match="did not end within"):
        run("/bin/sleep", "5", timeout_s=0.1)
    with pytest.raises(HostError, match="not installed"):
        run("no-such-program-here")


def test_an_extra_that_cannot_be_fetched_is_one_line_that_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configuration = tmp_path / ".config/pip/pip.conf"
    configuration.parent.mkdir(parents=True)
    configuration.write_text("[global]\nindex-url = http://127.0.0.1:1/\nretries = 0\ntimeout = 1\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(HostError, match=r"^moln-nothing-of-the-sort could not be installed .*install moln\[scale\] beforehand\.$"):
        setup.pip_install(["moln-nothing-of-the-sort"], "scale", tmp_path / "setup.log")
    assert "No matching distribution" in (tmp_path / "setup.log").read_text()


def test_a_changed_source_file_is_another_build(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("1")
    first = build(tmp_path)
    assert build(tmp_path) == first
    (tmp_path / "a.py").write_text("2")
    assert build(tmp_path) != first
    places = Places(tmp_path)
    assert simulated(places, Choices())[0].digest == simulated(places, Choices())[0].digest
