"""Watch the cloud: nodes, work, requests and what goes wrong, drawn anew every two seconds. q ends it."""

from __future__ import annotations

import argparse
import contextlib
import os
import select
import sys
import termios
import time
import tty
from collections import deque
from collections.abc import Iterator
from typing import Any

from rich.console import Console, RenderableType
from rich.live import Live

from moln.cli import admin
from moln.cli.watching.figures import Figures, figures
from moln.cli.watching.samples import Samples
from moln.cli.watching.screen import frame
from moln.host import control
from moln.host.control import NotRunning
from moln.host.places import Places

HELP = "watch nodes, work, requests and latencies"
WINDOW_S = 10.0  # seconds that rates and latencies are over: long enough to be steady, short enough to see a change
PLAIN_WIDTH = 120
ENDS = (b"q", b"Q")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--once", action="store_true", help="print one frame as plain text, over the controller's whole life")
    parser.add_argument("--every", type=float, default=2.0, metavar="SECONDS", help="how often to look (default: 2)")


def run(args: argparse.Namespace) -> int:
    """Raises: NotRunning, when one frame was asked for and there is none."""
    watch = Watch(Places(args.home))
    if args.once or not (sys.stdin.isatty() and sys.stdout.isatty()):
        state, found = watch.look(whole=True)
        plain = Console(width=PLAIN_WIDTH, force_terminal=False, no_color=True, highlight=False)
        with plain.capture() as drawn:
            plain.print(frame(found, state, plain))
        print("\n".join(line.rstrip() for line in drawn.get().splitlines()))
        return 0
    live(watch, max(0.2, args.every))
    return 0


class Watch:
    """Looks at one cloud, again and again. Keeps as many scrapes as WINDOW_S needs."""

    def __init__(self, places: Places) -> None:
        self.places = places
        self.kept: deque[Samples] = deque(maxlen=200)

    def look(self, *, whole: bool = False) -> tuple[dict[str, Any], Figures]:
        """What supervisor and controller say of themselves, and the figures. Raises: NotRunning, PermissionError, TimeoutError."""
        state = control.status(self.places) | admin.ask(self.places, "status", timeout_s=5)
        now = Samples(time.monotonic(), admin.text(self.places, "metrics", timeout_s=5))
        while len(self.kept) > 1 and now.at - self.kept[1].at >= WINDOW_S:
            self.kept.popleft()
        before = None if whole or not self.kept else self.kept[0]
        self.kept.append(now)
        return state, figures(now, before, time.time())

    def draw(self, console: Console) -> RenderableType:
        """A frame, whatever there is. A cloud that comes and goes is followed."""
        try:
            state, found = self.look()
            return frame(found, state, console, height=console.height)
        except (NotRunning, TimeoutError) as error:
            self.kept.clear()
            return frame(None, self.engines(), console, problem=str(error))

    def engines(self) -> dict[str, Any]:
        try:
            return control.status(self.places)
        except (NotRunning, TimeoutError):
            return {"engines": []}


def live(watch: Watch, every_s: float) -> None:
    """Until `q`."""
    console = Console(highlight=False)
    with keys(), Live(console=console, screen=True, auto_refresh=False) as screen:
        while True:
            screen.update(watch.draw(console), refresh=True)
            if pressed(every_s):
                return


@contextlib.contextmanager
def keys() -> Iterator[None]:
    """Keys arrive one by one, unseen."""
    before = termios.tcgetattr(sys.stdin)
    try:
        tty.setcbreak(sys.stdin.fileno())
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def pressed(within_s: float) -> bool:
    """Whether a key of ENDS came, or no more can. Any other one only has the next frame drawn at once."""
    readable, _, _ = select.select([sys.stdin], [], [], within_s)
    return bool(readable) and os.read(sys.stdin.fileno(), 16)[:1] in (*ENDS, b"")
