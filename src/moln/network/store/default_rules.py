"""What new security groups begin with."""

from __future__ import annotations

from moln.network.model.security_groups import DefaultRule, Statefulness
from moln.network.store import tables as t
from moln.network.store.clauses import owned
from moln.network.store.reads import Table

default_rules = Table(
    t.default_rules, DefaultRule, computed={"sameness": lambda rule: str(rule.sameness())}, extra={"seen_by": lambda _: t.default_rules.c.id != ""}
)
statefulness = Table(t.statefulness, Statefulness, extra=owned(t.statefulness))
