"""What passwords must be, and when users are kept out though theirs is right (Keystone's [security_compliance])."""

from __future__ import annotations

import re
from typing import Any

from moln.identity import settings
from moln.identity.model.users import MAX_PASSWORD, User
from moln.identity.ops.state import of
from moln.identity.store import users as store
from moln.identity.store.users import OLD_PASSWORDS
from moln.kernel.cloud import Cloud
from moln.kernel.db import Transaction
from moln.kernel.errors import Invalid

DAY_US = 86_400 * 1_000_000


def check(cloud: Cloud, password: str) -> None:
    """Raises: Invalid, when a password is empty, too long or too weak."""
    if not 0 < len(password) <= MAX_PASSWORD:
        raise Invalid(f"A password has 1 to {MAX_PASSWORD} characters.", field="password")
    wanted = settings.of(cloud)
    if wanted.password_regex and re.match(wanted.password_regex, password) is None:
        said = wanted.password_regex_description or "ask the operator for them"
        raise Invalid(f"The password does not match the requirements: {said}.", field="password")


def times(cloud: Cloud, options: dict[str, Any], *, by_user: bool) -> dict[str, Any]:
    """When a password set now was set, and when it expires: columns of the user. by_user: whether the user chose it."""
    wanted, now = settings.of(cloud), cloud.clock.now_us()
    expires: int | None = None
    if wanted.password_expires_days:
        expires = now + wanted.password_expires_days * DAY_US
    if wanted.change_password_upon_first_use and not by_user and options.get("ignore_change_password_upon_first_use") is not True:
        expires = now
    return {"password_set_at": now, "password_expires_at": expires}


async def check_change(cloud: Cloud, user: User, hashed: str | None, new: str) -> None:
    """Whether a user may change their own password to this one. Raises: Invalid."""
    wanted, now = settings.of(cloud), cloud.clock.now_us()
    if user.may("lock_password"):
        raise Invalid("Password Change Failed: self-service is disabled for this user.", field="password")
    age = wanted.minimum_password_age_days * DAY_US
    forced = user.password_expires_at is not None and user.password_expires_at <= now
    if age and not forced and user.password_set_at is not None and user.password_set_at + age > now:
        raise Invalid("Cannot change password before minimum age is met.", field="password")
    count = wanted.unique_last_passwords
    if count:
        before = ([hashed] if hashed else []) + await store.old_passwords(cloud.db, user.id, count)
        for old in before[: max(count - 1, 1)]:
            if await of(cloud).passwords.verify(old, new):
                raise Invalid(f"The new password cannot be identical to a previous password. The number of previous passwords that "
                              f"must be unique is {count}.", field="password")  # fmt: skip


async def keep_old_in(tx: Transaction, user_id: str, hashed: str | None, count: int) -> None:
    """Remember the hash that is being replaced, where later ones must differ from it."""
    if count and hashed:
        await tx.insert(OLD_PASSWORDS, {"user_id": user_id, "password_hash": hashed})


async def is_kept_out(cloud: Cloud, user: User) -> bool:
    """Whether too many wrong passwords, or too long an absence, keep a user out now."""
    wanted, now = settings.of(cloud), cloud.clock.now_us()
    if not wanted.lockout_attempts and not wanted.inactive_days:
        return False
    fared = await store.sign_ins(cloud.db, user.id)
    if wanted.lockout_attempts and not user.may("ignore_lockout_failure_attempts"):
        if fared.failures >= wanted.lockout_attempts and fared.failed_at + wanted.lockout_s * 1_000_000 > now:
            return True
    if wanted.inactive_days and fared.active_at and not user.may("ignore_user_inactivity"):
        return fared.active_at + wanted.inactive_days * DAY_US <= now
    return False


async def note(cloud: Cloud, user: User, *, right: bool) -> None:
    """Remember how a sign-in went, where that matters later. A lock that has run out begins anew."""
    wanted, now = settings.of(cloud), cloud.clock.now_us()
    if not wanted.lockout_attempts and not wanted.inactive_days:
        return
    fared = await store.sign_ins(cloud.db, user.id)
    if right and (fared.failures or (wanted.inactive_days and fared.active_at + DAY_US <= now)):
        await cloud.db.write(store.note_success, user.id, now)
    elif not right and wanted.lockout_attempts:
        if fared.failures >= wanted.lockout_attempts:
            await cloud.db.write(store.note_success, user.id, fared.active_at)
        await cloud.db.write(store.note_failure, user.id, now)
