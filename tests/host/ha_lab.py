"""Three controllers of an `--ha` cloud in network namespaces, on an etcd with a member beside each, and who writes through one of them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.host.test_two_machines import MOLN
from tests.network import machines
from tests.network.lab import run

from moln.cli import admin
from moln.host import users
from moln.host.places import PACKAGE_ROOT, USER, Places
from moln.kernel.controllers import proof
from moln.kernel.etcd import server

NAMES = ("c1", "c2", "c3")
URLS = {name: f"https://192.0.2.{number}:5000" for number, name in enumerate(NAMES, 1)}
WAIT_S = 120
WRITE = """
import json, sys, time, http.client, ssl
from urllib.parse import urlsplit
from moln.demo.client import Client
url, home, prefix, seconds = sys.argv[1:4] + [float(sys.argv[4])]
client = Client(url, user="admin", password=open(home + "/admin.password").read().strip(), project="admin", cacert=home + "/tls/ca.crt")
print("begun", flush=True)
ends, number = time.time() + seconds, 0
while time.time() < ends:
    number += 1
    name, connection = f"{prefix}-{number}", client._connection()
    try:
        body = json.dumps({"project": {"name": name, "domain_id": "default"}})
        connection.request("POST", "/identity/v3/projects", body, {"X-Auth-Token": client._token, "Content-Type": "application/json"})
        answer = connection.getresponse()
        answer.read()
        print(json.dumps([time.time(), name, answer.status, answer.headers.get("Retry-After")]), flush=True)
    except OSError as error:
        print(json.dumps([time.time(), name, 0, repr(error)]), flush=True)
    finally:
        connection.close()
    time.sleep(0.02)
