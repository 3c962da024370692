"""The image area's tables."""

from __future__ import annotations

import sqlalchemy as sa

from moln.kernel.db import INT, TEXT, column, table

images = table(
    "images",
    column("id", TEXT, unique=True),
    column("project_id", null=True, index=True),
    column("name", null=True),
    column("status"),
    column("visibility"),
    column("container_format", null=True),
    column("disk_format", null=True),
    column("created_at", INT, index=True),
    column("updated_at", INT),
    column("min_disk", INT),
    column("min_ram", INT),
    column("protected", INT),
    column("os_hidden", INT),
    column("size", INT, null=True),
    column("virtual_size", INT, null=True),
    column("checksum", null=True),
    column("os_hash_algo", null=True),
    column("os_hash_value", null=True),
    column("data_id", null=True, unique=True),
    column("from_node", INT),
    column("bootable", INT),
    column("seen_at", INT),
    column("charged_mib", INT),
    column("staged", INT, null=True),
    column("stores"),
    column("task_id", null=True),
    column("importing_to", null=True),
    column("failed_import", null=True),
    column("properties"),
    column("tags"),
    column("generation", INT),
    history=True,
)

image_labels = table(
    "image_labels",
    column("image_id", TEXT, sa.ForeignKey("images.id", ondelete="CASCADE"), index=True),
    column("label", TEXT, index=True),
    sa.UniqueConstraint("image_id", "label"),
)

image_members = table(
    "image_members",
    column("image_id", TEXT, sa.ForeignKey("images.id", ondelete="CASCADE"), index=True),
    column("member_id", TEXT, index=True),
    column("status"),
    column("created_at", INT),
    column("updated_at", INT),
    sa.UniqueConstraint("image_id", "member_id"),
)

image_tasks = table(
    "image_tasks",
    column("id", TEXT, unique=True),
    column("type"),
    column("status", index=True),
    column("project_id", null=True, index=True),
    column("user_id", null=True),
    column("request_id", null=True),
    column("image_id", null=True, index=True),
    column("input"),
    column("result", null=True),
    column("message"),
    column("created_at", INT),
    column("updated_at", INT),
    column("expires_at", INT, null=True, index=True),
    column("source_id", null=True),
)

image_folders = table("image_folders", column("controller"), column("folder", index=True), sa.UniqueConstraint("controller"))

image_replicas = table(
    "image_replicas",
    column("data_id"),
    column("folder", index=True),
    column("stores", null=True),
    sa.UniqueConstraint("data_id", "folder"),
)

metadef_namespaces = table(
    "metadef_namespaces",
    column("namespace", TEXT, unique=True),
    column("display_name", null=True),
    column("description", null=True),
    column("visibility"),
    column("protected", INT),
    column("project_id", null=True),
    column("created_at", INT),
    column("updated_at", INT),
)

metadef_definitions = table(
    "metadef_definitions",
    column("namespace", TEXT, sa.ForeignKey("metadef_namespaces.namespace", ondelete="CASCADE", onupdate="CASCADE")),
    column("what"),
    column("name"),
    column("body"),
    column("created_at", INT),
    column("updated_at", INT),
    sa.UniqueConstraint("namespace", "what", "name"),
)

metadef_resource_types = table("metadef_resource_types", column("name", TEXT, unique=True), column("created_at", INT), column("updated_at", INT))
