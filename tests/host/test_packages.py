"""The package table, and what is read from the machine to use it."""

from __future__ import annotations

from pathlib import Path

import pytest

from moln.host import packages
from moln.host.ovs import PREFIX, Ovs, choose, mirror
from moln.host.run import HostError

RELEASES = [
    ('ID=debian\nVERSION_ID="12"\n', "debian", "12"),
    ('ID=debian\nVERSION_ID="13"\n', "debian", "13"),
    ('ID=ubuntu\nID_LIKE=debian\nVERSION_ID="24.04"\n', "ubuntu", "24.04"),
    ('ID="rocky"\nID_LIKE="rhel centos fedora"\nVERSION_ID="9.4"\n', "rhel", "9"),
    ('ID="rhel"\nID_LIKE="fedora"\nVERSION_ID="9.5"\n', "rhel", "9"),
]


@pytest.mark.parametrize(("text", "id", "version"), RELEASES)
def test_a_distribution_is_known_by_its_os_release(text: str, id: str, version: str) -> None:
    row = packages.distribution(packages.os_release(text))
    assert (row.id, row.version) == (id, version)


@pytest.mark.parametrize("text", ['ID=debian\nVERSION_ID="11"', "ID=alpine", 'ID_LIKE="rhel"\nVERSION_ID="8.9"', ""])
def test_any_other_is_refused_with_the_list_of_those_known(text: str) -> None:
    with pytest.raises(HostError, match="debian 12.*ubuntu 24.04"):
        packages.distribution(packages.os_release(text))


@pytest.mark.parametrize("row", packages.TABLE, ids=lambda r: f"{r.id}-{r.version}")
def test_each_row_names_every_engine(row: packages.Distribution) -> None:
    names = " ".join(packages.wanted(row, own_ovs=True))
    for part in ("qemu", "libvirt", "openvswitch", "ovn", "xfsprogs", "nftables", "ethtool", "openssh-client"):
        assert part in names, part
    assert len(set(packages.wanted(row, own_ovs=True))) == len(packages.wanted(row, own_ovs=True))


@pytest.mark.parametrize("row", packages.TABLE, ids=lambda r: f"{r.id}-{r.version}")
def test_each_row_says_of_every_engine_of_many_machines_where_it_comes_from(row: packages.Distribution) -> None:
    assert row.engines.keys() == {"postgresql", "etcd", "nats", "chrony", "nbdkit", "ceph"}
    for engine, names in row.engines.items():
        if names:
            added = packages.wanted(row, own_ovs=False, engines=(engine,))
            assert added[-len(names):] == names and len(added) == len(packages.wanted(row, own_ovs=False)) + len(names)
        else:
            with pytest.raises(HostError, match=f"{row.id} {row.version} has no package of {engine}: install .* or give one with --{engine}"):
                packages.wanted(row, own_ovs=False, engines=("postgresql", engine))


def test_a_machine_without_guests_needs_no_libvirt() -> None:
    row = packages.distribution(packages.os_release('ID=debian\nVERSION_ID="12"'))
    names = packages.wanted(row, own_ovs=False, but=frozenset({"libvirt"}))
    assert "libvirt-daemon" not in names and "qemu-utils" in names


def test_the_distributions_own_ovs_is_left_alone_where_the_prefix_is_used() -> None:
    row = packages.distribution(packages.os_release('ID=debian\nVERSION_ID="12"'))
    assert not any("openvswitch" in n or "ovn" in n for n in packages.wanted(row, own_ovs=False))


@pytest.mark.parametrize(("kernel", "alone", "datapath", "root"), [
    (True, True, "system", Path("/")), (True, False, "netdev", PREFIX), (False, True, "netdev", PREFIX)])
def test_the_kernels_datapath_is_taken_when_nobody_else_uses_it(kernel: bool, alone: bool, datapath: str, root: Path) -> None:
    debian_12 = packages.distribution(packages.os_release('ID=debian\nVERSION_ID="12"'))
    assert choose(debian_12, kernel=kernel, alone=alone) == Ovs(datapath, root)
    debian_13 = packages.distribution(packages.os_release('ID=debian\nVERSION_ID="13"'))
    assert choose(debian_13, kernel=kernel, alone=alone) == Ovs(datapath, Path("/"))


@pytest.mark.parametrize(("sources", "url"), [
    ("Types: deb\nURIs: http://mirror.example/debian\nSuites: bookworm\n", "http://mirror.example/debian"),
    ("# deb http://old.example/debian x main\ndeb http://mirror.example/debian/ bookworm main\n",
     "http://mirror.example/debian"),
    ("deb [arch=amd64 signed-by=/k.gpg] https://a.example/debian bookworm main", "https://a.example/debian"),
    ("deb http://security.example/debian-security x main\ndeb http://b.example/debian x main", "http://b.example/debian"),
])
def test_the_mirror_is_the_one_that_the_host_uses(sources: str, url: str) -> None:
    assert mirror(sources) == url


def test_without_a_mirror_it_says_what_to_do() -> None:
    with pytest.raises(HostError, match="add one"):
        mirror("deb https://packages.example/apt stable main")


def test_no_service_starts_while_packages_are_installed_and_an_older_policy_comes_back(tmp_path: Path) -> None:
    policy = tmp_path / "policy-rc.d"
    policy.write_text("theirs")
    with packages.nothing_started(policy):
        assert "exit 101" in policy.read_text()
        assert policy.stat().st_mode & 0o111
    assert policy.read_text() == "theirs"
    policy.unlink()
    with pytest.raises(RuntimeError), packages.nothing_started(policy):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_a_policy_put_aside_by_a_run_that_died_comes_back(tmp_path: Path) -> None:
    policy, aside = tmp_path / "policy-rc.d", tmp_path / "policy-rc.d.before-moln"
    policy.write_text("ours, left behind")
    aside.write_text("theirs")
    with packages.nothing_started(policy):
        pass
    assert policy.read_text() == "theirs"
    assert not aside.exists()
