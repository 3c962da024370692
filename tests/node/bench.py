"""One real host for tests: engines in a network namespace of their own, the true node process, and a controller's ends of the links.

Only what the controller would do is done here by hand: rows in OVN's northbound database, answers to metadata requests.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from tests.node.turns import CACHE, guests_alone

from moln.guest import build_guest_image
from moln.host.places import INTEGRATION_BRIDGE, Places
from moln.kernel.clock import Clock
from moln.kernel.link import SocketLinks
from moln.kernel.rbd import Access, RbdPool
from moln.node.ovsdb import Ovsdb
from moln.node.plug import Switch

if TYPE_CHECKING:
    from moln.compute.drivers.libvirt import LibvirtDriver  # a test may be collected where libvirt's binding is not
    from moln.compute.drivers.reach import Reach

REPO = Path(__file__).resolve().parents[2]
UP_S = 300
__all__ = ["CACHE", "REPO", "Controller", "Host", "NodeProcess", "available", "guests_alone", "real_host", "shell"]


def available() -> bool:
    return os.geteuid() == 0 and shutil.which("ip") is not None and shutil.which("apt-get") is not None


def shell(*command: str, timeout: float = 60, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        command, check=False, timeout=timeout, text=True, capture_output=True, env={**os.environ, **(env or {})}
    )
    assert done.returncode == 0, f"{' '.join(command)}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout


class Host:
    """Engines below `home`, in namespace `netns`. Use as a context; guests of one test process at a time (a file lock)."""

    def __init__(self, home: Path, netns: str) -> None:
        self.places = Places(home)
        self.netns = netns
        self.guest_image = CACHE / "guest.qcow2"
        self.reach: Reach | None = None  # how this host and others reach one another

    @property
    def inside(self) -> tuple[str, ...]:
        """Before a command that belongs to the host. Not `ip netns exec`: that hides mounts."""
        return ("nsenter", f"--net=/run/netns/{self.netns}")

    def engines(self, do: str) -> str:
        arguments = ("-m", "moln.host.engines", do, "--home", str(self.places.home), "--pool-gib", "4")
        return shell(*self.inside, sys.executable, *arguments, timeout=UP_S, env={"PYTHONPATH": str(REPO / "src")})

    def up(self) -> None:
        shell("ip", "netns", "add", self.netns)
        shell("ip", "-n", self.netns, "link", "set", "lo", "up")
        self.engines("up")
        for folder in ("base", "incoming"):
            (self.places.pool / "images" / folder).mkdir(exist_ok=True, parents=True)
        build_guest_image(self.guest_image)

    def down(self) -> None:
        with contextlib.suppress(AssertionError):
            self.engines("purge")
        subprocess.run(["ip", "netns", "del", self.netns], check=False, timeout=30)

    def add_image(self, image_id: str) -> Path:
        """The guest image, raw, where drivers expect cached images."""
        base = self.places.pool / "images" / "base" / image_id
        if not base.exists():
            shell("qemu-img", "convert", "-f", "qcow2", "-O", "raw", str(self.guest_image), str(base))
            base.chmod(0o644)
        return base

    def nb(self, *arguments: str) -> str:
        """ovn-nbctl."""
        return shell(str(self.places.bin / "ovn-nbctl"), *arguments).strip()

    def vsctl(self, *arguments: str) -> str:
        return shell(str(self.places.bin / "ovs-vsctl"), *arguments).strip()

    def links(self) -> set[str]:
        """Names of the host's network devices."""
        text = shell("ip", "-n", self.netns, "-br", "link")
        return {line.split()[0].partition("@")[0] for line in text.splitlines()}

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """This thread (and what it starts) stands in the host's network meanwhile."""
        with open("/proc/thread-self/ns/net") as before, open(f"/run/netns/{self.netns}") as wanted:
            _setns(wanted.fileno())
            try:
                yield
            finally:
                _setns(before.fileno())

    @contextlib.contextmanager
    def sees(self, address: str) -> Iterator[None]:
        """An address of the machine is reached from the host, by a cable of their own."""
        outside, inside = f"c-{self.netns}"[:15], "ceph0"
        own = f"198.18.77.{100 + zlib.crc32(self.netns.encode()) % 100}"
        shell("ip", "link", "add", outside, "type", "veth", "peer", "name", inside, "netns", self.netns)
        try:
            shell("ip", "link", "set", outside, "up")
            shell("ip", "route", "add", f"{own}/32", "dev", outside)
            shell("ip", "-n", self.netns, "addr", "add", f"{own}/32", "dev", inside)
            shell("ip", "-n", self.netns, "link", "set", inside, "up")
            shell("ip", "-n", self.netns, "route", "add", f"{address}/32", "dev", inside)
            yield
        finally:
            subprocess.run(["ip", "link", "del", outside], check=False, timeout=30)

    def driver(self, ceph: Access | None = None) -> LibvirtDriver:
        from moln.compute.drivers.libvirt import LibvirtDriver, LibvirtSettings

        settings = LibvirtSettings(
            uri=self.places.libvirt_uri,
            home=self.places.host / "node",
            pool=self.places.pool,
            images=self.places.pool / "images",
            virt_type="qemu",
            cache="unsafe",
            offloads=False,
            reach=self.reach,
            rbd=RbdPool(ceph) if ceph else None,
        )
        return LibvirtDriver(settings, InsideSwitch(self, Switch(Ovsdb(self.places.ovs_socket), INTEGRATION_BRIDGE)))

    @asynccontextmanager
    async def compute(self, ceph: Access | None = None) -> AsyncIterator[LibvirtDriver]:
        """The driver alone, in this process. ceph: where its disks lie, if not in its pool."""
        (self.places.host / "node").mkdir(mode=0o711, exist_ok=True)
        made = self.driver(ceph)
        await made.start()
        try:
            await asyncio.wait_for(made.link.opened.wait(), 30)
            yield made
        finally:
            await made.stop()


