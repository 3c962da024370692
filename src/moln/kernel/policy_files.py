"""An operator's rules in `policy/SERVICE.yaml` (or .json) of the home: in force at start, and again whenever a file changes."""

from __future__ import annotations

import asyncio
import functools
import logging
from pathlib import Path

from moln.kernel.cloud import Cloud
from moln.kernel.errors import Invalid
from moln.kernel.module import Invariant, Violation
from moln.kernel.policy import SERVICES, Policy, load_overrides
from moln.kernel.work import Periodic, Work

EVERY_S = 1.0
_log = logging.getLogger("moln.policy")
_Seen = tuple[tuple[str, int, int, int], ...]


@functools.cache
def default_policy() -> Policy:
    """The defaults alone: the same for every cloud of a process."""
    return Policy.load()


def load_policy(home: Path) -> Policy:
    """The defaults with an operator's files on top. Raises: Invalid."""
    overrides = load_overrides(home / "policy")
    if not any(overrides.values()):
        return default_policy()
    policy = Policy.load(overrides=overrides)
    if policy.problems:
        raise Invalid("; ".join(policy.problems))
    return policy


class PolicyFiles:
    """Watches the files. What cannot be read leaves the rules as they are; problem: why, until it is mended.

    A change counts once it has been seen twice alike, so that no file is read half-written.
    """

    def __init__(self, cloud: Cloud):
        self._cloud = cloud
        self._folder = cloud.home / "policy"
        self._seen = self._loaded = self._look()
        self.problem = ""
        self.periodic = Periodic("policy-files", self._watch, every_s=EVERY_S, everywhere=True)
        self.invariants = (Invariant("policy: the operator's files are in force", self._check),)

    async def _watch(self, work: Work) -> None:
        await self.look()

    async def look(self) -> None:
        """Load the files, if they changed and are at rest."""
        seen = self._look()
        at_rest, self._seen = seen == self._seen, seen
        if not at_rest or seen == self._loaded:
            return
        self._loaded = seen
        try:
            self._cloud.policy = await asyncio.to_thread(load_policy, self._cloud.home)
        except Invalid as error:
            self.problem = error.message
            _log.error("the rules stay as they are: %s", error.message)
        else:
            self.problem = ""
            _log.info("the operator's rules were read again: %s", ", ".join(Path(name).name for name, *_ in seen) or "there are none any more")

    def _look(self) -> _Seen:
        """What tells one state of the files from another."""
        found = []
        for service in SERVICES:
            for path in (self._folder / f"{service}.yaml", self._folder / f"{service}.json"):
                try:
                    stat = path.stat()
                except OSError:
                    continue
                found.append((str(path), stat.st_mtime_ns, stat.st_size, stat.st_ino))
        return tuple(found)

    async def _check(self, cloud: Cloud) -> list[Violation]:
        return [Violation(f"the rules from before are in force: {self.problem}", f"mend it in {self._folder}")] if self.problem else []
