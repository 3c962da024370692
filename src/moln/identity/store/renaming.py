"""Giving a row another id, wherever it is named."""

from __future__ import annotations

from functools import cache

import sqlalchemy as sa

from moln.identity.store.catalog import SERVICES
from moln.identity.store.credentials import APPLICATION_CREDENTIALS
from moln.identity.store.endpoint_groups import GROUPS as ENDPOINT_GROUPS
from moln.identity.store.oauth1 import ACCESS_TOKENS, REQUEST_TOKENS
from moln.identity.store.orphans import POINTERS
from moln.identity.store.projects import PROJECTS
from moln.identity.store.roles import ROLES
from moln.identity.store.trusts import TRUSTS
from moln.identity.store.users import USERS
from moln.kernel.db import Statement, Transaction

_LISTS = {  # columns of JSON that hold ids
    ROLES: (APPLICATION_CREDENTIALS.c.roles, TRUSTS.c.roles, REQUEST_TOKENS.c.role_ids, ACCESS_TOKENS.c.role_ids),
    SERVICES: (ENDPOINT_GROUPS.c.filters,),
}
_MORE = {PROJECTS: (USERS.c.default_project_id,)}


@cache
def _statements(of: sa.Table) -> list[Statement]:
    old, new = sa.bindparam("old"), sa.bindparam("new")
    made = [sa.update(of).where(of.c.id == old).values(id=new)]
    for column, target, which in POINTERS:
        if target is of:
            made.append(sa.update(column.table).where(column == old, which).values({column.name: new}))
    made += [sa.update(column.table).where(column == old).values({column.name: new}) for column in _MORE.get(of, ())]
    for column in _LISTS.get(of, ()):
        made.append(sa.update(column.table).where(sa.func.instr(column, old) > 0).values({column.name: sa.func.replace(column, old, new)}))
    return [Statement(element) for element in made]


async def rename(tx: Transaction, of: sa.Table, old: str, new: str) -> None:
    """Ids are random: text that holds one names it."""
    for statement in _statements(of):
        await tx.run(statement, old=old, new=new)
