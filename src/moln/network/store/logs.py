"""Network logs."""

from __future__ import annotations

from moln.network.model.logs import NetworkLog
from moln.network.store import tables as t
from moln.network.store.clauses import owned
from moln.network.store.reads import Table

logs = Table(t.logs, NetworkLog, extra=owned(t.logs))
