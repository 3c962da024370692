"""Debian's Chromium without a window, driven over its DevTools protocol; it ends with the test and leaves nothing."""

from __future__ import annotations

import base64
import contextlib
import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.e2e.waiting import until
from websockets.sync.client import ClientConnection, connect

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--remote-debugging-port=0", "--window-size=1024,768",
)  # fmt: skip


class Browser:
    """One page."""

    def __init__(self, devtools: ClientConnection):
        self._devtools = devtools
        self._id = 0
        target = self._ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]

    def _ask(self, method: str, *, session: str = "", **params: Any) -> Any:
        self._id += 1
        self._devtools.send(json.dumps({"id": self._id, "method": method, "params": params} | ({"sessionId": session} if session else {})))
        while True:
            answer = json.loads(self._devtools.recv(timeout=30))
            if answer.get("id") == self._id:
                assert "error" not in answer, answer
                return answer["result"]

    def page(self, method: str, **params: Any) -> Any:
        return self._ask(method, session=self._session, **params)

    def open(self, url: str) -> None:
        self.page("Page.navigate", url=url)

    def value(self, script: str) -> Any:
        return self.page("Runtime.evaluate", expression=script, returnByValue=True)["result"].get("value")

    def text(self, selector: str) -> str:
        return str(self.value(f"document.querySelector({json.dumps(selector)})?.textContent ?? ''"))

    def type(self, text: str) -> None:
        for char in text:
            named = {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13} if char == "\r" else {"key": char}
            self.page("Input.dispatchKeyEvent", type="keyDown", text=char, **named)
            self.page("Input.dispatchKeyEvent", type="keyUp", **named)

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self.page("Page.captureScreenshot")["data"]))


@contextlib.contextmanager
def browser() -> Iterator[Browser]:
    """Raises: AssertionError, when it does not start."""
    program = shutil.which("chromium")
    assert program, "apt-get install chromium"
    with tempfile.TemporaryDirectory(prefix="moln-chromium-", ignore_cleanup_errors=True) as profile:
        running = subprocess.Popen([program, *FLAGS, f"--user-data-dir={profile}", "about:blank"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            port = Path(profile, "DevToolsActivePort")
            until(lambda: port.exists() and port.read_text().count("\n"), "Chromium runs", 60)
            number, path = port.read_text().split()
            with connect(f"ws://127.0.0.1:{number}{path}", max_size=None, proxy=None) as devtools:
                yield Browser(devtools)
        finally:
            running.terminate()
            running.wait(20)
