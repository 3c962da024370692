"""A private OVN: databases and northd, and nodes with guests in network namespaces of their own.

Everything lives under one run directory; only processes and namespaces made here are ended here. Facts: OVS's userspace datapath;
Debian 12's OVS 3.1 aborts on a TCP tuple reused after a reset, so tests open few connections.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

OVN_SCHEMAS, OVS_SCHEMAS = Path("/usr/share/ovn"), Path("/usr/share/openvswitch")


def available() -> bool:
    """Whether this machine can hold a lab."""
    return os.geteuid() == 0 and all(shutil.which(p) for p in ("ovn-northd", "ovsdb-server", "ovs-vswitchd", "ovn-controller", "ip"))


def run(*command: str, timeout_s: float = 30, check: bool = True, env: dict[str, str] | None = None) -> str:
    """A command's output. Raises when it fails."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, env={**os.environ, **(env or {})})
    if check and done.returncode:
        raise AssertionError(f"{' '.join(command)}: {done.returncode} {done.stdout}{done.stderr}")
    return done.stdout


class Central:
    """OVN's two databases and northd, on unix sockets."""

    def __init__(self) -> None:
        self.dir = Path(tempfile.mkdtemp(prefix="moln-ovn-"))
        self.env = {
            "OVN_RUNDIR": str(self.dir),
            "OVN_DBDIR": str(self.dir),
            "OVN_LOGDIR": str(self.dir),
            "OVS_RUNDIR": str(self.dir),
        }
        self.northbound, self.southbound = f"unix:{self.dir}/nb.sock", f"unix:{self.dir}/sb.sock"
        self._pidfiles: list[Path] = []
        for name in ("nb", "sb"):
            run("ovsdb-tool", "create", f"{self.dir}/{name}.db", f"{OVN_SCHEMAS}/ovn-{name}.ovsschema")
            self.daemon("ovsdb-server", name, f"--remote=punix:{self.dir}/{name}.sock", f"--unixctl={self.dir}/{name}.ctl",
                        f"{self.dir}/{name}.db")  # fmt: skip
        self.nbctl("init")
        self.daemon("ovn-northd", "northd", f"--ovnnb-db={self.northbound}", f"--ovnsb-db={self.southbound}")

    def daemon(self, program: str, name: str, *arguments: str, netns: str | None = None, env: dict[str, str] | None = None) -> None:
        """Start one, and remember its pid file."""
        pidfile = self.dir / f"{name}.pid"
        prefix = ("ip", "netns", "exec", netns) if netns else ()
        run(*prefix, program, "--detach", "--no-chdir", f"--pidfile={pidfile}", f"--log-file={self.dir}/{name}.log", "-vconsole:off",
            *arguments, env={**self.env, **(env or {})})  # fmt: skip
        self._pidfiles.append(pidfile)

    def nbctl(self, *arguments: str) -> str:
        return run("ovn-nbctl", "--timeout=20", f"--db={self.northbound}", *arguments, env=self.env).strip()

    def sbctl(self, *arguments: str) -> str:
        return run("ovn-sbctl", "--timeout=20", f"--db={self.southbound}", *arguments, env=self.env).strip()

    def sync(self) -> None:
        """Wait until every node's data plane has what the northbound database says."""
        self.nbctl("--wait=hv", "sync")

    def close(self) -> None:
        for pidfile in reversed(self._pidfiles):
            try:
                pid = int(pidfile.read_text())
                if str(pidfile) in Path(f"/proc/{pid}/cmdline").read_text():
                    os.kill(pid, signal.SIGKILL)
            except (OSError, ValueError):
                continue
        shutil.rmtree(self.dir, ignore_errors=True)