"""
READ = """
import json, sys
from moln.demo.client import Client
url, home = sys.argv[1:]
client = Client(url, user="admin", password=open(home + "/admin.password").read().strip(), project="admin", cacert=home + "/tls/ca.crt")
print(json.dumps([p["name"] for p in client.call("GET", "/identity/v3/projects")["projects"]]))
"""


def eventually(ask: Callable[[], Any], what: str) -> Any:
    """What it says once it is true; a command that fails meanwhile says nothing."""
    ends = time.monotonic() + WAIT_S
    while True:
        try:
            if found := ask():
                return found
        except Exception as error:  # of the command that asks
            what = f"{what}: {error}"[:2000]
        assert time.monotonic() < ends, what
        time.sleep(0.5)


class Writer:
    """Makes projects through one controller, as fast as they are answered. answers: (when, name, status, Retry-After); 0: none."""

    def __init__(self, lab: HaLab, machine: str, prefix: str, seconds: float):
        self._process = subprocess.Popen(lab.words(machine, WRITE, URLS[machine], str(lab.home / machine), prefix, str(seconds)), text=True,
                                         stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": str(PACKAGE_ROOT)})  # fmt: skip
        assert self._process.stdout is not None and self._process.stdout.readline() == "begun\n"

    def end(self) -> list[tuple[float, str, int, str | None]]:
        said, _ = self._process.communicate(timeout=180)
        return [tuple(json.loads(line)) for line in said.splitlines()]


def gap_s(answers: list[tuple[float, str, int, str | None]]) -> float:
    """The longest time in which nothing was written."""
    times = [at for at, _, status, _ in answers if status == 201]
    return max(later - before for before, later in zip(times, times[1:], strict=False))


class HaLab(machines.Homes):
    """Controllers c1, c2, c3 at 192.0.2.1 to .3."""

    def __init__(self) -> None:
        super().__init__()
        users.ensure_users()
        self.fabric()
        self._etcd: dict[str, subprocess.Popen[bytes]] = {}
        now = datetime.now(UTC)
        for number, name in enumerate(NAMES, 1):
            self.machine(name, number)
            self._certify(self.etcd_home(name), f"192.0.2.{number}", now)
        for name in NAMES:
            self.start_etcd(name)

    def _certify(self, home: Path, address: str, now: datetime) -> None:
        """Of one authority for all members."""
        (home / "controllers").mkdir(parents=True)
        if (first := self.etcd_home(NAMES[0])) != home:
            shutil.copy(first / "controllers/ca.pem", home / "controllers/ca.pem")
        proof.ensure(home, home.name, now)
        server.ensure(home, frozenset({address}), now)

    def etcd_home(self, name: str) -> Path:
        return self.home / f"etcd-{name}"

    def start_etcd(self, name: str) -> None:
        number = NAMES.index(name) + 1
        cluster = {n: f"https://192.0.2.{i}:2380" for i, n in enumerate(NAMES, 1)}
        words = [w.replace("state=existing", "state=new") for w in server.arguments(self.etcd_home(name), name, f"192.0.2.{number}", 2379, 2380, cluster)]
        with (self.home / f"etcd-{name}.log").open("ab") as log:
            self._etcd[name] = subprocess.Popen(["nsenter", f"--net=/run/netns/{self.tag}-{name}", "etcd", *words], stdout=log, stderr=log)

    def words(self, name: str, script: str, *arguments: str) -> list[str]:
        return ["nsenter", f"--net=/run/netns/{self.tag}-{name}", sys.executable, "-P", "-c", script, *arguments]

    def inside(self, name: str, script: str, *arguments: str) -> str:
        return run(*self.words(name, script, *arguments), timeout_s=300, env={"PYTHONPATH": str(PACKAGE_ROOT)})

    def moln(self, name: str, *arguments: str) -> str:
        return self.inside(name, MOLN, *arguments, "--home", str(self.home / name))

    def begin(self) -> None:
        """As an operator does it, but for the etcd that is given."""
        first = self.etcd_home(NAMES[0])
        client = self.home / "etcd-client.pem"
        shutil.copy(first / "controllers/controller.pem", client)
        users.own(client, USER, USER, 0o600)
        (self.home / "c1").mkdir()
        (self.home / "c1/moln.toml").write_text(
            f'[link]\netcd_certificate = "{client}"\netcd_ca = "{first}/controllers/ca.crt"\n'
            f"etcd = {json.dumps([f'https://192.0.2.{n}:2379' for n in (1, 2, 3)])}\n")  # fmt: skip
        etcds = [word for number in (1, 2, 3) for word in ("--etcd", f"https://192.0.2.{number}:2379")]
        self.moln("c1", "controller", "init", "--ha", *etcds, "--listen", "192.0.2.1", "--name", "c1", "--detach")
        for name in NAMES[1:]:
            self.join(name, at="c1")

    def join(self, name: str, at: str) -> None:
        token = self.moln(at, "controller", "token").strip()
        self.moln(name, "controller", "join", URLS[at], "--token", token, "--listen", f"192.0.2.{NAMES.index(name) + 1}", "--name", name, "--detach")

    def database(self, at: str) -> dict[str, Any]:
        told: dict[str, Any] = admin.ask(Places(self.home / at), "status", timeout_s=20)["database"]
        return told

    def primary(self, at: str, but: str = "") -> str:
        """Who takes writes; eventually another than `but`."""
        return str(eventually(lambda: (found := self.database(at)["primary"]) != but and found, "somebody takes writes"))

    def standbys(self, at: str) -> set[str]:
        return {s["name"] for s in self.database(at)["standbys"] if s["state"] == "streaming"}

    def pids(self, name: str) -> list[int]:
        return [int(line) for line in run("ip", "netns", "pids", f"{self.tag}-{name}").split()]

    def kill(self, name: str) -> None:
        """As power that goes: all processes of the machine, until there is none."""
        while pids := self.pids(name):
            for pid in pids:
                with_one(pid)
        self._etcd[name].wait(timeout=20)

    def names(self, at: str) -> set[str]:
        return set(json.loads(self.inside(at, READ, URLS[at], str(self.home / at))))

    def close(self) -> None:
        for name in NAMES:
            if (self.home / name / "host").exists():
                self.moln(name, "down", "--purge")
        for process in self._etcd.values():
            process.kill()
            process.wait(timeout=20)
        super().close()


def with_one(pid: int) -> None:
    """kill -9, unless it went by itself."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
