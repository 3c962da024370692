"""What each role's machine sets up and runs: decided from data alone."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

import msgspec
import pytest

from moln.cli import unit
from moln.cli.commands import controller as command
from moln.cli.commands import node as node_command
from moln.host import engines, etcd, libvirt, ovn, packages, postgresql, promoting, provider, roles, setup, tunnels
from moln.host.ovs import Ovs
from moln.host.places import Places
from moln.host.processes import Choices, options
from moln.host.provider import check_card
from moln.host.roles import ALONE, ENGINES, Machine, Part, Provider, Role, Tls
from moln.host.run import HostError
from moln.host.settings import HostSettings
from moln.host.supervise.plan import Engine

TLS = Tls("/t/key.pem", "/t/crt.pem", "/t/ca.crt")
CONTROLLER = Machine(Role.CONTROLLER, "c1", "192.0.2.1", "eth1", tls=TLS)
NODE = Machine(Role.NODE, "n1", "192.0.2.2", "eth1", controllers=("192.0.2.1", "192.0.2.9"), tls=TLS)
WHOLE = ("Packages", "Users and directories", "Storage pool", "Provider network", "Engine configuration")
MOLNS_OWN = [Engine(name, ["/bin/true"], needs=["ovsdb-nb", "ovsdb-sb", "ovn-controller", "libvirtd"]) for name in ("controller", "node")]


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Places:
    for program in ("sbin/ovsdb-server", "sbin/ovs-vswitchd", "bin/ovn-northd", "bin/ovn-controller"):
        (tmp_path / "usr" / program).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "usr" / program).touch()
    monkeypatch.setattr(tunnels, "underlay", lambda address: tunnels.Card("02:00:00:00:00:01", 1500))  # the machine's own cards
    return Places(tmp_path)


@pytest.mark.parametrize(("machine", "userspace", "wanted"), [
    (ALONE, True, WHOLE),
    (ALONE, False, WHOLE),
    (CONTROLLER, False, (*WHOLE[:2], "Certificates", *WHOLE[2:])),
    (CONTROLLER, True, (*WHOLE[:2], "Certificates", *WHOLE[2:4], "Tunnels", WHOLE[4])),
    (Machine(Role.CONTROLLER, "c1", "192.0.2.1", guests=False, tls=TLS), True, (*WHOLE[:2], "Certificates", WHOLE[2], WHOLE[4])),
    (NODE, False, WHOLE),
    (Machine(Role.NODE, "n1", "192.0.2.2", controllers=("192.0.2.1",), tls=TLS), True, (*WHOLE[:3], "Tunnels", WHOLE[4])),
    (Machine(Role.NODE, "n1", "192.0.2.2", "eth1", guests=False, tls=TLS), False, (*WHOLE[:2], *WHOLE[3:])),
])  # fmt: skip
def test_each_role_has_its_steps(machine: Machine, userspace: bool, wanted: tuple[str, ...]) -> None:
    assert roles.steps(machine, userspace=userspace) == wanted
    assert set(wanted) <= setup.STEPS.keys()


def planned(places: Places, machine: Machine) -> dict[str, Engine]:
    more = [e for e in [*([Engine("nats-server", ["/bin/true"])] if machine.runs_nats else []), *MOLNS_OWN] if e.name in roles.engines(machine)]
    plan = engines.plan(places, HostSettings(), Ovs("netdev", places.home), more, machine)
    return {e.name: e for e in plan.engines}


@pytest.mark.parametrize(("machine", "parts"), [
    (ALONE, set(Part)), (CONTROLLER, set(Part)), (NODE, {Part.SWITCH, Part.GUESTS}),
    (Machine(Role.CONTROLLER, guests=False), {Part.CENTRAL}),
    (Machine(Role.CONTROLLER, guests=False, provider_interface="eth1"), {Part.CENTRAL, Part.SWITCH}),
    (Machine(Role.NODE, guests=False), {Part.SWITCH}),
])  # fmt: skip
def test_each_role_runs_its_engines_and_waits_for_none_that_is_elsewhere(places: Places, machine: Machine, parts: set[Part]) -> None:
    assert machine.parts == parts
    found = planned(places, machine)
    assert found.keys() == roles.engines(machine) - {"metadata"}
    for engine in found.values():
        assert set(engine.needs) <= found.keys(), engine.name


def test_a_machine_alone_has_what_it_always_had(places: Places) -> None:
    """The order, the sockets, nothing that listens, and the veth of its own gateway."""
    found = planned(places, ALONE)
    assert list(found) == ["ovsdb-nb", "ovsdb-sb", "ovn-northd", "ovsdb-vswitch", "ovs-vswitchd", "ovn-controller", "virtlogd", "libvirtd",
                           "controller", "node"]  # fmt: skip
    words = " ".join(word for e in found.values() for command in (e.argv, *e.after) for word in command)
    assert "ssl" not in words and "private-key" not in words and tunnels.BRIDGE not in words
    assert f"add-port moln-ex {provider.PEER}" in words
    assert found["ovn-controller"].needs == ["ovs-vswitchd", "ovsdb-sb"]
    assert len([*ovn.engines(places, Ovs("netdev", places.home), HostSettings(), "h"), *libvirt.engines(places)]) == 8


def test_the_controller_serves_its_southbound_database_to_chassis_and_the_northbound_one_to_controllers(places: Places) -> None:
    assert "ssl" not in " ".join(planned(places, CONTROLLER)["ovsdb-nb"].argv), "where guests run there is one controller"
    found = planned(places, msgspec.structs.replace(CONTROLLER, guests=False))
    north, south = (" ".join(found[name].argv) for name in ("ovsdb-nb", "ovsdb-sb"))
    among = f"{places.home}/controllers"
    assert f"--private-key={among}/controller.pem --certificate={among}/controller.pem --ca-cert={among}/ca.crt" in north
    assert found["ovsdb-nb"].after[-1][-2:] == ["set-connection", "pssl:6641:192.0.2.1"]
    assert f"--private-key=/t/key.pem --certificate=/t/crt.pem --ca-cert={among}/both.crt" in south
    assert found["ovsdb-sb"].after[-1][-3:] == ["set-connection", "role=ovn-controller", "pssl:6642:192.0.2.1"]
    assert "--private-key" not in " ".join(planned(places, CONTROLLER)["ovn-controller"].argv), "its own chassis goes by the socket"


def test_a_nodes_chassis_goes_to_every_controller_with_its_certificate(places: Places) -> None:
    found = planned(places, NODE)
    setup_words = shlex.join(found["ovsdb-vswitch"].after[1])
    assert 'ovn-remote="ssl:192.0.2.1:6642,ssl:192.0.2.9:6642"' in setup_words
    assert 'ovn-encap-ip="192.0.2.2"' in setup_words and 'system-id="n1"' in setup_words
    assert 'ovn-bridge-mappings="public:moln-ex"' in setup_words
    assert "add-port moln-ex eth1" in setup_words and f"del-port moln-ex {provider.PEER}" in setup_words
    assert "--certificate=/t/crt.pem" in found["ovn-controller"].argv
    assert tunnels.BRIDGE in setup_words and tunnels.BRIDGE in " ".join(found["ovs-vswitchd"].after[-1])


def test_a_nodes_chassis_goes_where_the_cloud_says_that_its_southbound_database_is(places: Places) -> None:
    told = msgspec.structs.replace(NODE, ovn=("", "ssl:192.0.2.7:6642"))
    assert 'ovn-remote="ssl:192.0.2.7:6642"' in shlex.join(planned(places, told)["ovsdb-vswitch"].after[1])
    assert planned(places, told).keys() == planned(places, NODE).keys()


def test_a_node_without_a_card_reaches_no_provider_network(places: Places) -> None:
    machine = Machine(Role.NODE, "n1", "192.0.2.2", controllers=("fd00::1",), tls=TLS)
    assert machine.provider == Provider.NONE
    words = shlex.join(planned(places, machine)["ovsdb-vswitch"].after[1])
    assert "moln-ex" not in words and 'ovn-bridge-mappings=""' in words
    assert 'ovn-remote="ssl:[fd00::1]:6642"' in words


def test_a_controller_has_its_own_nats_or_the_one_it_was_given() -> None:
    assert CONTROLLER.nats_urls == ("tls://192.0.2.1:4222",) and "nats-server" in roles.engines(CONTROLLER)
    given = Machine(Role.CONTROLLER, "c1", "192.0.2.1", nats=("tls://n1:4222", "tls://n2:4222"), tls=TLS)
    assert given.nats_urls == given.nats and "nats-server" not in roles.engines(given)
    assert options(Choices(), given) == ["--nats", "tls://n1:4222", "--nats", "tls://n2:4222", "--name", "c1"]
    for other in (ALONE, NODE, Machine(Role.CONTROLLER)):
        assert other.nats_urls == () and options(Choices(), other) == []


def test_a_controller_that_was_given_engines_or_joined_another_runs_none_of_those(places: Places) -> None:
    given = Machine(Role.CONTROLLER, "c1", "192.0.2.1", guests=False, nats=("tls://n1:4222",), etcd=("https://e1:2379",),
                    ovn=("ssl:o1:6641", "ssl:o1:6642"), tls=TLS)  # fmt: skip
    joined = Machine(Role.CONTROLLER, "c2", "192.0.2.3", guests=False, joined="192.0.2.1", tls=TLS)
    for machine in (given, joined):
        found = planned(places, machine)
        assert list(found) == ["controller"] and found["controller"].needs == []
        assert roles.steps(machine, userspace=True) == ("Packages", "Users and directories", "Certificates", "Storage pool", "Engine configuration")
    assert options(Choices(), given)[2:] == ["--etcd", "https://e1:2379", "--ovn", "ssl:o1:6641", "ssl:o1:6642", "--name", "c1"]
    assert options(Choices(), joined) == ["--name", "c2"], "moln.toml says the rest"


def test_several_controllers_have_postgresql_and_etcd_of_the_distribution_unless_given(tmp_path: Path) -> None:
    own = command.controller(arguments(tmp_path, ha=True))
    assert own.packages == ("nats", "postgresql", "etcd") and {"postgresql", "etcd"} <= roles.engines(own) and not own.guests
    assert options(Choices(), own)[2:] == ["--etcd", "https://192.0.2.1:2379", "--name", "c1"]
    given = command.controller(arguments(tmp_path, ha=True, database_url="postgresql://db/moln", etcd=["https://e1:2379"], nats=["tls://n1:4222"]))
    assert given.packages == () and not {"postgresql", "etcd"} & roles.engines(given) and given.etcd_urls == ("https://e1:2379",)
    alone = command.controller(arguments(tmp_path))
    assert alone.packages == ("nats", "nbdkit") and alone.guests and alone.etcd_urls == (), "one controller stays on SQLite"
    assert roles.ALONE.packages == () and not roles.ALONE.lends, "volumes are lent between machines only"
    assert Machine(Role.NODE, "n1").packages == ("nbdkit",) and Machine(Role.NODE, "n1", guests=False).packages == ()
    for row in packages.TABLE:
        if row.id == "rhel":
            with pytest.raises(HostError, match="no package of nats.*no package of etcd"):
                packages.wanted(row, own_ovs=True, engines=own.packages)
        else:
            assert {"postgresql", "etcd-server"} <= set(packages.wanted(row, own_ovs=True, engines=own.packages))


def test_whoever_joins_a_cloud_with_ha_runs_a_member_of_each_engine_that_was_not_given(tmp_path: Path) -> None:
    first = command.controller(arguments(tmp_path, ha=True))
    assert first.clusters == ("ovn", "etcd", "nats") and command.controller(arguments(tmp_path)).clusters == ()
    assert command.controller(arguments(tmp_path, ha=True, etcd=["https://e1:2379"], nats=["tls://n1:4222"])).clusters == ("ovn",)
    third = Machine(Role.CONTROLLER, "c3", "192.0.2.3", guests=False, joined="192.0.2.2", runs_etcd=True, clusters=first.clusters,
                    peers=("192.0.2.1", "192.0.2.2"), tls=TLS)  # fmt: skip
    besides = {"ovsdb-nb", "ovsdb-sb", "ovsdb-nodes", "ovn-northd", "nats-server", "etcd"}
    assert besides <= roles.engines(third) and besides <= roles.engines(first) and third.packages == ("nats", "etcd")
    assert third.nats_urls == ("tls://192.0.2.3:4222", "tls://192.0.2.1:4222", "tls://192.0.2.2:4222")
    assert third.etcd_urls[0] == "https://192.0.2.3:2379" and len(third.etcd_urls) == 3
    words = etcd.engine(Places(tmp_path), third).argv
    assert "--initial-cluster-state=existing" in words and "--name=c3" in words
    assert "--initial-cluster=192.0.2.1=https://192.0.2.1:2380,192.0.2.2=https://192.0.2.2:2380,c3=https://192.0.2.3:2380" in words
    began = etcd.engine(Places(tmp_path), first).argv
    assert "--initial-cluster-state=new" in began and "--initial-cluster=c1=https://192.0.2.1:2380" in began
    older = Machine(Role.CONTROLLER, "c2", "192.0.2.2", guests=False, joined="192.0.2.1", tls=TLS)
    assert not besides & roles.engines(older), "one that joined before goes on with the first one's"


def test_a_controller_that_joins_follows_the_database_and_begins_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgresql, "binaries", lambda: Path("/usr/lib/postgresql/15/bin"))
    places = Places(tmp_path)
    first = command.controller(arguments(tmp_path, ha=True))
    begins = postgresql.configuration(places, first)
    assert begins["etcd3"]["hosts"] == ["192.0.2.1:2379"] and begins["etcd3"]["use_proxies"], "the member beside it, which goes when it goes"
    shared = begins["bootstrap"]["dcs"]
    assert shared["synchronous_mode"] == "quorum" and shared["loop_wait"] + 2 * shared["retry_timeout"] < shared["ttl"]
    assert begins["restapi"]["verify_client"] == "required" and not [line for line in begins["postgresql"]["pg_hba"] if "trust" in line]
    places.settings.write_text('[link]\netcd = ["https://192.0.2.1:2379", "https://192.0.2.9:2379"]\netcd_ca = "/ca"\n')
    joined = Machine(Role.CONTROLLER, "c2", "192.0.2.2", guests=False, joined="192.0.2.1", postgresql=True, tls=TLS)
    follows = postgresql.configuration(places, joined)
    assert "bootstrap" not in follows and follows["name"] == "c2"
    assert follows["etcd3"]["hosts"] == ["192.0.2.1:2379", "192.0.2.9:2379"] and not follows["etcd3"]["use_proxies"] and follows["etcd3"]["cacert"] == "/ca"
    assert postgresql.engine(places, first).ready_socket and not postgresql.engine(places, joined).ready_socket, "copying may take long"
    assert "postgresql" in roles.engines(joined) and joined.packages == ("postgresql",)


def test_what_an_older_version_had_postgresql_read_is_forgotten(tmp_path: Path) -> None:
    conf = tmp_path / "data/postgresql.conf"
    conf.parent.mkdir()
    conf.write_text(f"port = 1\ninclude '{tmp_path}/moln.conf'\n")
    postgresql.forget_include(tmp_path)
    postgresql.forget_include(tmp_path)
    assert conf.read_text() == "port = 1\n"


def arguments(home: Path, **changed: object) -> argparse.Namespace:
    given = {"home": home, "listen": "192.0.2.1", "name": "c1", "provider_interface": "eth1", "guests": True, "nats": [], "etcd": [], "ntp": [], "ha": False,
             "ovn_nb": "", "ovn_sb": "", "database_url": ""}  # fmt: skip
    return argparse.Namespace(**{**given, **changed})


def test_a_controller_is_what_its_command_says_and_nothing_else_afterwards(tmp_path: Path) -> None:
    said = command.controller(arguments(tmp_path))
    assert said.nats_urls == ("tls://192.0.2.1:4222",) and said.tls is not None and said.tls.key.endswith("tls/controller.pem")
    for address in ("127.0.0.1", "0.0.0.0", "eth0", "::"):
        with pytest.raises(HostError, match="address"):
            command.controller(arguments(tmp_path, listen=address))
    with pytest.raises(HostError, match="--ovn-nb and --ovn-sb"):
        command.controller(arguments(tmp_path, ovn_nb="ssl:o1:6641"))
    places = Places(tmp_path)
    command.begin(places, said)
    command.begin(places, said)
    with pytest.raises(HostError, match="is no database"):
        command.give_database(places, "mysql://moln@db/moln")
    command.give_database(places, "postgresql://moln:secret@db/moln")
    assert places.settings.read_text() == 'database_url = "postgresql://moln:secret@db/moln"\n' and places.settings.stat().st_mode & 0o077 == 0
    with pytest.raises(HostError, match="is controller c1 at 192.0.2.1 already"):
        command.begin(places, command.controller(arguments(tmp_path, listen="192.0.2.7")))


def test_a_cloud_of_one_machine_is_not_made_another_by_accident(tmp_path: Path) -> None:
    places = Places(tmp_path)
    places.host.mkdir()
    here = Machine(Role.CONTROLLER, ALONE.called, "127.0.0.1")
    for choices, wanted, database, why in (
        ('{"simulate": true}', here, False, "simulated"),
        ("{}", msgspec.structs.replace(here, guests=False), False, "leave out --no-guests and --ha"),
        ("{}", msgspec.structs.replace(here, name="another"), False, "leave out --name"),
        ("{}", msgspec.structs.replace(here, ovn=("ssl:o1:6641", "ssl:o1:6642")), False, "leave out --ovn-nb"),
        ("{}", here, True, "moln grow --to"),
        ("{}", msgspec.structs.replace(here, address="192.0.2.1"), False, "does not have the address"),
        ("{}", here, False, "moln up --detach"),
    ):
        places.choices.write_text(choices)
        with pytest.raises(HostError, match=why):
            promoting.check(places, wanted, database=database)
    assert not places.machine.exists()


def test_a_card_takes_the_gateways_place_only_when_it_was_looked_at_who_goes_out_by_it(tmp_path: Path) -> None:
    places = Places(tmp_path)
    places.host.mkdir()
    places.ovn.mkdir(parents=True)
    routed = Machine(Role.CONTROLLER, "c1", "127.0.0.1")
    by_card = msgspec.structs.replace(routed, provider_interface="eth1")
    roles.write(places, routed)
    promoting.check(places, by_card)  # it never began
    (places.ovn / "nb.db").touch()
    with pytest.raises(HostError, match="moln up --detach. Or say --replace-gateway"):
        promoting.check(places, by_card)
    promoting.check(places, by_card, replace=True)
    promoting.check(places, routed)


def test_what_a_machine_is_outlives_the_command_that_said_it(tmp_path: Path) -> None:
    places = Places(tmp_path)
    assert roles.read(places) == ALONE
    places.host.mkdir()
    roles.write(places, NODE)
    assert roles.read(places) == NODE


def test_every_engine_belongs_to_one_part() -> None:
    names = [name for members in ENGINES.values() for name in members]
    assert len(set(names)) == len(names)


def card(name: str, **more: object) -> dict[str, object]:
    return {"ifname": name, "link_type": "ether", "addr_info": [], **more}


def address(text: str, **more: object) -> dict[str, object]:
    return {"family": "inet6" if ":" in text else "inet", "local": text, "scope": "global", **more}


def test_the_provider_networks_card_must_be_free() -> None:
    links = [
        {"ifname": "lo", "link_type": "loopback", "addr_info": [address("127.0.0.1")]}, card("eth0", addr_info=[address("192.0.2.1")]),
        card("eth1", addr_info=[address("fe80::1", scope="link"), address("fd00::5", dynamic=True)]), card("eth2", master="br0"),
        card("eth3", master="ovs-system"), card("eth4", addr_info=[address("192.0.2.7", dynamic=True)]),
    ]  # fmt: skip
    check_card("eth1", links)
    check_card("eth3", links)
    for name, why in (("eth0", "has the address 192.0.2.1"), ("eth2", "belongs to br0"), ("lo", "has the address"), ("eth4", "192.0.2.7")):
        with pytest.raises(HostError, match=why):
            check_card(name, links)
    with pytest.raises(HostError, match="no interface eth9 here; without an address there are: eth1, eth3"):
        check_card("eth9", links)


def test_tunnels_begin_at_the_card_that_has_the_address() -> None:
    links = [card("eth0", address="02:00:00:00:00:01", mtu=9000, addr_info=[address("192.0.2.1")]),
             card("moln-tun", address="02:00:00:00:00:02", mtu=1500, addr_info=[address("169.254.77.2")])]  # fmt: skip
    assert tunnels.card_of("192.0.2.1", links) == tunnels.Card("02:00:00:00:00:01", 9000)
    with pytest.raises(HostError, match="does not have the address 192.0.2.2"):
        tunnels.card_of("192.0.2.2", links)
    text = tunnels.rules("192.0.2.1")
    assert text.index("delete table ip moln-tun") < text.index("udp dport 6081")


def test_a_machine_becomes_a_node_only_when_nothing_else_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_command.os, "geteuid", lambda: 0)
    places = Places(tmp_path)
    places.host.mkdir()
    node_command.check_machine(places, "")
    roles.write(places, NODE)
    node_command.check_machine(places, "")
    roles.write(places, CONTROLLER)
    with pytest.raises(HostError, match="a cloud of its own"):
        node_command.check_machine(places, "")
    places.machine.unlink()
    places.choices.write_text("{}")
    with pytest.raises(HostError, match="a cloud of its own"):
        node_command.check_machine(places, "")


def test_a_nodes_unit_waits_for_no_controller(tmp_path: Path) -> None:
    places = Places(tmp_path)
    places.host.mkdir()
    roles.write(places, NODE)
    unit.finish(places)
    assert not (tmp_path / "clouds.yaml").exists()
