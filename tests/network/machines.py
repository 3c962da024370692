"""Several machines in network namespaces, each with an address on a management network and a card without one on a provider network.

They are set up as `moln controller init` and `moln node join` do it, by their role, without guests: the supervisor, OVN's databases with TLS,
Open vSwitch and ovn-controller. Only processes and namespaces made here are ended here.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.network.lab import run
from tests.node.turns import shared_stays

from moln.host import proofs, roles, users
from moln.host.places import INTEGRATION_BRIDGE, PACKAGE_ROOT, USER, Places
from moln.host.roles import Machine, Role, Tls
from moln.host.supervise.processes import Identity

PROVIDER_CARD, MANAGEMENT_CARD = "eth1", "eth0"
UP_S = 300


def available() -> bool:
    return os.geteuid() == 0 and all(shutil.which(p) for p in ("ip", "nft", "openssl", "apt-get", "ethtool"))


def authority(folder: Path, names: Sequence[str]) -> dict[str, Tls]:
    """An authority, and what each name proves itself with. Keys are for root and for whoever OVN's databases run as."""
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    run("openssl", "req", "-x509", *key, "-keyout", f"{folder}/ca.key", "-out", f"{folder}/ca.crt", "-days", "2", "-subj", "/CN=Test CA")
    found = {}
    for name in names:
        file = folder / name
        run("openssl", "req", *key, "-keyout", f"{file}.key", "-out", f"{file}.csr", "-subj", f"/CN={name}")
        run("openssl", "x509", "-req", "-in", f"{file}.csr", "-CA", f"{folder}/ca.crt", "-CAkey", f"{folder}/ca.key", "-CAcreateserial",
            "-out", f"{file}.crt", "-days", "2")  # fmt: skip
        users.own(Path(f"{file}.key"), USER, USER, 0o600)
        found[name] = Tls(f"{file}.key", f"{file}.crt", f"{folder}/ca.crt")
    return found


class OneMachine:
    """A home in a network namespace."""

    def __init__(self, home: Path, netns: str, machine: Machine) -> None:
        self.places, self.netns, self.machine = Places(home), netns, machine

    @property
    def name(self) -> str:
        return self.machine.called

    def inside(self, *command: str | Path, timeout_s: float = 60, check: bool = True) -> str:
        """Not `ip netns exec`: that hides mounts."""
        return run("nsenter", f"--net=/run/netns/{self.netns}", *map(str, command), timeout_s=timeout_s, check=check,
                   env={"PYTHONPATH": str(PACKAGE_ROOT)})  # fmt: skip

    def engines(self, do: str) -> str:
        return self.inside(sys.executable, "-m", "moln.host.engines", do, "--home", self.places.home, "--pool-gib", "1", timeout_s=UP_S)

    def up(self) -> None:
        self.places.host.mkdir(parents=True)
        roles.write(self.places, self.machine)
        self.engines("up")
        if self.machine.serves_southbound and self.machine.tls is not None:  # its own authorities signed for nobody here; read anew when it changes
            with open(proofs.both(self.places), "a") as trusted:
                trusted.write(Path(self.machine.tls.ca).read_text())

    def pid(self, engine: str) -> int:
        """Of an engine that is ready; else 0."""
        found = Identity.read(self.places.supervised / f"{engine}.pid")
        return found.pid if found and found.alive() and found.ready else 0

    def tool(self, program: str, *arguments: str, check: bool = True) -> str:
        """One of OVS's and OVN's, against this machine's own."""
        return self.inside(self.places.bin / program, *(["--timeout=20"] if program.endswith("ctl") and program[-4] != "p" else []),
                           *arguments, check=check).strip()  # fmt: skip


class Wires:
    """Namespaces and cables between them. TAG-mgmt, TAG-prov: switches of the two networks; TAG-world: a host of the provider network."""

    def __init__(self) -> None:
        self.tag = f"mn{os.getpid() % 10000}"
        self._namespaces: list[str] = []

    def fabric(self) -> None:
        self.management, self.provider, self.world = (self.netns(n) for n in ("mgmt", "prov", "world"))
        for ns in (self.management, self.provider):
            run("ip", "-n", ns, "link", "add", "br0", "type", "bridge")
            run("ip", "-n", ns, "link", "set", "br0", "up")
        self.wire(self.world, "eth0", self.provider, "w")
        run("ip", "-n", self.world, "addr", "add", "203.0.113.1/24", "dev", "eth0")
        run("ip", "-n", self.world, "addr", "add", "198.51.100.1/32", "dev", "lo")

    def machine(self, name: str, number: int) -> str:
        """A machine's namespace, at 192.0.2.NUMBER on the management network, with a card without an address on the other."""
        ns = self.netns(name)
        self.wire(ns, MANAGEMENT_CARD, self.management, f"m{number}")
        self.wire(ns, PROVIDER_CARD, self.provider, f"p{number}")
        run("ip", "-n", ns, "addr", "add", f"192.0.2.{number}/24", "dev", MANAGEMENT_CARD)
        return ns

    def netns(self, name: str) -> str:
        """A new one, from which nothing leads out."""
        full = f"{self.tag}-{name}"
        run("ip", "netns", "add", full)
        self._namespaces.append(full)
        run("ip", "-n", full, "link", "set", "lo", "up")
        run("ip", "-n", full, "route", "add", "blackhole", "default", "metric", "4294967295")
        return full

    def wire(self, ns: str, device: str, bridge_ns: str, name: str) -> None:
        """A cable from a namespace's device to the bridge of another."""
        end = self.end(name)
        run("ip", "link", "add", end, "type", "veth", "peer", "name", device, "netns", ns)
        run("ip", "link", "set", end, "netns", bridge_ns)
        run("ip", "-n", bridge_ns, "link", "set", end, "master", "br0", "up")
        run("ip", "-n", ns, "link", "set", device, "up")
        run("ip", "netns", "exec", ns, "ethtool", "-K", device, "tx", "off")

    def end(self, name: str) -> str:
        return f"{self.tag}{name}"

    def cut(self, number: int, how: str) -> None:
        """A machine's cables: `down` or `up`. Machines count from 1."""
        for ns, cable in ((self.management, "m"), (self.provider, "p")):
            run("ip", "-n", ns, "link", "set", self.end(f"{cable}{number}"), how)

    def until(self, good: Callable[[], object], timeout_s: float = 60) -> bool:
        ends = time.monotonic() + timeout_s
        while not good():
            if time.monotonic() > ends:
                return False
            time.sleep(0.05)
        return True

    def unwire(self) -> None:
        for name in reversed(self._namespaces):
            subprocess.run(["ip", "netns", "del", name], capture_output=True, timeout=20, check=False)


