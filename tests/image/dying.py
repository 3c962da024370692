"""A process that dies in the middle of what it does, for tests: nothing of it is caught, and no step comes after."""

from __future__ import annotations

from typing import Any


class Died(BaseException):
    pass


class Dying:
    """The nth beginning or end of what it is put around is the process's last."""

    def __init__(self, left: int) -> None:
        self.left = left

    def around(self, fn: Any) -> Any:
        async def call(*args: Any, **kwargs: Any) -> Any:
            self.step()
            found = await fn(*args, **kwargs)
            self.step()
            return found

        return call

    def step(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise Died
