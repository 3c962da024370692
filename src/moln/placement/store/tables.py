"""Placement's tables."""

from __future__ import annotations

import sqlalchemy as sa

from moln.kernel.db import INT, column, table

providers = table(
    "resource_providers", column("id"), column("name"), column("generation", INT), column("root_id"),
    column("parent_id", null=True), column("created_at", INT), column("updated_at", INT),
    sa.UniqueConstraint("id"), sa.UniqueConstraint("name"), sa.Index("resource_providers_root", "root_id"),
)  # fmt: skip
inventories = table(
    "inventories", column("provider_id"), column("resource_class"), column("total", INT), column("reserved", INT),
    column("min_unit", INT), column("max_unit", INT), column("step_size", INT), column("ratio_micro", INT),
    column("capacity", INT), column("used", INT), column("updated_at", INT),
    sa.UniqueConstraint("provider_id", "resource_class"), sa.CheckConstraint("used >= 0"),
)  # fmt: skip
consumers = table(
    "consumers", column("id"), column("project_id"), column("user_id"), column("consumer_type"), column("generation", INT),
    sa.UniqueConstraint("id"), sa.Index("consumers_project", "project_id", "user_id"),
)  # fmt: skip
allocations = table(
    "allocations", column("consumer_id"), column("provider_id"), column("resource_class"), column("used", INT),
    column("created_at", INT), sa.UniqueConstraint("consumer_id", "provider_id", "resource_class"),
    sa.Index("allocations_provider", "provider_id", "resource_class"),
)  # fmt: skip
provider_traits = table("provider_traits", column("provider_id"), column("trait"), sa.UniqueConstraint("provider_id", "trait"))
provider_aggregates = table(
    "provider_aggregates", column("provider_id"), column("aggregate_id"), sa.UniqueConstraint("provider_id", "aggregate_id")
)
custom_traits = table("custom_traits", column("name"), column("created_at", INT), sa.UniqueConstraint("name"))
custom_classes = table("custom_resource_classes", column("name"), column("created_at", INT), sa.UniqueConstraint("name"))
