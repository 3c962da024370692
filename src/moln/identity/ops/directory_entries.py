"""People and groups of directories as they are known here: rows beside our own, brought up to date whenever the directory is asked.

So assignments, trusts and tokens treat them like everybody else, and validating a token asks no directory. Who is disabled or gone there
keeps their assignments, and has no tokens any more; who comes back has them again.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import Any

import msgspec
from msgspec import Struct

from moln.identity.drivers.base import Directory
from moln.identity.model.directory import Circle, Entry, Person, public_id
from moln.identity.model.users import Group, User
from moln.identity.ops import directories
from moln.identity.ops.state import people_changed
from moln.identity.store import directory as store
from moln.identity.store import groups as group_store
from moln.identity.store import users as user_store
from moln.identity.store.directory import ENTRIES
from moln.identity.store.groups import GROUPS, MEMBERSHIPS
from moln.identity.store.users import USERS
from moln.kernel.cloud import Cloud
from moln.kernel.context import RequestContext
from moln.kernel.db import Reader, Transaction
from moln.kernel.errors import BackendUnreachable

MANY = 50  # entries, beyond which comparing them is not for the loop


class Seen(Struct, frozen=True):
    """What a directory said just now. whole: of which kinds these are all there are, so that others are gone. gone: ids of ours that it has not.

    inside: user ids by group id, all of that group's; of: group ids by user id, all of that user's.
    """

    domain_id: str
    people: tuple[Person, ...] = ()
    circles: tuple[Circle, ...] = ()
    whole: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()
    inside: dict[str, list[str]] = {}
    of: dict[str, list[str]] = {}


def user_id(domain_id: str, person: Person) -> str:
    return public_id(domain_id, "user", person.local_id)


def group_id(domain_id: str, circle: Circle) -> str:
    return public_id(domain_id, "group", circle.local_id)


async def refresh_user(cloud: Cloud, id_: str, *, circles: bool = False) -> None:
    """One user, perhaps with their groups; nothing for one of ours. Raises: Unavailable."""
    found = await directories.of_entry(cloud, id_)
    entry = await store.find(cloud.db, id_) if found else None
    if found is None or entry is None:
        return
    try:
        seen = await look(found[0], entry, circles=circles)
    except BackendUnreachable as error:
        raise directories.lost(entry.domain_id, error) from None
    await note(cloud, seen)


async def look(directory: Directory, entry: Entry, *, circles: bool) -> Seen:
    """What a directory says of a user now. Raises: BackendUnreachable."""
    person = await directory.person(local_id=entry.local_id)
    if person is None:
        return Seen(entry.domain_id, gone=(entry.id,))
    if not circles:
        return Seen(entry.domain_id, (person,))
    inside = await directory.circles_of(person)
    return Seen(entry.domain_id, (person,), tuple(inside), of={entry.id: [group_id(entry.domain_id, g) for g in inside]})


async def refresh_group(cloud: Cloud, id_: str, *, members: bool = False) -> None:
    """One group, perhaps with all who are in it; nothing for one of ours. Raises: Unavailable."""
    found = await directories.of_entry(cloud, id_)
    entry = await store.find(cloud.db, id_) if found else None
    if found is None or entry is None:
        return
    try:
        circle = await found[0].circle(entry.local_id)
        people = await found[0].members(circle) if circle is not None and members else []
    except BackendUnreachable as error:
        raise directories.lost(entry.domain_id, error) from None
    if circle is None:
        seen = Seen(entry.domain_id, gone=(id_,))
    else:
        inside = {id_: [user_id(entry.domain_id, p) for p in people]} if members else {}
        seen = Seen(entry.domain_id, tuple(people), (circle,), inside=inside)
    await note(cloud, seen)


async def refresh_list(cloud: Cloud, domain_id: str, kind: str, name: str | None) -> None:
    """All users or groups of a domain, or those of a name; nothing where they are ours. Raises: Unavailable."""
    directory = await directories.of_domain(cloud, domain_id)
    if directory is None:
        return
    try:
        if kind == "user":
            people, whole = await directory.people(name)
            seen = Seen(domain_id, people=tuple(people))
        else:
            circles, whole = await directory.circles(name)
            seen = Seen(domain_id, circles=tuple(circles))
    except BackendUnreachable as error:
        raise directories.lost(domain_id, error) from None
    if whole and name is None:
        seen = msgspec.structs.replace(seen, whole=(kind,))
    await note(cloud, seen)
    if name is not None:  # who had it here may have another name by now, or be gone
        before = await (user_store.find_named(cloud.db, name, domain_id) if kind == "user" else group_store.find_named(cloud.db, name, domain_id))
        if before is not None and before.id not in {*(user_id(domain_id, p) for p in seen.people), *(group_id(domain_id, g) for g in seen.circles)}:
            await (refresh_user(cloud, before.id) if kind == "user" else refresh_group(cloud, before.id))


async def listed(ctx: RequestContext, kind: str, domain_ids: list[str], name: str | None, further: Container[str]) -> list[tuple[str, str, Any]]:
    """Ask the directory of a domain whose users or groups are to be listed, at the first page, and the condition that the list needs then.

    further: the query: a later page names a `marker`. Raises: Unavailable.
    """
    known = await directories.domains(ctx.cloud)
    if len(set(domain_ids)) == 1 and domain_ids[0] in known and "marker" not in further:
        await refresh_list(ctx.cloud, domain_ids[0], kind, name)
    return [("here", "eq", 1)] if known else []


async def note(cloud: Cloud, seen: Seen) -> None:
    """Bring our rows to what a directory said; nothing is written where they say so already."""
    many = len(seen.people) + len(seen.circles) > MANY
    news = await (cloud.db.read(_news, seen) if many else _news(cloud.db, seen))
    if news.people or news.circles or news.gone or news.inside or news.of:
        await cloud.db.write(note_in, news, cloud.clock.now_us())


async def _news(db: Reader, seen: Seen) -> Seen:
    """What of it is not known yet."""
    domain_id = seen.domain_id
    people, circles = {user_id(domain_id, p): p for p in seen.people}, {group_id(domain_id, g): g for g in seen.circles}
    entries = await store.among(db, [*people, *circles, *seen.gone])
    here = {id_ for id_, entry in entries.items() if entry.present}
    users, groups = await user_store.among(db, list(people)), await group_store.among(db, list(circles))
    gone = [id_ for id_ in seen.gone if id_ in here]
    for kind in seen.whole:
        there = people if kind == "user" else circles
        gone += [entry.id for entry in await store.of_domain(db, domain_id, kind) if entry.present and entry.id not in there]
    inside = {id_: ids for id_, ids in seen.inside.items() if {u.id for u in await group_store.members(db, id_)} != set(ids)}
    of = {id_: ids for id_, ids in seen.of.items() if set(await group_store.ids_of_user(db, id_)) != set(ids)}
    return Seen(
        domain_id, tuple(p for id_, p in people.items() if id_ not in here or id_ not in users or _columns(users[id_]) != _columns(_user(domain_id, id_, p))),
        tuple(g for id_, g in circles.items() if id_ not in here or groups.get(id_) != _group(domain_id, id_, g)), gone=tuple(gone), inside=inside, of=of,
    )  # fmt: skip


def _user(domain_id: str, id_: str, person: Person) -> User:
    return User(id_, person.name, domain_id, person.enabled, person.default_project_id, extra=person.extra)


def _columns(user: User) -> dict[str, Any]:
    """What the directory says of a user."""
    return {name: getattr(user, name) for name in ("name", "enabled", "default_project_id", "extra")}


def _group(domain_id: str, id_: str, circle: Circle) -> Group:
    return Group(id_, circle.name, domain_id, circle.description, circle.extra)


async def note_in(tx: Transaction, seen: Seen, now_us: int) -> None:
    """Bring our rows to what a directory said."""
    domain_id = seen.domain_id
    people = {user_id(domain_id, person): person for person in seen.people}
    circles = {group_id(domain_id, circle): circle for circle in seen.circles}
    known = await store.among(tx, [*people, *circles, *seen.gone])
    for entry in [known[id_] for id_ in seen.gone if id_ in known]:
        await _gone_in(tx, entry, now_us)
    for id_, person in people.items():
        await _user_in(tx, domain_id, id_, person, known.get(id_), now_us)
    for id_, circle in circles.items():
        await _group_in(tx, domain_id, id_, circle, known.get(id_))
    for id_, members in seen.inside.items():
        await _memberships_in(tx, "group_id", id_, [u.id for u in await group_store.members(tx, id_)], members)
    for id_, inside in seen.of.items():
        await _memberships_in(tx, "user_id", id_, await group_store.ids_of_user(tx, id_), inside)


async def _gone_in(tx: Transaction, entry: Entry, now_us: int) -> None:
    if not entry.present:
        return
    await tx.update(ENTRIES, {"present": 0}, id=entry.id)
    if entry.kind == "user":
        await tx.update(USERS, {"enabled": 0, "tokens_from": now_us}, id=entry.id)
    else:
        await tx.delete(MEMBERSHIPS, group_id=entry.id)
    people_changed(tx, entry.id if entry.kind == "user" else "")


async def _entry_in(tx: Transaction, entry: Entry | None, id_: str, domain_id: str, kind: str, local_id: str) -> None:
    if entry is None:
        await tx.insert(ENTRIES, Entry(id_, domain_id, kind, local_id))
    elif not entry.present:
        await tx.update(ENTRIES, {"present": 1}, id=id_)


async def _user_in(tx: Transaction, domain_id: str, id_: str, person: Person, entry: Entry | None, now_us: int) -> None:
    old = await user_store.find(tx, id_)
    new = _user(domain_id, id_, person)
    if old is None:
        if not await _free_in(tx, USERS, await user_store.find_named(tx, person.name, domain_id)):
            return  # one of ours has the name: theirs has no place
        await tx.insert(USERS, msgspec.structs.asdict(new) | {"password_hash": None})
    elif entry is None:
        return
    else:
        before = _columns(old)
        columns = {name: value for name, value in _columns(new).items() if value != before[name]}
        if "name" in columns and not await _free_in(tx, USERS, await user_store.find_named(tx, person.name, domain_id)):
            del columns["name"]
        if old.enabled and not person.enabled:
            columns["tokens_from"] = now_us
        if columns:
            await tx.update(USERS, columns, id=id_)
            people_changed(tx, id_)
    await _entry_in(tx, entry, id_, domain_id, "user", person.local_id)


async def _group_in(tx: Transaction, domain_id: str, id_: str, circle: Circle, entry: Entry | None) -> None:
    old = await group_store.find(tx, id_)
    new = _group(domain_id, id_, circle)
    if old is None:
        if not await _free_in(tx, GROUPS, await group_store.find_named(tx, circle.name, domain_id)):
            return
        await tx.insert(GROUPS, new)
    elif entry is None:
        return
    elif new != old:
        if new.name != old.name and not await _free_in(tx, GROUPS, await group_store.find_named(tx, circle.name, domain_id)):
            new = msgspec.structs.replace(new, name=old.name)
        await tx.update(GROUPS, {"name": new.name, "description": new.description, "extra": new.extra}, id=id_)
    await _entry_in(tx, entry, id_, domain_id, "group", circle.local_id)


async def _free_in(tx: Transaction, table: Any, holder: User | Group | None) -> bool:
    """Whether a name is free. A directory's own entry gives it up, and gets its new one when it is looked at next."""
    if holder is None:
        return True
    if await store.find(tx, holder.id) is None:
        return False
    await tx.update(table, {"name": holder.id}, id=holder.id)
    return True


async def _memberships_in(tx: Transaction, of: str, id_: str, before: Iterable[str], now: Iterable[str]) -> None:
    """of: whether `id_` is the group or the user; the others are what it is with. What is ours on either side stays as it is."""
    other = "user_id" if of == "group_id" else "group_id"
    theirs = await store.among(tx, [*before, *now])
    changed = [(o, True) for o in set(now) - set(before) if o in theirs] + [(o, False) for o in set(before) - set(now) if o in theirs]
    if not changed or await store.find(tx, id_) is None:
        return
    for o, there in changed:
        if there:
            await tx.insert(MEMBERSHIPS, {of: id_, other: o}, if_absent=True)
        else:
            await tx.delete(MEMBERSHIPS, **{of: id_, other: o})
        people_changed(tx, id_ if of == "user_id" else o)


async def note_sign_in_in(tx: Transaction, id_: str, now_us: int) -> None:
    await tx.update(ENTRIES, {"signed_in_at": now_us}, id=id_)
