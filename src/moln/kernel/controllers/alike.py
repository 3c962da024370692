"""Files that an administrator keeps alike on every controller: rules in `policy/`, programs in `fence/`. Each controller says what it has, and whether it has
notifications on; doctor compares.

They are not carried from one to another by themselves: fence/ is programs, which an intruder in one controller's process would plant on all, and what
rules are in force is for whoever is root there. `moln controller join URL --token … --again` takes both, by root's own command.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from pathlib import Path

from moln.kernel import notifications
from moln.kernel.cloud import Cloud
from moln.kernel.controllers import states
from moln.kernel.controllers.heritage import BOUND
from moln.kernel.controllers.membership import Controllers
from moln.kernel.errors import Failure
from moln.kernel.module import Invariant, Violation

ALIKE = ("policy", "fence")
NONE = "none"
TELLS = "notifications"  # on or off
SHOWN = 12  # characters of a digest


def digest_of(folder: Path) -> str:
    """SHA-256 over names, contents and whether they are programs, in hex; NONE: there is no file. Editors' hidden files do not count. Raises: Failure."""
    found = hashlib.sha256()
    try:
        files = [file for file in sorted(folder.rglob("*")) if file.is_file() and not file.name.startswith(".")]
        for file in files:
            if file.stat().st_size > BOUND:
                raise Failure(f"{file} is larger than {BOUND >> 20} MiB.")
            found.update(f"{file.relative_to(folder)}\0{os.access(file, os.X_OK)}\0".encode())
            found.update(hashlib.sha256(file.read_bytes()).digest())
    except OSError as error:
        raise Failure(f"{error.filename} cannot be read ({error.strerror}).") from None
    return found.hexdigest() if files else NONE


class Alike:
    """Of one controller."""

    def __init__(self, cloud: Cloud, controllers: Controllers):
        self._cloud, self._controllers = cloud, controllers
        self._sayings = states.Sayings(cloud.db, controllers.name)
        self._tells = "on" if notifications.wanted(cloud.home) else "off"  # since it began

    async def tell(self) -> None:
        """What this controller has now. Raises: Failure."""
        said = {name: await asyncio.to_thread(digest_of, self._cloud.home / name) for name in ALIKE}
        await self._sayings.say(said | {TELLS: self._tells})

    @property
    def invariant(self) -> Invariant:
        async def controllers_have_the_same_files(_: Cloud) -> list[Violation]:
            await self.tell()
            return [found for name in ALIKE if (found := await self._compared(name))]

        return Invariant("controllers-have-the-same-files", controllers_have_the_same_files)

    @property
    def tells(self) -> Invariant:
        async def all_controllers_tell_or_none(_: Cloud) -> list[Violation]:
            await self.tell()
            said = await self._said(TELLS)
            off = sorted(name for name, value in said.items() if value == "off")
            if not off or len(off) == len(said):
                return []
            return [Violation(f"Notifications are off at {', '.join(off)}, and on elsewhere: what is changed there is told nobody.",
                              "There: moln controller notifications on, then moln down and moln up; or `off` on the others.")]  # fmt: skip

        return Invariant("all-controllers-tell-or-none", all_controllers_tell_or_none)

    async def _said(self, what: str) -> dict[str, str]:
        """Of the controllers that there are, by name."""
        query, by = states.of(what)
        known = {controller.name for controller in await self._controllers.all()}
        return {state.controller: state.value for state in await self._cloud.db.all(query, **by) if state.controller in known}

    async def _compared(self, name: str) -> Violation | None:
        said = await self._said(name)
        if len(set(said.values())) < 2:
            return None
        told = ", ".join(f"{controller} {value[:SHOWN]}" for controller, value in said.items())
        return Violation(f"{name}/ is not the same on all controllers: {told}.",
                         f"Copy it from the one that is right; or, on the others, as root: moln controller join URL --token … --again, which takes {name}/ and "
                         "keys from the controller at URL.")  # fmt: skip
