"""QoS policies and rules, and what refers to a policy."""

from __future__ import annotations

import sqlalchemy as sa

from moln.network.model.qos import QosPolicy, QosRule
from moln.network.store import tables as t
from moln.network.store.clauses import shareable
from moln.network.store.reads import Table

policies = Table(
    t.qos_policies, QosPolicy, computed={"default_for": lambda policy: policy.project_id if policy.is_default else None},
    extra=shareable(t.qos_policies),
)  # fmt: skip
rules = Table(t.qos_rules, QosRule, extra={"seen_by": lambda p: t.qos_rules.c.project_id == sa.bindparam(p)})
