"""Address groups."""

from __future__ import annotations

from moln.network.model.address_groups import AddressGroup
from moln.network.store import tables as t
from moln.network.store.clauses import shareable
from moln.network.store.reads import Table

address_groups = Table(t.address_groups, AddressGroup, extra=shareable(t.address_groups))
