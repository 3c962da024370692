"""How set-up tells what it does. The command line shows it; tests and other callers may listen or not."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Protocol


class Steps(Protocol):
    """`with steps("Install packages"): …` around each step; note() adds a detail to the step under way."""

    def __call__(self, title: str) -> contextlib.AbstractContextManager[None]: ...

    def note(self, text: str) -> None: ...


class Silent:
    """Tells nobody."""

    @contextlib.contextmanager
    def __call__(self, title: str) -> Iterator[None]:
        yield

    def note(self, text: str) -> None:
        pass
