"""Steps with times, on a terminal and in a log alike: plain lines, nothing drawn over."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from typing import TextIO


class Progress:
    """Prints each step as it ends, with its time, and its notes as they come."""

    def __init__(self, out: TextIO | None = None) -> None:
        self.out = out or sys.stderr
        self.colour = self.out.isatty()

    @contextlib.contextmanager
    def __call__(self, title: str) -> Iterator[None]:
        """One step."""
        began = time.monotonic()
        if self.colour:
            self._line(f"  … {title}")
        try:
            yield
        except BaseException:
            self._line(f"{self._paint('✗', 31)} {title}  {time.monotonic() - began:.1f} s")
            raise
        self._line(f"{self._paint('✓', 32)} {title}  {time.monotonic() - began:.1f} s")

    def note(self, text: str) -> None:
        """A detail of the step under way."""
        self._line(f"    {text}")

    def _line(self, text: str) -> None:
        print(text, file=self.out, flush=True)

    def _paint(self, text: str, colour: int) -> str:
        return f"\033[{colour}m{text}\033[0m" if self.colour else text
