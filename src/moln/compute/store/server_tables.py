"""The tables of servers: one wide row each, its user data beside it, and what was done to it."""

from __future__ import annotations

import sqlalchemy as sa

from moln.kernel.db import INT, TEXT, column, partial_index, table

servers = table(
    "servers",
    column("id", TEXT, unique=True),
    column("project_id"),
    column("user_id"),
    column("name"),
    column("hostname"),
    column("description", null=True),
    column("vm_state"),
    column("task_state", null=True),
    column("power_state", INT),
    column("host", null=True, index=True),
    column("az"),
    column("pinned_az", null=True),
    column("flavor_id"),
    column("flavor"),
    column("image_id", null=True),
    column("image_properties"),
    column("key_name", null=True),
    column("key_data", null=True),
    column("config_drive", INT),
    column("metadata"),
    column("tags"),
    column("locked", INT),
    column("locked_by", null=True),
    column("locked_reason", null=True),
    column("access_ip_v4", null=True),
    column("access_ip_v6", null=True),
    column("disk_config"),
    column("reservation_id"),
    column("launch_index", INT),
    column("root_device", null=True),
    column("scheduler_hints"),
    column("created_at", INT),
    column("updated_at", INT),
    column("launched_at", INT, null=True),
    column("terminated_at", INT, null=True),
    column("fault", null=True),
    column("addresses"),
    column("groups"),
    column("attached"),
    column("has_user_data", INT),
    column("nics"),
    column("disks"),
    column("volumes"),
    column("snapshot", null=True),
    column("rescue", null=True),
    column("shelved_image", null=True),
    column("rotation", INT, null=True),
    column("resize", null=True),
    column("move", null=True),
    column("other_host", null=True, index=True),
    column("leaving"),
    column("unsettled", INT),
    column("deadline", INT, null=True),
    column("generation", INT),
    sa.Index("servers_by_project", "project_id", "created_at"),
    sa.Index("servers_by_creation", "created_at"),
    partial_index("servers_unsettled", "unsettled", where=sa.text("unsettled = 1")),
    history=True,
)

#: User data in base64, as it came: it may be long, and lists never need it.
server_user_data = table(
    "server_user_data",
    column("server_id", TEXT, unique=True),
    column("user_data"),
    history=True,
)

#: What a caller wants to find in its config drive (`personality`).
server_files = table(
    "server_files",
    column("server_id", TEXT, unique=True),
    column("files"),
)

#: Resizes and moves of servers, kept as long as what was done to servers.
migrations = table(
    "migrations",
    column("uuid", TEXT, unique=True),
    column("server_id", TEXT, index=True),
    column("user_id", null=True),
    column("project_id", null=True),
    column("migration_type"),
    column("status"),
    column("host"),
    column("old_flavor_id"),
    column("new_flavor_id"),
    column("created_at", INT),
    column("updated_at", INT),
    column("dest_host"),
    column("progress", null=True),
    sa.Index("migrations_by_update", "updated_at"),
)

#: What servers left on hosts that they are no longer on.
server_leftovers = table(
    "server_leftovers",
    column("id", TEXT, unique=True),
    column("server_id", TEXT, index=True),
    column("host", TEXT, index=True),
    column("generation", INT),
    column("claim"),
    column("disks"),
    column("created_at", INT),
    sa.UniqueConstraint("server_id", "host"),
)

#: They outlive their server; `moln` forgets them with its history.
server_actions = table(
    "server_actions",
    column("server_id", TEXT),
    column("action"),
    column("request_id", TEXT),
    column("user_id", null=True),
    column("project_id", null=True),
    column("start_time", INT),
    column("updated_at", INT),
    column("message", null=True),
    column("events"),
    sa.UniqueConstraint("server_id", "request_id", "action"),
)
