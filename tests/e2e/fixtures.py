"""One cloud for all tests of this folder: its machine is set up first, then it lives in a network namespace with nothing beyond.

MOLN_E2E_KEEP=DIR: the cloud lives there, stays up, and is found again by the next run (for those who work on a test).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.e2e import namespace
from tests.e2e.guests import Guest
from tests.e2e.world import MOLN, REPO, Tenant, World, shell
from tests.node.turns import CACHE, GUESTS, guests_alone, shared_stays

from moln.console.build import BuildError, ensure
from moln.guest.build import HOST_PACKAGES, build_guest_image
from moln.host import packages
from moln.host.places import Places
from moln.host.setup import install_packages
from moln.host.steps import Silent

NETNS = "moln-e2e-world"
SETTINGS = """
[host]
pool_size_gib = 8
[node]
disks = { cache = "unsafe" }
[image]
import_allow = ["127.0.0.1"]
[image.stores]
archive = "archive"
"""


@pytest.fixture(scope="package")
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    """The cloud; all of this process's main thread stands in its network meanwhile."""
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        pytest.skip("needs root and engines")
    kept = os.environ.get("MOLN_E2E_KEEP")
    top = Path(kept) if kept else Path(tempfile.mkdtemp(prefix="moln-w-", dir="/var/tmp"))  # short: socket paths have 107 bytes
    top.mkdir(exist_ok=True)
    top.chmod(0o755)
    cloud = World(top / "h")
    with guests_alone(), shared_stays(top):
        image = set_up_machine(top / "setup")
        with namespace.inside(NETNS, keep=bool(kept)):
            before = machine_now()
            try:
                start(cloud, image)
                yield cloud
            finally:
                if request.session.testsfailed:
                    shutil.copytree(cloud.places.log, CACHE / "e2e-logs", dirs_exist_ok=True)
                if not kept:
                    cloud.moln("down", "--purge")
            if not kept:
                left_nothing(cloud, before)
    if not kept:
        shutil.rmtree(top)


@pytest.fixture(autouse=True)
def healthy(world: World) -> Iterator[None]:
    """Each test leaves a cloud that is as its rows say."""
    yield
    world.healthy()


@pytest.fixture(scope="package")
def demo(world: World) -> Guest:
    """The demo's server."""
    return world.demo_guest()


def set_up_machine(home: Path) -> Path:
    """What needs the main namespace's network. Returns the guest image."""
    if not os.environ.get("MOLN_E2E_KEEP"):
        subprocess.run([str(REPO / "moln"), "--help"], check=True, timeout=900, capture_output=True)
    row = packages.here()
    places = Places(home)
    for folder in (places.log, places.host):
        folder.mkdir(parents=True, exist_ok=True)
    install_packages(row, places, Silent())
    if absent := packages.missing(row, list(HOST_PACKAGES)):
        packages.install(row, absent, places.log / "setup.log")
    with contextlib.suppress(BuildError):  # the tests of consoles say so
        ensure(home)
    return build_guest_image(CACHE / "guest.qcow2")


def start(cloud: World, image: Path) -> None:
    """The demo on a fresh home, as a new user types it (but with the guest image built before)."""
    home = cloud.places.home
    if not home.exists():
        (home / "demo").mkdir(mode=0o700, parents=True)
        shutil.copy(image, home / "demo/guest.qcow2")
        cloud.places.settings.write_text(SETTINGS)
    program = MOLN if os.environ.get("MOLN_E2E_KEEP") else REPO / "moln"
    cloud.story = cloud.moln("up", "--demo", "--detach", timeout_s=600, program=program)
    cloud.connect()


def machine_now() -> dict[str, str]:
    """What of the machine's network a cloud could leave changed."""
    return {
        "links": " ".join(sorted(name for _, name in socket.if_nameindex())),
        "routes": shell("ip", "route", "show", "table", "all"),
        "rules": shell("nft", "list", "tables"),
        "forwarding": Path("/proc/sys/net/ipv4/ip_forward").read_text(),
    }


def left_nothing(cloud: World, before: dict[str, str]) -> None:
    """No process, device, route, rule, mount, loop device or file of the cloud is left."""
    home = str(cloud.places.home)
    assert not cloud.places.home.exists()
    assert machine_now() == before
    assert home not in Path("/proc/mounts").read_text()
    assert home not in shell("losetup", "-a")
    assert processes_of(home) == []


def processes_of(home: str) -> list[str]:
    """Command lines that name the home, and of processes whose environment does."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            environment = (folder / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if home in command or f"MOLN_HOME={home}".encode() in environment:
            found.append(command)
    return found


ORDER = ("demo", "speed", "consoles", "power", "volumes", "images", "imports", "rules", "tenants", "first_boot", "addresses", "kills", "leftovers")
"""Files whose tests share servers come in the order in which those are there; others first."""


def in_order(items: list[pytest.Item]) -> None:
    """Sort this folder's tests, in place."""
    here = [i for i in items if Path(__file__).parent in i.path.parents]
    for item in here:
        item.add_marker(pytest.mark.engines)
        item.add_marker(GUESTS)
        item.add_marker(pytest.mark.timeout(900))

    def rank(item: pytest.Item) -> int:
        name = item.path.stem.removeprefix("test_")
        return ORDER.index(name) if name in ORDER else -1

    places = [n for n, i in enumerate(items) if Path(__file__).parent in i.path.parents]
    for place, item in zip(places, sorted(here, key=rank), strict=True):
        items[place] = item


@pytest.fixture(scope="package")
def north(world: World) -> Tenant:
    return world.tenant("north")


@pytest.fixture(scope="package")
def home_network(north: Tenant) -> Any:
    """10.50.0.0/24 of the tenant `north`, with a router to the outside."""
    return north.network("home")[0]


@pytest.fixture(scope="package")
def one(north: Tenant, home_network: Any) -> Guest:
    """10.50.0.10."""
    return north.guest("one", home_network, address="10.50.0.10").wait()


@pytest.fixture(scope="package")
def two(north: Tenant, home_network: Any, one: Guest) -> Guest:
    """10.50.0.11."""
    return north.guest("two", home_network, address="10.50.0.11").wait()


@pytest.fixture(scope="package")
def moved(north: Tenant) -> Any:
    """A volume that goes from server to server."""
    return north.volume("moved")
