"""The methods: what somebody shows, and whom it proves. All refusals are alike, and a password costs one hash whoever it is for."""

from __future__ import annotations

import sqlalchemy as sa
from msgspec import Struct

from moln.identity.model import totp
from moln.identity.model.credentials import TOTP, ApplicationCredential
from moln.identity.model.users import User
from moln.identity.ops import password_rules, signing_in
from moln.identity.ops.access import lacking
from moln.identity.ops.credentials import blob
from moln.identity.ops.examining import active_domain, active_user, unauthorized
from moln.identity.ops.naming import Named, check_named, find_user, find_user_with_hash
from moln.identity.ops.passwords import is_foreign
from moln.identity.ops.state import of
from moln.identity.store import credentials
from moln.identity.store import users as user_store
from moln.identity.store.credentials import APPLICATION_CREDENTIALS
from moln.identity.store.users import USERS
from moln.kernel.cloud import Cloud
from moln.kernel.db import Transaction
from moln.kernel.errors import Unauthorized

MAX_SECRETS = 16  # TOTP credentials of one user that are tried


class ProgramShown(Struct, frozen=True):
    """An application credential and its secret: by its id, or by its name and its user."""

    secret: str
    id: str | None = None
    name: str | None = None
    user: Named | None = None


async def by_password(cloud: Cloud, who: Named, password: str) -> User:
    """The user whose password it is; as slow and as silent when there is no such user. Raises: Unauthorized, Invalid."""
    check_named(who)
    if (elsewhere := await signing_in.whose(cloud, who)) is not None:
        return await signing_in.by_password(cloud, elsewhere, password)
    state = of(cloud)
    generation = state.generation
    user, hashed = await find_user_with_hash(cloud.db, who, state)
    right = await state.passwords.verify(hashed, password)
    if user is None:
        raise unauthorized()
    kept_out = await password_rules.is_kept_out(cloud, user)
    if not kept_out:
        await password_rules.note(cloud, user, right=right)
    if not right or kept_out:
        raise unauthorized(f"user {user.id} is kept out" if kept_out else None)
    if hashed is not None and is_foreign(hashed):
        hashed = await _renew(cloud, USERS, "password_hash", user.id, hashed, password)
    if not state.is_still(generation):  # it may have changed during the hash
        user = await active_user(cloud.db, user.id)
        if hashed != await user_store.password_hash(cloud.db, user.id):
            raise unauthorized()
    if not user.enabled:
        raise unauthorized()
    await active_domain(cloud.db, user.domain_id, state)
    if user.expires_at is not None and user.expires_at <= cloud.clock.now_us():
        raise Unauthorized(f"The password is expired and needs to be changed for user: {user.id}.")
    return user


async def _renew(cloud: Cloud, table: sa.Table, column: str, id_: str, hashed: str, secret: str) -> str:
    """Hash a secret that came from a Keystone our way, and keep that unless it was changed meanwhile. Its tokens stay."""
    renewed = await of(cloud).passwords.hash(secret)
    await cloud.db.write(_renew_in, table, column, id_, hashed, renewed)
    return renewed


async def _renew_in(tx: Transaction, table: sa.Table, column: str, id_: str, hashed: str, renewed: str) -> None:
    await tx.update(table, {column: renewed}, **{"id": id_, column: hashed})


async def by_totp(cloud: Cloud, who: Named, passcode: str) -> User:
    """The user whose secret makes the passcode now; each passcode counts once. Raises: Unauthorized, Invalid."""
    check_named(who)
    user = await find_user(cloud.db, who)
    if user is None or await password_rules.is_kept_out(cloud, user):
        raise unauthorized()
    await active_user(cloud.db, user.id)
    await active_domain(cloud.db, user.domain_id, of(cloud))
    now_s = cloud.clock.now_us() // 1_000_000
    for credential in (await credentials.of_user(cloud.db, user.id, TOTP))[:MAX_SECRETS]:
        secret = totp.secret_of(blob(cloud, credential))
        step = totp.step_of(secret, passcode, now_s) if secret else None
        if step is not None and await cloud.db.write(user_store.take_step, user.id, step):
            await password_rules.note(cloud, user, right=True)
            return user
    await password_rules.note(cloud, user, right=False)
    raise unauthorized()


async def by_program(cloud: Cloud, shown: ProgramShown) -> tuple[User, ApplicationCredential]:
    """The user whose credential it is; a wrong secret is as slow as one of none, and as silent. Raises: Unauthorized, Invalid."""
    db = cloud.db
    kept: tuple[ApplicationCredential, str] | None
    if shown.id is not None:
        kept = await credentials.find_with_hash(db, shown.id)
    else:
        if shown.name is None:
            raise lacking("id or name", "application_credential")
        who = shown.user or Named()
        if who.id is None and (who.name is None or who.domain is None):
            raise lacking("user", "application_credential")
        owner = await find_user(db, who)
        kept = await credentials.find_named_with_hash(db, owner.id, shown.name) if owner else None
    found, hashed = kept or (None, None)
    right = await of(cloud).passwords.recognise(hashed, shown.secret)
    if found is None or not right or (found.expires_at is not None and found.expires_at <= cloud.clock.now_us()):
        raise unauthorized()
    if hashed is not None and is_foreign(hashed):
        await _renew(cloud, APPLICATION_CREDENTIALS, "secret_hash", found.id, hashed, shown.secret)
    return of(cloud).account(found.user_id) or await active_user(db, found.user_id), found
