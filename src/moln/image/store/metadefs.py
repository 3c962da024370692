"""How metadata definitions are kept: namespaces, and everything in them in one table."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from moln.image.model.metadefs import Definition, Namespace, ResourceType, What
from moln.image.store.tables import metadef_definitions, metadef_namespaces, metadef_resource_types
from moln.kernel.db import Listing, Query, Reader, Transaction, in_list

MOST = 1000  # definitions of one kind in a namespace that are read together
COLUMNS = [metadef_namespaces.c[f] for f in Namespace.__struct_fields__]
ITEMS = [metadef_definitions.c[f] for f in Definition.__struct_fields__]
_space: Any = sa.bindparam("namespace")
_what: Any = sa.bindparam("what")
BY_NAME = Query(sa.select(*COLUMNS).where(metadef_namespaces.c.namespace == _space), Namespace)
OF_KIND = Query(
    sa.select(*ITEMS)
    .where(metadef_definitions.c.namespace == _space, metadef_definitions.c.what == _what)
    .order_by(metadef_definitions.c.rowid)
    .limit(MOST),
    Definition,
)
ONE = Query(
    sa.select(*ITEMS).where(
        metadef_definitions.c.namespace == _space, metadef_definitions.c.what == _what, metadef_definitions.c.name == sa.bindparam("name")
    ),
    Definition,
)
RESOURCE_TYPES = Query(
    sa.select(*(metadef_resource_types.c[f] for f in ResourceType.__struct_fields__)).order_by(metadef_resource_types.c.rowid).limit(MOST),
    ResourceType,
)


def associated(param: str) -> Any:
    """Namespaces that are associated with one of the resource types."""
    named = in_list(metadef_definitions.c.name, param)
    spaces = sa.select(metadef_definitions.c.namespace).where(metadef_definitions.c.what == str(What.RESOURCE_TYPE), named)
    return metadef_namespaces.c.namespace.in_(spaces)


LISTING = Listing(
    sa.select(*COLUMNS),
    Namespace,
    metadef_namespaces,
    id="namespace",
    extra={
        "known_to": lambda p: sa.or_(metadef_namespaces.c.visibility == "public", metadef_namespaces.c.project_id == sa.bindparam(p)),
        "associated": associated,
    },
)


async def find(db: Reader, namespace: str) -> Namespace | None:
    return await db.one(BY_NAME, namespace=namespace)


async def add(tx: Transaction, namespace: Namespace) -> bool:
    """False: there is one of this name."""
    return await tx.insert(metadef_namespaces, namespace, if_absent=True)


async def save(tx: Transaction, old: str, namespace: Namespace) -> None:
    """Raises: Duplicate, when another has the new name."""
    values = {f: getattr(namespace, f) for f in Namespace.__struct_fields__ if f != "created_at"}
    await tx.update(metadef_namespaces, values, namespace=old)


async def remove(tx: Transaction, namespace: str) -> None:
    """With all that it holds."""
    await tx.delete(metadef_definitions, namespace=namespace)
    await tx.delete(metadef_namespaces, namespace=namespace)


async def held(db: Reader, namespace: str, what: What) -> list[Definition]:
    """Oldest first."""
    return await db.all(OF_KIND, namespace=namespace, what=what)


async def find_item(db: Reader, namespace: str, what: What, name: str) -> Definition | None:
    return await db.one(ONE, namespace=namespace, what=what, name=name)


async def add_item(tx: Transaction, item: Definition) -> bool:
    """False: there is one of this kind and name. A resource type is known from here on."""
    if item.what is What.RESOURCE_TYPE:
        await add_type(tx, ResourceType(item.name, item.created_at, item.updated_at))
    return await tx.insert(metadef_definitions, item, if_absent=True)


async def add_type(tx: Transaction, resource_type: ResourceType) -> None:
    """It is known from here on, if it was not."""
    await tx.insert(metadef_resource_types, resource_type, if_absent=True)


async def save_item(tx: Transaction, old: str, item: Definition) -> None:
    """Raises: Duplicate, when another has the new name."""
    values = {"name": item.name, "body": item.body, "updated_at": item.updated_at}
    await tx.update(metadef_definitions, values, namespace=item.namespace, what=item.what, name=old)


async def remove_items(tx: Transaction, namespace: str, what: What, name: str | None = None) -> int:
    """How many went. name: only this one."""
    return await tx.delete(metadef_definitions, namespace=namespace, what=what, **({} if name is None else {"name": name}))


async def resource_types(db: Reader) -> list[ResourceType]:
    return await db.all(RESOURCE_TYPES)
