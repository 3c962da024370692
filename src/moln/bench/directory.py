"""Users, groups, projects and assignments by the thousand, written as rows: the APIs would take hours."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

import uvloop
from argon2 import PasswordHasher
from msgspec import Struct
from msgspec.structs import asdict

from moln.app import compose, load_settings
from moln.identity.model.credentials import ApplicationCredential
from moln.identity.model.projects import Project
from moln.identity.model.roles import Grant
from moln.identity.model.users import Group, User
from moln.identity.store import roles
from moln.identity.store.credentials import APPLICATION_CREDENTIALS
from moln.identity.store.groups import GROUPS, MEMBERSHIPS
from moln.identity.store.projects import PROJECTS
from moln.identity.store.roles import GRANTS
from moln.identity.store.users import USERS
from moln.kernel.db import Transaction
from moln.simulation import simulated_links

SECRET = "a secret of the benchmark"
IN_GROUPS, ON_PROJECTS = 50, 500  # of the user who is in many
BATCH = 20_000


class Hasher:
    """argon2id: `hash`, and what one costs."""

    def __init__(self, **parameters: int):
        self._hasher = PasswordHasher(parallelism=1, **parameters)

    def hash(self) -> str:
        return self._hasher.hash(SECRET)

    def cost_us(self) -> float:
        """Processor time of one, µs: the best of a few."""
        hashed, found = self.hash(), []
        for _ in range(10):
            began = time.thread_time()
            self._hasher.verify(hashed, SECRET)
            found.append(time.thread_time() - began)
        return min(found) * 1e6


HASHER, CHEAP_HASHER = Hasher(time_cost=2, memory_cost=19456), Hasher(time_cost=1, memory_cost=8)


class Size(Struct, frozen=True):
    users: int
    projects: int


SMALL, LARGE = Size(1_000, 500), Size(1_000_000, 100_000)


class Directory(Struct):
    """member: who is in `groups` groups that have roles on the `projects`. program: the id of an application credential."""

    size: Size
    member: str
    groups: int
    projects: list[str]
    program: str


def user_id(number: int) -> str:
    return _id(f"user {number}")


def project_id(number: int) -> str:
    return _id(f"project {number}")


def _id(of: str) -> str:
    """As an UUID's: 32 hexadecimal digits without a pattern."""
    return hashlib.md5(of.encode(), usedforsecurity=False).hexdigest()


def fill(home: Path, size: Size) -> Directory:
    """A database in an empty home."""
    return uvloop.run(_fill(home, size))


async def _fill(home: Path, size: Size) -> Directory:
    app = compose(home, load_settings(home, simulate=True), simulated_links)
    await app.set_up()
    try:
        for first in range(0, size.users, BATCH):
            await app.cloud.db.write(_add_users, first, min(size.users, first + BATCH))
        for first in range(0, size.projects, BATCH):
            await app.cloud.db.write(_add_projects, first, min(size.projects, first + BATCH))
        return await app.cloud.db.write(_add_member, size)
    finally:
        await app.stop()


async def _add_users(tx: Transaction, first: int, last: int) -> None:
    for number in range(first, last):
        user = User(user_id(number), f"user-{number}", "default", extra={"email": f"user-{number}@example.org"})
        await tx.insert(USERS, asdict(user) | {"password_hash": None})


async def _add_projects(tx: Transaction, first: int, last: int) -> None:
    for number in range(first, last):
        await tx.insert(PROJECTS, Project(project_id(number), f"project-{number}", "default", "default"))


async def _add_member(tx: Transaction, size: Size) -> Directory:
    """Who is in fifty groups, each with a role on ten projects; `quick` and `hashed`, whose passwords cost nothing and what they cost."""
    member = next(role.id for role in await roles.every(tx) if role.name == "member")
    projects = [project_id(number) for number in range(ON_PROJECTS)]
    cheap, usual = CHEAP_HASHER.hash(), HASHER.hash()
    for name, hashed in (("quick", cheap), ("hashed", usual)):
        await tx.insert(USERS, asdict(User(f"the-{name}", name, "default")) | {"password_hash": hashed})
        await tx.insert(GRANTS, Grant("user", f"the-{name}", "project", projects[0], member))
    await tx.insert(USERS, asdict(User("the-member", "the-member", "default")) | {"password_hash": None})
    for number in range(IN_GROUPS):
        group = f"group-{number}"
        await tx.insert(GROUPS, Group(group, group, "default"))
        await tx.insert(MEMBERSHIPS, {"group_id": group, "user_id": "the-member"})
        for project in projects[number * 10:number * 10 + 10]:
            await tx.insert(GRANTS, Grant("group", group, "project", project, member))
    program = ApplicationCredential("the-program", "program", "the-quick", projects[0], roles=[member])
    await tx.insert(APPLICATION_CREDENTIALS, asdict(program) | {"secret_hash": usual})
    return Directory(size, "the-member", IN_GROUPS, projects, program.id)
