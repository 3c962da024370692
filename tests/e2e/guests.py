"""A server as its owner sees it: over ssh, on its console, through the API."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from tests.e2e.waiting import until

SSH_S = 240.0


class Guest:
    """conn: its owner's. address: where ssh finds it. jump: through which guest, when it cannot be reached from here."""

    def __init__(self, conn: Any, server_id: str, address: str, key: Path, jump: Guest | None = None) -> None:
        self.conn = conn
        self.id = server_id
        self.address = address
        self.key = key
        self.jump = jump

    @property
    def server(self) -> Any:
        return self.conn.compute.get_server(self.id)

    @property
    def status(self) -> str:
        return str(self.server.status)

    def port(self) -> Any:
        """Its first port."""
        return next(iter(self.conn.network.ports(device_id=self.id)))

    def _ssh(self, command: str, timeout_s: float, connect_s: int) -> subprocess.CompletedProcess[str]:
        options = [
            "-i", str(self.key), "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "BatchMode=yes",
            "-o", f"ConnectTimeout={connect_s}", "-o", "LogLevel=ERROR", "-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=4",
        ]  # fmt: skip
        if self.jump:
            through = ["ssh", *options, "-W", f"{self.address}:22", f"root@{self.jump.address}"]
            options += ["-o", "ProxyCommand=" + " ".join(through)]
        argv = ["ssh", *options, f"root@{self.address}", command]
        try:
            return subprocess.run(argv, capture_output=True, text=True, timeout=timeout_s, check=False)
        except subprocess.TimeoutExpired:
            return subprocess.CompletedProcess(argv, 255, "", "timed out")

    def run(self, command: str, timeout_s: float = 90) -> str:
        """What a command printed, as root in the guest. Raises: AssertionError, when it failed."""
        done = self._ssh(command, timeout_s, 20)
        assert done.returncode == 0, f"{command!r} ended with {done.returncode}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def works(self, command: str, timeout_s: float = 60) -> bool:
        """Whether a command ended well in the guest, which must be reached."""
        done = self._ssh(command, timeout_s, 20)
        assert done.returncode != 255, f"the guest at {self.address} is not reached: {done.stderr}"
        return done.returncode == 0

    def answers(self, connect_s: int = 3) -> bool:
        return self._ssh("true", 30, connect_s).returncode == 0

    def wait(self) -> Guest:
        """Until ssh lets us in."""
        def reached() -> bool:
            if self.answers():
                return True
            status = self.status
            assert status != "ERROR", self.server.fault
            return False

        try:
            until(reached, f"ssh to {self.address}", SSH_S)
        except AssertionError as late:
            raise AssertionError(f"{late}; its console:\n{self.console()[-3000:]}") from None
        return self

    def boot_id(self) -> str:
        """Another one after each boot of its kernel."""
        return self.run("cat /proc/sys/kernel/random/boot_id")

    def console(self) -> str:
        return str(self.conn.compute.get_server_console_output(self.id)["output"])

    def wait_status(self, *wanted: str, timeout_s: float = 120) -> None:
        def there() -> bool:
            found = self.status
            assert found in wanted or found != "ERROR", self.server.fault
            return found in wanted

        until(there, f"server {self.id} {'/'.join(wanted)}", timeout_s)

    def wait_gone(self, timeout_s: float = 60) -> None:
        until(lambda: self.conn.compute.find_server(self.id) is None, f"server {self.id} gone", timeout_s)

    def delete(self) -> None:
        self.conn.compute.delete_server(self.id)
        self.wait_gone()
