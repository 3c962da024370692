"""OVN and OVS as engines: central databases and northd as user moln, the chassis' half as root."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

from moln.host import ovn_cluster, proofs, roles, tunnels
from moln.host.ovs import Ovs
from moln.host.ovsdb import PROBE_MS, QUIET, server, tls_options
from moln.host.places import INTEGRATION_BRIDGE, PHYSICAL_NETWORK, PROVIDER_BRIDGE, USER, Places
from moln.host.provider import PEER
from moln.host.roles import ALONE, NORTHBOUND_PORT, SOUTHBOUND_PORT, Machine, Part, Provider, bracketed
from moln.host.run import run
from moln.host.settings import HostSettings
from moln.host.supervise.plan import Engine
from moln.host.users import own

CLIENTS = ["ovs-vsctl", "ovs-ofctl", "ovs-appctl", "ovs-dpctl", "ovsdb-client", "ovn-nbctl", "ovn-sbctl", "ovn-appctl",
           "ovn-trace"]
FOLLOWERS_TOO = ("ovn-nbctl", "ovn-sbctl", "ovn-trace")  # a member of a cluster answers them, whether it leads or not


def ensure_databases(places: Places, ovs: Ovs, machine: Machine = ALONE) -> None:
    """Create or convert this machine's databases, three where it is alone. Only while their servers are down."""
    places.ovn.mkdir(exist_ok=True)
    places.ovs.mkdir(exist_ok=True)
    own(places.ovn, USER, USER, 0o750)
    own(places.ovs, None, None, 0o700)
    files: list[tuple[Path, str, str | None]] = []
    if machine.runs_ovn and "ovn" in machine.clusters:
        ovn_cluster.ensure_databases(places, ovs, machine)
    elif machine.runs_ovn:
        files += [(places.ovn / "nb.db", "ovn-nb", USER), (places.ovn / "sb.db", "ovn-sb", USER)]
    if Part.SWITCH in machine.parts:
        files += [(places.ovs / "conf.db", "vswitch", None)]
    for file, schema, user in files:
        tool = ovs.command("ovsdb-tool")
        if not file.exists():
            run(*tool, "create", file, ovs.schema(schema))
        elif run(*tool, "needs-conversion", file, ovs.schema(schema)).strip() == "yes":
            run(*tool, "convert", file, ovs.schema(schema))
        own(file, user, user, 0o640)
        lock = file.with_name(f".{file.name}.~lock~")
        if lock.exists():
            own(lock, user, user, 0o600)


def write_clients(places: Places, ovs: Ovs) -> None:
    """run/bin: each client as a command that reaches this cloud. libvirt finds its ovs-vsctl there."""
    places.bin.mkdir(exist_ok=True)
    exports = "".join(f"export {k}={shlex.quote(v)}\n" for k, v in places.environment().items())
    for name in CLIENTS:
        words = [*ovs.command(name), *(["--no-leader-only"] if name in FOLLOWERS_TOO else [])]
        text = f"#!/bin/sh\n{exports}exec {shlex.join(words)} \"$@\"\n"
        file = places.bin / name
        if not file.exists() or file.read_text() != text:
            new = file.with_name(f".{name}")
            new.write_text(text)
            new.chmod(0o755)
            new.replace(file)


def engines(places: Places, ovs: Ovs, settings: HostSettings, chassis: str, machine: Machine = ALONE) -> list[Engine]:
    """Those of them that run on this machine. chassis: its name in the southbound database."""
    central = ovn_cluster.engines if "ovn" in machine.clusters else _central
    return (central(places, ovs, machine) if machine.runs_ovn else []) + (_switch(places, ovs, settings, chassis, machine) if Part.SWITCH in machine.parts else [])


def _central(places: Places, ovs: Ovs, machine: Machine) -> list[Engine]:
    """Chassis of other machines reach the southbound database alone, and may write there what OVN's role for them allows. Other controllers
    reach both: they have proofs of an authority of their own."""
    ovn, env = places.ovn, places.environment()
    nbctl, sbctl = str(places.bin / "ovn-nbctl"), str(places.bin / "ovn-sbctl")
    served: list[str] = []
    nb_served: list[str] = []
    after = [[sbctl, "--timeout=10", "init"]]
    nb_after = [[nbctl, "--timeout=10", "init"]]
    if machine.serves_southbound and machine.tls is not None:
        served = ["--remote=db:OVN_Southbound,SB_Global,connections", *tls_options(machine.tls, ca=proofs.both(places))]
        after.append([sbctl, "--timeout=10", f"--inactivity-probe={6 * PROBE_MS}", "set-connection", "role=ovn-controller",
                      f"pssl:{SOUTHBOUND_PORT}:{bracketed(machine.address)}"])  # fmt: skip
    if machine.serves_northbound:
        own = proofs.among_controllers(places)
        nb_served = ["--remote=db:OVN_Northbound,NB_Global,connections", *tls_options(own)]
        nb_after.append([nbctl, "--timeout=10", f"--inactivity-probe={6 * PROBE_MS}", "set-connection",
                         f"pssl:{NORTHBOUND_PORT}:{bracketed(machine.address)}"])  # fmt: skip
    return [
        server(places, ovs, "ovsdb-nb", ovn / "nb.db", *nb_served, user=USER, after=nb_after),
        server(places, ovs, "ovsdb-sb", ovn / "sb.db", *served, user=USER, after=after),
        Engine("ovn-northd", [*ovs.command("ovn-northd"), *QUIET, f"--unixctl={ovn}/northd.ctl",
                              f"--ovnnb-db=unix:{places.nb_socket}", f"--ovnsb-db=unix:{places.sb_socket}"],
               env=env, user=USER, needs=["ovsdb-nb", "ovsdb-sb"], ready_socket=f"{ovn}/northd.ctl"),
    ]


