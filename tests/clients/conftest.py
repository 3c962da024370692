"""A simulated cloud, started as a user would start it, by a user without rights where there is one."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from moln.bench.process import lasting_port

SOURCE = Path(__file__).parents[2] / "src"
NOBODY = 65534
MOLN = "import sys; from moln.cli import main; sys.exit(main(sys.argv[1:]))"


def unprivileged() -> list[str]:
    """What runs a command as nobody, if we are root and nobody can read what is to be run."""
    if os.geteuid() != 0 or not shutil.which("setpriv"):
        return []
    prefix = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    able = subprocess.run([*prefix, sys.executable, "-c", "import moln.cli"], env={"PYTHONPATH": str(SOURCE)}, capture_output=True, timeout=60)
    return prefix if able.returncode == 0 else []


class Running:
    """A cloud in a home of its own, and the clients that find it by its clouds.yaml."""

    def __init__(self, home: Path):
        self.home = home
        self.port = lasting_port()
        self.prefix = unprivileged()
        self.shell: subprocess.Popen[str] | None = None
        self.env = {**os.environ, "PYTHONPATH": str(SOURCE), "HOME": str(home), "OS_CLIENT_CONFIG_FILE": str(home / "clouds.yaml"),
                    "OS_CLOUD": "moln", "PYTHONWARNINGS": "ignore"}  # fmt: skip
        for name in list(self.env):
            if name.startswith("OS_") and name not in ("OS_CLOUD", "OS_CLIENT_CONFIG_FILE"):
                del self.env[name]

    def moln(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        command = [*self.prefix, sys.executable, "-c", MOLN, arguments[0], "--home", str(self.home), *arguments[1:]]
        done = subprocess.run(command, env=self.env, capture_output=True, text=True, timeout=180, cwd="/")
        assert not check or done.returncode == 0, f"moln {' '.join(arguments)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def openstack(self, *arguments: str, silent: bool | None = None) -> Any:
        """An `openstack` command; what it prints as JSON. silent: it prints nothing; None: its verb tells. Raises AssertionError, with what it said."""
        quiet = {"delete", "add", "remove", "set", "unset", "stop", "start", "reboot", "pause", "unpause", "suspend", "resume",
                 "rescue", "unrescue", "shelve", "unshelve", "resize", "contains", "revoke"}  # fmt: skip
        silent = bool(quiet & set(arguments)) if silent is None else silent
        command = [*arguments] if silent else [*arguments, "-f", "json"]
        if self.shell is None:
            script = Path(__file__).with_name("shell.py")
            self.shell = subprocess.Popen([sys.executable, str(script)], env=self.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.shell.stdin and self.shell.stdout
        print(json.dumps(command), file=self.shell.stdin, flush=True)
        status, out, err = json.loads(self.shell.stdout.readline())
        assert status == 0, f"openstack {' '.join(arguments)}: {status}\n{out}\n{err}"
        return json.loads(out) if out.lstrip().startswith(("{", "[")) else out

    def end(self) -> None:
        if self.shell is not None and self.shell.stdin:
            self.shell.stdin.close()
            self.shell.wait(30)
        self.moln("down", check=False)


@pytest.fixture(scope="session")
def running() -> Iterator[Running]:
    with running_cloud(nodes=1) as cloud:
        yield cloud


@contextlib.contextmanager
def running_cloud(nodes: int) -> Iterator[Running]:
    """`moln up --simulate --detach`, in a home of its own."""
    folder = Path(tempfile.mkdtemp(prefix="moln-clients-"))
    home = folder / "home"
    home.mkdir()
    cloud = Running(home)
    if cloud.prefix:
        os.chown(home, NOBODY, NOBODY)
        folder.chmod(0o755)
    cloud.moln("up", "--simulate", "--detach", "--port", str(cloud.port), "--nodes", str(nodes))
    try:
        yield cloud
    finally:
        cloud.end()
        shutil.rmtree(folder, ignore_errors=True)
