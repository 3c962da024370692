"""Run the tests of a checkout; installs what they need first."""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from moln.cli.progress import Progress
from moln.host import made, packages
from moln.host.engines import leave_shared
from moln.host.places import PACKAGE_ROOT, Places
from moln.host.run import HostError
from moln.host.run import run as execute
from moln.host.setup import ensure_binding, install_packages, make_directories

HELP = "run the tests"
FAST = ["-m", "not engines and not slow", "--ignore=tests/e2e", "-n", str(os.cpu_count() or 1)]
HEAVY = ["-m", "engines or slow"]
NOTHING_COLLECTED = 5
NEEDED = ["pytest", "pytest_asyncio", "pytest_timeout", "hypothesis", "openstack", "httpx", "importlinter", "xdist", "opentelemetry"]


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--fast", action="store_true", help="leave out what needs root, engines or guests, or takes minutes")
    parser.add_argument("pytest", nargs=argparse.REMAINDER, metavar="…", help="arguments for pytest")


def run(args: argparse.Namespace) -> int:
    checkout = find_checkout()
    if any(importlib.util.find_spec(name) is None for name in NEEDED):
        with Progress()("Install what the tests need"):
            execute(sys.executable, "-m", "pip", "install", "-q", f"{checkout}[test]", timeout_s=1200)
    with shared_kept(checkout):
        if not args.fast and os.geteuid() == 0:
            install_engines()
        return pytest(checkout, args)


def install_engines() -> None:
    """What the tests of root's import and start: the packages of a host, newer OVS where it is needed, libvirt's binding."""
    steps = Progress()
    with tempfile.TemporaryDirectory(prefix="moln-test-") as folder:
        places = Places(Path(folder))
        make_directories(places)
        with steps("Install the engines that the tests start"):
            install_packages(packages.here(), places, steps)
            ensure_binding(places)


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
    """Each part in a run of its own; all of them, whatever the first ones say. Status 1: one of them failed."""
    env = {**os.environ, "PYTHONPATH": str(PACKAGE_ROOT)}
    chosen = [a for a in args.pytest if a != "--"]
    failed = 0
    for part in [FAST] if args.fast else [FAST, HEAVY]:
        command = [sys.executable, "-m", "pytest", *part, *chosen]
        status = subprocess.run(command, cwd=checkout, env=env, check=False).returncode
        failed |= status not in (0, NOTHING_COLLECTED if chosen else 0)
    return failed


def find_checkout() -> Path:
    """Raises: HostError, when this Moln was installed without its tests."""
    for folder in (Path(os.environ.get("MOLN_CHECKOUT", ".")), PACKAGE_ROOT.parent, Path.cwd()):
        if (folder / "pyproject.toml").exists() and (folder / "tests").is_dir():
            return folder.absolute()
    raise HostError("the tests are in a checkout of Moln: run ./moln test there")