class Homes(Wires):
    """home: a folder for the homes of machines, in which what this machine's clouds share stays, whatever is purged."""

    def __init__(self) -> None:
        super().__init__()
        self.home = Path(tempfile.mkdtemp(prefix="moln-m-", dir="/var/tmp"))  # short: unix sockets' paths have 107 bytes
        self._disk = self.home.with_suffix(".xfs")  # where pools share blocks as they are: none is allocated for each machine, a third of what is free
        run("truncate", "--size=32G", str(self._disk))
        run("mkfs.xfs", "-q", "-m", "reflink=1", str(self._disk))
        run("mount", "-o", "loop", str(self._disk), str(self.home))
        self.home.chmod(0o755)
        self._kept = contextlib.ExitStack()
        self._kept.enter_context(shared_stays(self.home))

    def give_pool(self, name: str) -> None:
        """A small one, found by set-up: three of the usual size are a machine's whole disk."""
        file = self.home / name / "host/pool.xfs"
        file.parent.mkdir(parents=True)
        run("truncate", "--size=400M", str(file))
        run("mkfs.xfs", "-q", "-m", "reflink=1", str(file))

    def close(self) -> None:
        self.unwire()
        self._kept.close()
        gone = self.until(lambda: subprocess.run(["umount", str(self.home)], capture_output=True, timeout=60, check=False).returncode == 0)
        assert gone, f"{self.home} is still used by a process of its machines"
        self.home.rmdir()
        self._disk.unlink()


class Machines(Homes):
    """A controller `one` and nodes `two`, `three`… on a management network, a provider network, and a host `world` of that."""

    def __init__(self, count: int = 2) -> None:
        super().__init__()
        self.machines: list[OneMachine] = []
        users.ensure_users()
        try:
            self._build(count)
        except BaseException:
            self.close()
            raise

    def _build(self, count: int) -> None:
        self.fabric()
        names = ("one", "two", "three", "four")[:count]
        proofs = authority(self.home, names)
        for number, name in enumerate(names, 1):
            address, first = f"192.0.2.{number}", number == 1
            machine = Machine(Role.CONTROLLER if first else Role.NODE, name, address, PROVIDER_CARD, guests=False,
                              controllers=() if first else ("192.0.2.1",), tls=proofs[name])  # fmt: skip
            self.machines.append(OneMachine(self.home / name, self.machine(name, number), machine))
            self.machines[-1].up()

    def guest(self, at: OneMachine, name: str, port_id: str, mac: str, address: str = "") -> str:
        """A namespace plugged into a port. Its name."""
        guest, tap = self.netns(name), f"{self.tag}t{name}"[:15]
        run("ip", "link", "add", tap, "type", "veth", "peer", "name", "eth0", "netns", guest)
        run("ip", "link", "set", tap, "netns", at.netns)
        run("ip", "-n", at.netns, "link", "set", tap, "up")
        run("ip", "-n", guest, "link", "set", "eth0", "address", mac, "mtu", "1442", "up")
        run("ip", "netns", "exec", guest, "ethtool", "-K", "eth0", "tx", "off")
        if address:
            run("ip", "-n", guest, "addr", "add", address, "dev", "eth0")
        at.tool("ovs-vsctl", "add-port", INTEGRATION_BRIDGE, tap, "--", "set", "interface", tap, f"external_ids:iface-id={port_id}")
        return guest

    def inside(self, ns: str, *command: str, check: bool = True) -> str:
        return run("ip", "netns", "exec", ns, *command, check=check)

    def reaches(self, ns: str, address: str, *options: str) -> bool:
        """Whether a ping is answered within some seconds: tunnels' BFD and ARP take the first."""
        return any(", 1 received" in self.inside(ns, "ping", "-c1", "-W1", *options, address, check=False) for _ in range(20))

    def cable_of(self, mac: str) -> str:
        """Behind which cable the provider network's switch saw an address last: `p1` is machine one's."""
        seen = self.inside(self.provider, "bridge", "fdb", "show", "br", "br0").splitlines()
        return next((line.split()[2].removeprefix(self.tag) for line in seen if line.startswith(mac + " ")), "")

    def learned(self, ns: str, address: str) -> str:
        """The MAC that a namespace knows an address by."""
        found = json.loads(run("ip", "-n", ns, "-j", "neigh", "show", address))
        return str(found[0].get("lladdr", "")) if found else ""

    def close(self) -> None:
        for machine in reversed(self.machines):
            machine.engines("purge")
        super().close()
