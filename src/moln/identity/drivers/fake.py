"""A directory in memory: what the tests and simulated clouds have instead of a server."""

from __future__ import annotations

from moln.identity.model.directory import Circle, Person
from moln.kernel.errors import BackendUnreachable


class FakeDirectory:
    """folk, groups: by local id; passwords: by local id; inside: the local ids in a group. down: why it does not answer. truncates: whether lists are not all."""

    def __init__(self) -> None:
        self.folk: dict[str, Person] = {}
        self.groups: dict[str, Circle] = {}
        self.passwords: dict[str, str] = {}
        self.inside: dict[str, list[str]] = {}
        self.down = ""
        self.truncates = False
        self.binds: list[str | None] = []

    def add(self, local_id: str, password: str, *, name: str = "", enabled: bool = True) -> Person:
        self.folk[local_id] = Person(local_id, name or local_id, f"uid={local_id}", enabled)
        self.passwords[local_id] = password
        return self.folk[local_id]

    def gather(self, local_id: str, *members: str) -> Circle:
        self.groups[local_id] = Circle(local_id, local_id, f"cn={local_id}")
        self.inside[local_id] = list(members)
        return self.groups[local_id]

    def _check(self) -> None:
        if self.down:
            raise BackendUnreachable(self.down)

    async def person(self, *, local_id: str = "", name: str = "") -> Person | None:
        self._check()
        return self.folk.get(local_id) if local_id else next((p for p in self.folk.values() if p.name == name), None)

    async def people(self, name: str | None = None) -> tuple[list[Person], bool]:
        self._check()
        return [p for p in self.folk.values() if name in (None, p.name)], not self.truncates

    async def circle(self, local_id: str) -> Circle | None:
        self._check()
        return self.groups.get(local_id)

    async def circles(self, name: str | None = None) -> tuple[list[Circle], bool]:
        self._check()
        return [g for g in self.groups.values() if name in (None, g.name)], not self.truncates

    async def circles_of(self, person: Person) -> list[Circle]:
        self._check()
        return [g for g in self.groups.values() if person.local_id in self.inside[g.local_id]]

    async def members(self, circle: Circle) -> list[Person]:
        self._check()
        return [self.folk[local_id] for local_id in self.inside[circle.local_id] if local_id in self.folk]

    async def proves(self, person: Person | None, password: str) -> bool:
        self._check()
        self.binds.append(person.local_id if person else None)
        return person is not None and password != "" and self.passwords.get(person.local_id) == password

    def close(self) -> None:
        return
