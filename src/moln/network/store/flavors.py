"""Flavors of services and their profiles."""

from __future__ import annotations

from moln.network.model.flavors import Flavor, ServiceProfile
from moln.network.store import tables as t
from moln.network.store.reads import Table

flavors = Table(t.flavors, Flavor, extra={"seen_by": lambda _: t.flavors.c.id != ""})
profiles = Table(t.profiles, ServiceProfile, extra={"seen_by": lambda _: t.profiles.c.id != ""})