class Lab(Central):
    """A central, nodes joined by an underlay, and a physical network `physnet1` behind each node.

    Namespaces: TAG-fab (underlay), TAG-phy (physical network, with a host `world` at 203.0.113.1), one a node, one a guest.
    """

    def __init__(self, nodes: int = 2) -> None:
        super().__init__()
        self.tag = f"mn{os.getpid() % 10000}"
        self._namespaces: list[str] = []
        try:
            self._build(nodes)
        except BaseException:
            self.close()
            raise

    def _build(self, nodes: int) -> None:
        self.fabric, self.physical, self.world = (self._netns(n) for n in ("fab", "phy", "world"))
        for ns in (self.fabric, self.physical):
            run("ip", "-n", ns, "link", "add", "br0", "type", "bridge")
            run("ip", "-n", ns, "link", "set", "br0", "up")
        self._wire(self.world, "eth0", self.physical, "w")
        run("ip", "-n", self.world, "addr", "add", "203.0.113.1/24", "dev", "eth0")
        run("ip", "-n", self.world, "addr", "add", "198.51.100.1/32", "dev", "lo")
        self.nodes = [self._node(n) for n in range(1, nodes + 1)]

    def _netns(self, name: str) -> str:
        full = f"{self.tag}-{name}"
        run("ip", "netns", "add", full)
        self._namespaces.append(full)
        run("ip", "-n", full, "link", "set", "lo", "up")
        return full

    def _wire(self, ns: str, device: str, bridge_ns: str, name: str) -> None:
        """A cable from a namespace's device to the bridge of another."""
        end = f"{self.tag}{name}"
        run("ip", "link", "add", end, "type", "veth", "peer", "name", device, "netns", ns)
        run("ip", "link", "set", end, "netns", bridge_ns)
        run("ip", "-n", bridge_ns, "link", "set", end, "master", "br0", "up")
        run("ip", "-n", ns, "link", "set", device, "up")
        run("ip", "netns", "exec", ns, "ethtool", "-K", device, "tx", "off")

    def vsctl(self, node: str, *arguments: str) -> str:
        return run("ovs-vsctl", "--timeout=20", f"--db=unix:{self.dir}/{node}.db.sock", *arguments, env=self.env).strip()

    def _node(self, number: int) -> str:
        node, address = self._netns(f"hv{number}"), f"192.0.2.{number}"
        own = self.dir / node
        own.mkdir()
        env = {
            "OVS_RUNDIR": str(own),
            "OVN_RUNDIR": str(own),
            "OVS_DBDIR": str(own),
            "OVS_LOGDIR": str(own),
            "OVN_LOGDIR": str(own),
        }
        run("ovsdb-tool", "create", f"{own}/conf.db", f"{OVS_SCHEMAS}/vswitch.ovsschema")
        self.daemon("ovsdb-server", f"{node}-db", f"--remote=punix:{self.dir}/{node}.db.sock", f"--unixctl={own}/db.ctl",
                    f"{own}/conf.db", netns=node, env=env)  # fmt: skip
        ids = {
            "system-id": node, "hostname": f"{node}.example", "ovn-remote": self.southbound, "ovn-encap-type": "geneve",
            "ovn-encap-ip": address, "ovn-bridge-datapath-type": "netdev", "ovn-bridge-mappings": "physnet1:br-ex",
            "ovn-remote-probe-interval": "0", "ovn-openflow-probe-interval": "0",
        }  # fmt: skip
        self.vsctl(
            node,
            "--no-wait",
            "init",
            "--",
            "set",
            "Open_vSwitch",
            ".",
            *(f"external_ids:{k}={v}" for k, v in ids.items()),
        )
        self.daemon(
            "ovs-vswitchd",
            f"{node}-vs",
            f"--unixctl={own}/vs.ctl",
            f"unix:{self.dir}/{node}.db.sock",
            netns=node,
            env=env,
        )
        self._wire(node, "eth0", self.fabric, f"u{number}")
        self._wire(node, "eth1", self.physical, f"p{number}")
        for bridge, device in (("br-tun", "eth0"), ("br-ex", "eth1")):
            self.vsctl(
                node,
                "add-br",
                bridge,
                "--",
                "set",
                "bridge",
                bridge,
                "datapath_type=netdev",
                "--",
                "add-port",
                bridge,
                device,
            )
            run("ip", "-n", node, "link", "set", bridge, "up")
        run("ip", "-n", node, "addr", "add", f"{address}/24", "dev", "br-tun")
        self.daemon(
            "ovn-controller",
            f"{node}-oc",
            f"unix:{self.dir}/{node}.db.sock",
            netns=node,
            env=env,
        )
        return node

    def guest(self, node: str, name: str, port_id: str, mac: str) -> str:
        """A namespace plugged into a port; it has no address yet. Its name."""
        guest, tap = self._netns(name), f"{self.tag}t{name}"[:15]
        run("ip", "link", "add", tap, "type", "veth", "peer", "name", "eth0", "netns", guest)
        run("ip", "link", "set", tap, "netns", node)
        run("ip", "-n", node, "link", "set", tap, "up")
        run("ip", "-n", guest, "link", "set", "eth0", "address", mac, "up")
        run("ip", "netns", "exec", guest, "ethtool", "-K", "eth0", "tx", "off")
        self.vsctl(node, "add-port", "br-int", tap, "--", "set", "interface", tap, f"external_ids:iface-id={port_id}")
        return guest

    def tagged(self, node: str, name: str, vlan: int) -> str:
        """A host of the physical network in a VLAN of it, plugged in at a node. Its namespace."""
        host, end = self._netns(name), f"{self.tag}v{name}"[:15]
        run("ip", "link", "add", end, "type", "veth", "peer", "name", "eth0", "netns", host)
        run("ip", "link", "set", end, "netns", node)
        run("ip", "-n", node, "link", "set", end, "up")
        run("ip", "-n", host, "link", "set", "eth0", "up")
        run("ip", "netns", "exec", host, "ethtool", "-K", "eth0", "tx", "off")
        self.vsctl(node, "add-port", "br-ex", end, f"tag={vlan}")
        return host

    def inside(self, guest: str, *command: str, timeout_s: float = 30, check: bool = True) -> str:
        """Run in a namespace of the lab."""
        return run("ip", "netns", "exec", guest, *command, timeout_s=timeout_s, check=check)

    def dhcp(self, guest: str) -> dict[str, str]:
        """Take a lease, put it on the interface, and tell what came with it."""
        script = self.dir / "lease.sh"
        script.write_text(
            '#!/bin/sh\n[ "$1" = bound ] || exit 0\nip addr add $ip/$mask dev $interface\n[ -n "$mtu" ] && ip link set $interface mtu $mtu\n'
            "set -- $staticroutes\nwhile [ $# -gt 1 ]; do ip route add $1 via $2; shift 2; done\n"
            'echo "ip=$ip"; echo "router=$router"; echo "dns=$dns"; echo "mtu=$mtu"; echo "routes=$staticroutes"; echo "domain=$domain"\n'
        )
        script.chmod(0o755)
        out = self.inside(
            guest,
            "busybox",
            "udhcpc",
            "-i",
            "eth0",
            "-n",
            "-q",
            "-t",
            "5",
            "-O",
            "mtu",
            "-O",
            "staticroutes",
            "-s",
            str(script),
        )
        return dict(line.split("=", 1) for line in out.splitlines() if "=" in line)

    def reaches(self, guest: str, address: str, *options: str) -> bool:
        """Whether a ping is answered within some seconds: tunnels' BFD and ARP take the first."""
        return any(", 1 received" in self.inside(guest, "ping", "-c1", "-W1", *options, address, check=False) for _ in range(12))

    def pings(self, guest: str, address: str, *options: str) -> bool:
        """Whether one of a few pings is answered."""
        return ", 0 received" not in self.inside(guest, "ping", "-c3", "-i0.2", "-W1", *options, address, check=False)

    def close(self) -> None:
        super().close()
        for name in reversed(self._namespaces):
            subprocess.run(["ip", "netns", "del", name], capture_output=True, timeout=20)
