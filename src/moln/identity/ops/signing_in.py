"""Passwords of users who are in a directory: it is asked whether they are right (a bind), and they are never kept here.

Like ours, each attempt costs one hash and one bind, whoever it is for, and every refusal is the same.
"""

from __future__ import annotations

from msgspec import Struct

from moln.identity.drivers.base import Directory
from moln.identity.model.directory import Person
from moln.identity.model.users import User
from moln.identity.ops import directories, directory_entries, password_rules
from moln.identity.ops.directory_entries import Seen, user_id
from moln.identity.ops.examining import active_domain, active_user, unauthorized
from moln.identity.ops.naming import Named, find_domain
from moln.identity.ops.state import of
from moln.identity.store import directory as store
from moln.identity.store import users as user_store
from moln.kernel.cloud import Cloud
from moln.kernel.errors import BackendUnreachable, Failure


class Elsewhere(Struct, frozen=True):
    """A user of a directory, as they are named: by their id there, or by name."""

    directory: Directory
    domain_id: str
    local_id: str = ""
    name: str = ""


async def whose(cloud: Cloud, who: Named) -> Elsewhere | None:
    """The directory that a user is of; None: they are ours, or nobody. A user of ours in a directory's domain stays ours. Raises: Unavailable."""
    domains = await directories.domains(cloud)
    if not domains:
        return None
    if who.id is not None:
        entry = await store.find(cloud.db, who.id)
        directory = await directories.of_domain(cloud, entry.domain_id) if entry else None
        return Elsewhere(directory, entry.domain_id, local_id=entry.local_id) if directory is not None and entry is not None else None
    domain = await find_domain(cloud.db, who.domain or Named())
    if domain is None or domain.id not in domains:
        return None
    here = await user_store.find_named(cloud.db, who.name or "", domain.id)
    if here is not None and await store.find(cloud.db, here.id) is None:
        return None
    directory = await directories.of_domain(cloud, domain.id)
    return Elsewhere(directory, domain.id, name=who.name or "") if directory is not None else None


async def by_password(cloud: Cloud, who: Elsewhere, password: str) -> User:
    """The user whose password it is. Raises: Unauthorized; Unavailable, when the directory does not answer."""
    await of(cloud).passwords.verify(None, password)
    try:
        person = await who.directory.person(local_id=who.local_id, name=who.name) if who.local_id or who.name else None
        if person is None:
            await who.directory.proves(None, password)
            raise unauthorized()
        user = await _note(cloud, who.domain_id, Seen(who.domain_id, (person,)), person)
        kept_out = user is None or await password_rules.is_kept_out(cloud, user)
        right = await who.directory.proves(None if kept_out else person, password)
        if user is None or kept_out:
            raise unauthorized("a user of a directory who has no place here, or is kept out")
        await password_rules.note(cloud, user, right=right)
        if not right or not person.enabled:
            raise unauthorized()
        circles = tuple(await who.directory.circles_of(person))
    except BackendUnreachable as error:
        raise directories.lost(who.domain_id, error, to_anybody=True) from None
    ids = [directory_entries.group_id(who.domain_id, circle) for circle in circles]
    await _note(cloud, who.domain_id, Seen(who.domain_id, (person,), circles, of={user.id: ids}), person)
    entry = await store.find(cloud.db, user.id)
    if entry is not None and not entry.signed_in_at:
        await cloud.db.write(directory_entries.note_sign_in_in, user.id, cloud.clock.now_us())
    await active_domain(cloud.db, user.domain_id)
    return await active_user(cloud.db, user.id)


async def _note(cloud: Cloud, domain_id: str, seen: Seen, person: Person) -> User | None:
    """The user as they are known here now; None, when one of ours has their name."""
    await directory_entries.note(cloud, seen)
    id_ = user_id(domain_id, person)
    return await user_store.find(cloud.db, id_) if await store.find(cloud.db, id_) is not None else None


async def proves(cloud: Cloud, id_: str, password: str) -> bool:
    """Whether it is the password of a user of a directory. Raises: Unavailable."""
    found, entry = await directories.of_entry(cloud, id_), await store.find(cloud.db, id_)
    if found is None or entry is None:
        return False
    try:
        return await found[0].proves(await found[0].person(local_id=found[1]), password)
    except BackendUnreachable as error:
        raise directories.lost(entry.domain_id, error, to_anybody=True) from None


async def look_again(cloud: Cloud) -> None:
    """Bring those who may have a token to what their directories say; one that does not answer changes nothing. Raises: Failure, the first there was."""
    trouble: Failure | None = None
    for domain_id in sorted(await directories.domains(cloud)):
        try:
            directory = await directories.of_domain(cloud, domain_id)
            for entry in await store.signed_in(cloud.db, domain_id) if directory is not None else []:
                seen = await directory_entries.look(directory, entry, circles=True)  # type: ignore[arg-type]
                await directory_entries.note(cloud, seen)
        except Failure as failure:
            trouble = trouble or failure
    if trouble is not None:
        raise trouble
