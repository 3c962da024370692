"""Run the tests of a checkout; installs what they need first."""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path

from moln.cli.progress import Progress
from moln.guest.build import HOST_PACKAGES
from moln.host import made, packages
from moln.host.engines import leave_shared
from moln.host.places import PACKAGE_ROOT, Places
from moln.host.run import HostError
from moln.host.run import run as execute
from moln.host.setup import ensure_binding, install_packages, make_directories

HELP = "run the tests"
ABREAST = ["-n", str(os.cpu_count() or 1)]
FAST = ["-m", "not engines and not slow and not systemd and not postgresql", "--ignore=tests/e2e", *ABREAST]
FAST_OF_ALL = ["-m", f"{FAST[1]} and not sample", *FAST[2:]]  # samples are for who does not run the whole of them
SECOND = ["-m", "postgresql and not engines and not slow and not systemd", *ABREAST]
LONG = ["-m", "slow and not computes and not engines and not systemd and not postgresql", *ABREAST, "--dist", "loadgroup"]
COMPUTED = ["-m", "slow and computes and not engines and not systemd and not postgresql", *ABREAST]
HEAVY = ["-m", "engines and not systemd and not postgresql", "-n", "2", "--dist", "loadgroup"]  # one has all guests; both wait more than they compute
SLOW = ["-m", "systemd"]
SLOW_PACKAGES = ["mmdebstrap", "e2fsprogs", "qemu-system-x86"]
NOTHING_COLLECTED = 5
TOOLS = {"virsh": "libvirt-clients", "busybox": "busybox", "ping": "iputils-ping", "chromium": "chromium", "npm": "npm",
         "nats-server": "nats-server", "etcd": "etcd-server", "nbdkit": "nbdkit", "nbdinfo": "libnbd-bin", "mariadbd": "mariadb-server-core", "mariadb-dump": "mariadb-client",
         "slapd": "slapd", "ldapadd": "ldap-utils", "xmlsec1": "xmlsec1"}  # fmt: skip
"""Programs that only tests call, and who brings them."""
CEPH = {"ceph-mon": "ceph-mon", "ceph-mgr": "ceph-mgr", "ceph-osd": "ceph-osd", "rbd": "ceph-common", "radosgw": "radosgw"}
"""A Ceph that tests of image stores and disks start. Where it is no package of the distribution they are left out."""
QEMU_RBD = "qemu-block-extra"
"""What QEMU opens disks in Ceph by."""
POSTGRESQL = {"apt": "postgresql", "dnf": "postgresql-server"}
"""The second database of the tests, which start a private one of it. Debian keeps its programs off the PATH."""
YIELDING = 10
"""What is added to the niceness of those who compute beside the engines: a tenth of a processor that engines want, all of one that they leave."""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--fast", action="store_true", help="leave out what needs root, engines or guests, or takes minutes")
    parser.add_argument("--slow", action="store_true", help="also boot a Debian with systemd, which takes a quarter of an hour")
    parser.add_argument("pytest", nargs=argparse.REMAINDER, metavar="…", help="arguments for pytest")


def run(args: argparse.Namespace) -> int:
    checkout = find_checkout()
    wanted = tomllib.loads((checkout / "pyproject.toml").read_text())["project"]["optional-dependencies"]["test"]
    if not all(map(installed, wanted)):
        with Progress()("Install what the tests need"):
            execute(sys.executable, "-m", "pip", "install", "-q", *wanted, timeout_s=1200)  # not Moln again: it may be an editable one
    with shared_kept(checkout):
        if not args.fast and os.geteuid() == 0:
            install_engines(slow=args.slow)
        return pytest(checkout, args)


def installed(requirement: str) -> bool:
    """In a version that is asked for: else pip is."""
    with contextlib.suppress(ImportError):
        from packaging.requirements import Requirement  # pytest brings it

        asked = Requirement(requirement)
        return importlib.metadata.version(asked.name) in asked.specifier
    return False


