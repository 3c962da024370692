"""What a directory can do: read, and say whether a password is right. Only BackendUnreachable comes out: nobody's answer is no answer."""

from __future__ import annotations

from typing import Protocol

from moln.identity.model.directory import Circle, Person


class Directory(Protocol):
    """Where a domain's users are. Every list has a bound."""

    async def person(self, *, local_id: str = "", name: str = "") -> Person | None:
        """Somebody by their id, or by their name."""
        ...

    async def people(self, name: str | None = None) -> tuple[list[Person], bool]:
        """Everybody, or those of a name; and whether that is all, or only as much as the directory tells."""
        ...

    async def circle(self, local_id: str) -> Circle | None:
        """A group by its id."""
        ...

    async def circles(self, name: str | None = None) -> tuple[list[Circle], bool]:
        """Every group, or those of a name; and whether that is all."""
        ...

    async def circles_of(self, person: Person) -> list[Circle]:
        """The groups that somebody is in."""
        ...

    async def members(self, circle: Circle) -> list[Person]:
        """Who is in a group."""
        ...

    async def proves(self, person: Person | None, password: str) -> bool:
        """Whether it is this person's password; as slow, and False, for nobody's. An empty password is never right."""
        ...

    def close(self) -> None:
        """Let go of connections; calls under way end by themselves."""
        ...
