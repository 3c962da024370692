"""Consoles of a real guest, as a person sees them: in a browser."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from openstack.exceptions import BadRequestException
from tests.e2e.browser import browser
from tests.e2e.guests import Guest
from tests.e2e.waiting import until
from tests.e2e.world import World

LIT = """(() => { const c = document.querySelector('#screen canvas'); if (!c) return 0;
  const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data; let n = 0;
  for (let i = 0; i < d.length; i += 4) if (d[i] + d[i + 1] + d[i + 2] > 300) n++; return n; })()"""
KEPT = Path(os.environ.get("MOLN_E2E_SCREENSHOTS", "/nonexistent"))
"""Where screenshots are left for whoever wants to look."""

pytestmark = pytest.mark.skipif(shutil.which("chromium") is None, reason="needs Debian's chromium")


def address(guest: Guest, type: str) -> str:
    """Of a console's page; skips where the pages could not be built."""
    try:
        return str(guest.conn.compute.create_console(guest.id, console_type=type)["url"])
    except BadRequestException as refused:
        if "npm" in str(refused):
            pytest.skip("no npm here")
        raise


def test_a_browser_shows_the_screen_and_the_serial_port_of_a_guest(world: World, demo: Guest) -> None:
    demo.wait()
    with browser() as page:
        page.open(address(demo, "novnc"))
        until(lambda: page.text("#status") == "Connected", "the screen is connected", 30)
        until(lambda: page.value(LIT) > 500, "letters on the screen", 30)
        assert "token" not in page.value("location.href")
        if KEPT.is_dir():
            page.screenshot(KEPT / "screen.png")

        page.open(address(demo, "serial"))
        until(lambda: page.text("#status").startswith("Connected"), "the serial port is connected", 30)
        page.type("\r")
        until(lambda: "login:" in page.text(".xterm-rows"), "the login prompt", 30)
        if KEPT.is_dir():
            page.screenshot(KEPT / "serial.png")
    assert "login:" in demo.conn.compute.get_server_console_output(demo.id)["output"]
