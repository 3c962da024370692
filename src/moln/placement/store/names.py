"""Custom traits and resource classes."""

from __future__ import annotations

import sqlalchemy as sa

from moln.kernel.db import Query
from moln.placement.store.tables import custom_classes, custom_traits, provider_traits

TRAITS = Query(sa.select(custom_traits.c.name).order_by(custom_traits.c.name), str)
TRAIT = Query(sa.select(custom_traits.c.name).where(custom_traits.c.name == sa.bindparam("name")), str)
CLASSES = Query(sa.select(custom_classes.c.name).order_by(custom_classes.c.rowid), str)
CLASS = Query(sa.select(custom_classes.c.name).where(custom_classes.c.name == sa.bindparam("name")), str)
TRAITS_IN_USE = Query(sa.select(provider_traits.c.trait).distinct(), str)