def _switch(places: Places, ovs: Ovs, settings: HostSettings, chassis: str, machine: Machine) -> list[Engine]:
    vswitch, env = places.ovs, places.environment()
    vsctl, appctl = str(places.bin / "ovs-vsctl"), str(places.bin / "ovs-appctl")
    # Without --no-wait this returns once vswitchd has applied the whole configuration.
    after = [[vsctl, "--timeout=25", "init"]]
    if tunnels_needed(ovs, machine):
        after.append(tunnels.after_start(appctl, f"{vswitch}/ovs-vswitchd.ctl"))
    control = f"{vswitch}/ovn-controller.ctl" if ovs.names_its_socket() else None
    return [
        server(places, ovs, "ovsdb-vswitch", vswitch / "conf.db", user=None,
                after=[[vsctl, "--timeout=10", "--no-wait", "init"], chassis_setup(vsctl, places, ovs, settings, chassis, machine),
                       *([_told(vsctl, places)] if machine.southbound else [])]),
        Engine("ovs-vswitchd", [*ovs.command("ovs-vswitchd"), *QUIET, f"--unixctl={vswitch}/ovs-vswitchd.ctl",
                                f"unix:{places.ovs_socket}"],
               env=env, needs=["ovsdb-vswitch"], ready_socket=f"{vswitch}/ovs-vswitchd.ctl", after=after),
        Engine("ovn-controller", [*ovs.command("ovn-controller"), *QUIET, *([f"--unixctl={control}"] if control else []),
                                  *(tls_options(machine.tls) if machine.southbound and machine.tls else []),
                                  f"unix:{places.ovs_socket}"],
               env=env | {"OVN_RUNDIR": str(vswitch)}, needs=["ovs-vswitchd", *(["ovsdb-sb"] if machine.runs_ovn else [])],
               ready_socket=control,
               # Asked politely it withdraws the chassis and its flows; guests that stay would lose their network.
               stop_signal="SIGKILL"),
    ]


def _told(vsctl: str, places: Places) -> list[str]:
    """The command that has ovn-controller look where controllers told this node since it joined (moln/node/controllers.py)."""
    words = r'test ! -s "$1" || exec "$2" --timeout=10 --no-wait set Open_vSwitch . external_ids:ovn-remote="\"$(cat "$1")\""'
    return ["/bin/sh", "-c", words, "sh", f"{places.host}/node/member/southbound", vsctl]


def tunnels_needed(ovs: Ovs, machine: Machine) -> bool:
    """Whether tunnels to other machines have to be set up here."""
    return "Tunnels" in roles.steps(machine, userspace=ovs.datapath == "netdev")


def chassis_setup(vsctl: str, places: Places, ovs: Ovs, settings: HostSettings, chassis: str, machine: Machine = ALONE) -> list[str]:
    """The command that makes this OVS an OVN chassis with our bridges (ovn-controller(8))."""
    bridges = [INTEGRATION_BRIDGE] if machine.provider == Provider.NONE else [INTEGRATION_BRIDGE, PROVIDER_BRIDGE]
    alone = not machine.address
    ids = {
        "system-id": chassis,
        "hostname": chassis,
        "ovn-remote": machine.southbound or f"unix:{places.sb_socket}",
        "ovn-encap-type": "geneve",
        "ovn-encap-ip": machine.address or settings.encap_ip,
        **({"ovn-set-local-ip": "true"} if machine.address else {}),
        "ovn-bridge": INTEGRATION_BRIDGE,
        "ovn-bridge-datapath-type": ovs.datapath,
        "ovn-bridge-mappings": f"{PHYSICAL_NETWORK}:{PROVIDER_BRIDGE}" if PROVIDER_BRIDGE in bridges else "",
        "ovn-monitor-all": "true" if alone else "false",
        "ovn-openflow-probe-interval": "0",
        "ovn-remote-probe-interval": str(PROBE_MS) if machine.southbound else "0",
    }
    command = [vsctl, "--timeout=10", "--no-wait", "set", "Open_vSwitch", "."]
    command += [f'external_ids:{key}="{value}"' for key, value in ids.items()]
    for bridge in bridges:
        command += ["--", "--may-exist", "add-br", bridge, "--", "set", "bridge", bridge,
                    f"datapath_type={ovs.datapath}"]
    command += ["--", "set", "bridge", INTEGRATION_BRIDGE, "fail_mode=secure"]
    if tunnels_needed(ovs, machine):
        command += tunnels.bridge_setup(tunnels.underlay(machine.address).mac)
    if machine.provider == Provider.INTERFACE:
        return [*command, "--", "--if-exists", "del-port", PROVIDER_BRIDGE, PEER,
                "--", "--may-exist", "add-port", PROVIDER_BRIDGE, machine.provider_interface]  # fmt: skip
    return [*command, "--", "--may-exist", "add-port", PROVIDER_BRIDGE, PEER] if machine.provider == Provider.GATEWAY else command


def plugged(places: Places, ovs: Ovs) -> list[str]:
    """Devices that were given to our integration bridge for a port (they carry an iface-id), OVS running or not."""
    query = ["Open_vSwitch", {"op": "select", "table": "Interface", "where": [], "columns": ["name", "external_ids"]}]
    answer = json.loads(run(*ovs.command("ovsdb-tool"), "query", places.ovs / "conf.db", json.dumps(query)))
    return [row["name"] for row in answer[0]["rows"] if "iface-id" in dict(row["external_ids"][1])]
