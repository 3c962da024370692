"""Port forwardings of floating addresses."""

from __future__ import annotations

from moln.network.model.routers import PortForwarding
from moln.network.store import tables as t
from moln.network.store.clauses import owned
from moln.network.store.reads import Table

port_forwardings = Table(t.port_forwardings, PortForwarding, extra=owned(t.port_forwardings))
