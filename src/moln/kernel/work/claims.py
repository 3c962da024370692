"""Who works on what, where several controllers share a database: a resource is settled by one of them at a time."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Protocol


class Claims(Protocol):
    """A claim lasts for as long as its owner lives and does not leave it; then whoever comes first takes it.

    It keeps two controllers from doing the same work, no more: what one that was lost still does is refused by the generations of rows
    and of commands to nodes.
    """

    async def start(self) -> None:
        """Begin to live. Raises: Unavailable."""
        ...

    async def take(self, work: str, keys: Sequence[str], most: int) -> dict[str, bool]:
        """Those of `keys` that are this process's now, the first `most`; whether it took them only now. Raises: Unavailable."""
        ...

    def leave(self, work: str, key: str) -> None:
        """Nothing is to be done to it any more. Others may take it a moment later."""
        ...

    async def pass_on(self, work: str, keys: Collection[str]) -> None:
        """Wake whoever holds these: what was heard here is theirs to look at."""
        ...

    def on_change(self, callback: Callable[[bool], None]) -> None:
        """Call it when another controller came or went (False), or when this one was taken for dead (True): all claims are lost."""
        ...

    async def living(self) -> set[str]:
        """Names of the controllers that live, this one's too. Raises: Unavailable."""
        ...

    async def stop(self) -> None:
        """Leave everything."""
        ...
