"""OVN and OVS as engines: central databases and northd as user moln, the chassis' half as root."""

from __future__ import annotations

import json
import shlex
import socket
from pathlib import Path

from moln.host.ovs import Ovs
from moln.host.places import INTEGRATION_BRIDGE, PHYSICAL_NETWORK, PROVIDER_BRIDGE, USER, Places
from moln.host.provider import PEER
from moln.host.run import run
from moln.host.settings import HostSettings
from moln.host.supervise.plan import Engine
from moln.host.users import own

QUIET = ["-vconsole:info", "-vsyslog:off", "-vfile:off", "-vPATTERN:console:%D{%Y-%m-%dT%H:%M:%SZ} %c %p %m"]
CLIENTS = ["ovs-vsctl", "ovs-ofctl", "ovs-appctl", "ovs-dpctl", "ovsdb-client", "ovn-nbctl", "ovn-sbctl", "ovn-appctl",
           "ovn-trace"]


def ensure_databases(places: Places, ovs: Ovs) -> None:
    """Create or convert the three databases. Only while their servers are down."""
    places.ovn.mkdir(exist_ok=True)
    places.ovs.mkdir(exist_ok=True)
    own(places.ovn, USER, USER, 0o750)
    own(places.ovs, None, None, 0o700)
    for file, schema, user in ((places.ovn / "nb.db", "ovn-nb", USER), (places.ovn / "sb.db", "ovn-sb", USER),
                               (places.ovs / "conf.db", "vswitch", None)):
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
        text = f"#!/bin/sh\n{exports}exec {shlex.join(ovs.command(name))} \"$@\"\n"
        file = places.bin / name
        if not file.exists() or file.read_text() != text:
            new = file.with_name(f".{name}")
            new.write_text(text)
            new.chmod(0o755)
            new.replace(file)


def engines(places: Places, ovs: Ovs, settings: HostSettings, chassis: str) -> list[Engine]:
    """chassis: this host's name in the southbound database."""
    ovn, vswitch, env = places.ovn, places.ovs, places.environment()

    def server(name: str, folder: Path, base: str, user: str | None, after: list[list[str]]) -> Engine:
        return Engine(
            name, [*ovs.command("ovsdb-server"), *QUIET, f"--unixctl={folder / base}.ctl",
                   f"--remote=punix:{folder / ('db' if base == 'conf' else base)}.sock",
                   str(folder / f"{base}.db")],
            env=env, user=user, ready_socket=str(folder / f"{'db' if base == 'conf' else base}.sock"), after=after)

    nbctl, sbctl = str(places.bin / "ovn-nbctl"), str(places.bin / "ovn-sbctl")
    vsctl = str(places.bin / "ovs-vsctl")
    return [
        server("ovsdb-nb", ovn, "nb", USER, [[nbctl, "--timeout=10", "init"]]),
        server("ovsdb-sb", ovn, "sb", USER, [[sbctl, "--timeout=10", "init"]]),
        Engine("ovn-northd", [*ovs.command("ovn-northd"), *QUIET, f"--unixctl={ovn}/northd.ctl",
                              f"--ovnnb-db=unix:{places.nb_socket}", f"--ovnsb-db=unix:{places.sb_socket}"],
               env=env, user=USER, needs=["ovsdb-nb", "ovsdb-sb"], ready_socket=f"{ovn}/northd.ctl"),
        server("ovsdb-vswitch", vswitch, "conf", None, [[vsctl, "--timeout=10", "--no-wait", "init"],
                                                       chassis_setup(vsctl, places, ovs, settings, chassis)]),
        Engine("ovs-vswitchd", [*ovs.command("ovs-vswitchd"), *QUIET, f"--unixctl={vswitch}/ovs-vswitchd.ctl",
                                f"unix:{places.ovs_socket}"],
               env=env, needs=["ovsdb-vswitch"], ready_socket=f"{vswitch}/ovs-vswitchd.ctl",
               # Without --no-wait this returns once vswitchd has applied the whole configuration.
               after=[[vsctl, "--timeout=25", "init"]]),
        Engine("ovn-controller", [*ovs.command("ovn-controller"), *QUIET, f"--unixctl={vswitch}/ovn-controller.ctl",
                                  f"unix:{places.ovs_socket}"],
               env=env | {"OVN_RUNDIR": str(vswitch)}, needs=["ovs-vswitchd", "ovsdb-sb"],
               ready_socket=f"{vswitch}/ovn-controller.ctl",
               # Asked politely it withdraws the chassis and its flows; guests that stay would lose their network.
               stop_signal="SIGKILL"),
    ]


def chassis_setup(vsctl: str, places: Places, ovs: Ovs, settings: HostSettings, chassis: str) -> list[str]:
    """The command that makes this OVS an OVN chassis with our bridges (ovn-controller(8))."""
    ids = {
        "system-id": chassis,
        "hostname": chassis,
        "ovn-remote": f"unix:{places.sb_socket}",
        "ovn-encap-type": "geneve",
        "ovn-encap-ip": settings.encap_ip,
        "ovn-bridge": INTEGRATION_BRIDGE,
        "ovn-bridge-datapath-type": ovs.datapath,
        "ovn-bridge-mappings": f"{PHYSICAL_NETWORK}:{PROVIDER_BRIDGE}",
        "ovn-monitor-all": "true",
        "ovn-openflow-probe-interval": "0",
        "ovn-remote-probe-interval": "0",
    }
    command = [vsctl, "--timeout=10", "--no-wait", "set", "Open_vSwitch", "."]
    command += [f'external_ids:{key}="{value}"' for key, value in ids.items()]
    for bridge in (INTEGRATION_BRIDGE, PROVIDER_BRIDGE):
        command += ["--", "--may-exist", "add-br", bridge, "--", "set", "bridge", bridge,
                    f"datapath_type={ovs.datapath}"]
    command += ["--", "set", "bridge", INTEGRATION_BRIDGE, "fail_mode=secure"]
    return [*command, "--", "--may-exist", "add-port", PROVIDER_BRIDGE, PEER]


def chassis_name() -> str:
    return socket.gethostname()


def plugged(places: Places, ovs: Ovs) -> list[str]:
    """Devices that were given to our integration bridge for a port (they carry an iface-id), OVS running or not."""
    query = ["Open_vSwitch", {"op": "select", "table": "Interface", "where": [], "columns": ["name", "external_ids"]}]
    answer = json.loads(run(*ovs.command("ovsdb-tool"), "query", places.ovs / "conf.db", json.dumps(query)))
    return [row["name"] for row in answer[0]["rows"] if "iface-id" in dict(row["external_ids"][1])]
