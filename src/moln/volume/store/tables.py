"""The volume area's tables."""

from __future__ import annotations

import sqlalchemy as sa

from moln.kernel.db import INT, TEXT, column, table

volume_types = table(
    "volume_types",
    column("id", TEXT, unique=True),
    column("name", TEXT, unique=True),
    column("description", null=True),
    column("is_public", INT),
    column("created_at", INT),
    column("updated_at", INT),
    column("extra_specs"),
    column("qos_specs_id", null=True, index=True),
    history=True,
)

volume_type_projects = table(
    "volume_type_projects",
    column("volume_type_id", TEXT, sa.ForeignKey("volume_types.id"), index=True),
    column("project_id", TEXT, index=True),
    sa.UniqueConstraint("volume_type_id", "project_id"),
)

volumes = table(
    "volumes",
    column("id", TEXT, unique=True),
    column("project_id", TEXT, index=True),
    column("user_id"),
    column("name", null=True),
    column("description", null=True),
    column("size_gib", INT),
    column("status", TEXT, index=True),
    column("volume_type_id", TEXT, sa.ForeignKey("volume_types.id"), index=True),
    column("availability_zone"),
    column("created_at", INT),
    column("updated_at", INT),
    column("host", null=True),
    column("bootable", INT),
    column("readonly", INT, null=True),
    column("multiattach", INT),
    column("snapshot_id", null=True),
    column("source_volid", null=True),
    column("group_id", null=True, index=True),
    column("backup_id", null=True),
    column("image_data_id", null=True),
    column("image_metadata"),
    column("metadata"),
    column("previous_status", null=True),
    column("next_size_gib", INT, null=True),
    column("task_id", null=True),
    column("generation", INT),
    history=True,
)

volume_labels = table(
    "volume_labels",
    column("owner_id", TEXT, index=True),  # a volume or a snapshot
    column("label", TEXT, index=True),
    sa.UniqueConstraint("owner_id", "label"),
)

snapshots = table(
    "volume_snapshots",
    column("id", TEXT, unique=True),
    column("project_id", TEXT, index=True),
    column("user_id"),
    column("volume_id", TEXT, sa.ForeignKey("volumes.id"), index=True),
    column("volume_type_id"),
    column("name", null=True),
    column("description", null=True),
    column("size_gib", INT),
    column("status", TEXT, index=True),
    column("created_at", INT),
    column("updated_at", INT),
    column("host", null=True),
    column("bootable", INT),
    column("metadata"),
    column("group_snapshot_id", null=True, index=True),
    column("progress", null=True),
    column("generation", INT),
    history=True,
)

attachments = table(
    "volume_attachments",
    column("id", TEXT, unique=True),
    column("volume_id", TEXT, sa.ForeignKey("volumes.id"), index=True),
    column("project_id", TEXT, index=True),
    column("server_id", TEXT, null=True, index=True),
    column("status"),
    column("mode"),
    column("by_compute", INT),
    column("created_at", INT),
    column("attached_at", INT, null=True),
    column("host", null=True),
    column("device", null=True),
    column("connector"),
    column("connection"),
    history=True,
)

messages = table(
    "volume_messages",
    column("id", TEXT, unique=True),
    column("project_id", TEXT, index=True),
    column("resource_type"),
    column("resource_id", TEXT, index=True),
    column("request_id"),
    column("text"),
    column("created_at", INT),
)