@contextlib.contextmanager
def real_host(name: str) -> Iterator[Host]:
    """A host that comes up now and leaves nothing behind; what a killed run left goes first (call it under guests_alone)."""
    marker = CACHE / f"{name}.home"
    if marker.exists():
        _clear_away(Path(marker.read_text()), name)
    home = Path(tempfile.mkdtemp(prefix="moln-", dir="/var/tmp"))  # short: unix socket paths have 107 bytes
    home.chmod(0o755)
    marker.write_text(str(home))
    host = Host(home / "h", name)
    try:
        host.up()
        yield host
    finally:
        _clear_away(home, name)
        marker.unlink(missing_ok=True)


def _clear_away(home: Path, name: str) -> None:
    Host(home / "h", name).down()
    shutil.rmtree(home, ignore_errors=True)


class InsideSwitch:
    """Plugger that makes its taps in the host's namespace, not in the test's."""

    def __init__(self, host: Host, switch: Switch) -> None:
        self.host = host
        self.switch = switch

    async def ensure_plugged(self, port_id: str, mtu: int = 0) -> str:
        from moln.node import plug

        def make() -> None:
            with self.host.entered():
                plug.ensure_tap(plug.tap_name(port_id), mtu)

        await asyncio.to_thread(make)
        await self.switch.ensure_port(plug.tap_name(port_id), port_id)
        return plug.tap_name(port_id)

    async def ensure_unplugged(self, port_id: str) -> None:
        from moln.node import plug

        def remove() -> None:
            with self.host.entered():
                plug.remove_tap(plug.tap_name(port_id))

        await self.switch.ensure_no_port(plug.tap_name(port_id))
        await asyncio.to_thread(remove)

    async def plugged(self) -> tuple[str, ...]:
        return await self.switch.plugged()


class Controller:
    """The controller's ends: links to nodes, and the metadata socket, which says what `answers` holds and keeps what was asked."""

    def __init__(self, places: Places) -> None:
        places.run.mkdir(exist_ok=True)
        self.places = places
        self.links = SocketLinks(places.run / "controller.sock", Clock().now_us)
        self.answers: dict[tuple[str, str], bytes] = {}
        self.asked: list[bytes] = []
        self.up = asyncio.Event()

    async def start(self) -> None:
        async def node_up(node: str, raw: bytes) -> None:
            self.up.set()

        async def node_down(node: str, raw: bytes) -> None:
            self.up.clear()

        self.links.on_report("node.up", node_up)
        self.links.on_report("node.down", node_down)
        await self.links.start()
        path = self.places.run / "metadata.sock"
        path.unlink(missing_ok=True)
        self.server = await asyncio.start_unix_server(self.serve, path)
        shutil.chown(path, "moln", "moln")

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.asked.append(head)
        _, network, address, *rest = unquote(head.split(b" ")[1].decode()).split("/", 3)
        path = "/" + (rest[0] if rest else "")
        body = self.answers.get((f"{network}/{address}", path))
        status = "404 Not Found" if body is None else "200 OK"
        body = body or b""
        writer.write(f"HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        await writer.drain()
        writer.close()

    async def stop(self) -> None:
        self.server.close()
        await self.links.close()


class NodeProcess:
    """`python -m moln.node`, started and killed by tests."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        environment = {**os.environ, "PYTHONPATH": str(REPO / "src"), **self.host.places.environment()}
        command = [*self.host.inside, sys.executable, "-P", "-m", "moln.node", "--home", str(self.host.places.home)]
        with open(self.host.places.log / "node-test.log", "ab") as log:
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)

    def kill(self) -> None:
        if self.process:
            self.process.kill()
            self.process.wait(10)

    def stop(self) -> None:
        if self.process:
            self.process.terminate()
            self.process.wait(20)


def _setns(fd: int) -> None:
    import ctypes

    if ctypes.CDLL(None, use_errno=True).setns(fd, 0x40000000):
        raise OSError(ctypes.get_errno(), "setns")