def install_engines(*, slow: bool = False) -> None:
    """What the tests of root's import and start: the packages of a host, newer OVS where it is needed, libvirt's binding, tools."""
    row = packages.here()
    steps = Progress()
    with tempfile.TemporaryDirectory(prefix="moln-test-") as folder:
        places = Places(Path(folder))
        make_directories(places)
        with steps("Install the engines that the tests start"):
            install_packages(row, places, steps)
            ensure_binding(places)
            tools = [package for program, package in TOOLS.items() if shutil.which(program) is None]
            more = SLOW_PACKAGES if slow and row.tool == "apt" else []
            if row.tool == "apt":  # all now, as workers side by side would each install what their clouds need
                more = [*more, *(name for names in row.engines.values() for name in names)]
                more = [*more, *(package for program, package in CEPH.items() if shutil.which(program) is None), QEMU_RBD]
            if shutil.which("initdb") is None and not list(Path("/usr/lib/postgresql").glob("*/bin/initdb")):
                more = [*more, POSTGRESQL[row.tool]]
            if absent := packages.missing(row, [*HOST_PACKAGES, *tools, *more]):
                packages.install(row, absent, places.log / "setup.log")


@contextlib.contextmanager
def shared_kept(checkout: Path) -> Iterator[None]:
    """Tests of root's bring clouds up and purge them: what clouds share, this program among it, stays meanwhile."""
    if os.geteuid() != 0:
        yield
        return
    with made.shared() as record:
        record.homes = sorted({*record.homes, str(checkout)})
    try:
        yield
    finally:
        leave_shared(Places(checkout), program=False)


def pytest(checkout: Path, args: argparse.Namespace) -> int:
    """Each part in a run of its own; all of them, whatever the first ones say. Status 1: one of them failed, or none has a test that was asked for."""
    chosen = [a for a in args.pytest if a != "--"]
    found: list[int] = []
    with compiled_once({**os.environ, "PYTHONPATH": str(PACKAGE_ROOT)}) as env:
        for part in [FAST] if args.fast else [FAST_OF_ALL, SECOND, LONG, HEAVY, *([SLOW] if args.slow else [])]:
            command = [sys.executable, "-m", "pytest", *part, *chosen]
            with beside([sys.executable, "-m", "pytest", *COMPUTED, *chosen], checkout, env) if part is HEAVY else contextlib.nullcontext([]) as statuses:
                status = subprocess.run(command, cwd=checkout, env=env, check=False).returncode
            found += [status, *statuses]
    if chosen and set(found) == {NOTHING_COLLECTED}:
        print(f"No test is what was asked for: {' '.join(chosen)}", file=sys.stderr)
        return 1
    return int(any(status not in (0, NOTHING_COLLECTED if chosen else 0) for status in found))


@contextlib.contextmanager
def beside(command: list[str], checkout: Path, env: dict[str, str]) -> Iterator[list[int]]:
    """A part that takes what the other one, run meanwhile, leaves of the processors, as it waits more than it computes.

    What it says is printed at the end, when its status is there, too.
    """
    statuses: list[int] = []
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(["nice", f"-n{YIELDING}", *command], cwd=checkout, env=env, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
        try:
            yield statuses
            statuses.append(process.wait())  # bounded by the times that its tests are given
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait(60)
            said.seek(0)
            shutil.copyfileobj(said, sys.stdout)
            sys.stdout.flush()  # before what the next part says itself


@contextlib.contextmanager
def compiled_once(env: dict[str, str]) -> Iterator[dict[str, str]]:
    """The environment of the tests. Who wants no bytecode beside the source has it elsewhere until the end: tests begin hundreds of processes,
    and each would compile all of Moln, and pytest's workers every test."""
    if not env.get("PYTHONDONTWRITEBYTECODE"):
        yield env
        return
    with tempfile.TemporaryDirectory(prefix="moln-test-", ignore_cleanup_errors=True) as folder:
        yield {name: value for name, value in env.items() if name != "PYTHONDONTWRITEBYTECODE"} | {"PYTHONPYCACHEPREFIX": folder}


def find_checkout() -> Path:
    """Raises: HostError, when this Moln was installed without its tests."""
    for folder in (Path(os.environ.get("MOLN_CHECKOUT", ".")), PACKAGE_ROOT.parent, Path.cwd()):
        if (folder / "pyproject.toml").exists() and (folder / "tests").is_dir():
            return folder.absolute()
    raise HostError("the tests are in a checkout of Moln: run ./moln test there")
