"""What an attachment is (block-storage v3 api-ref, "Attachments")."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct


class AttachStatus(StrEnum):
    """Cinder's."""

    RESERVED = "reserved"
    ATTACHING = "attaching"
    ATTACHED = "attached"
    DETACHING = "detaching"


class Attachment(Struct, frozen=True):
    """A volume's promise to one server. Times: µs UTC; mode: rw or ro.

    by_compute: a server of this cloud holds it, and only compute lets go of it (OSSA-2023-003). device: as the guest was told.
    """

    id: str
    volume_id: str
    project_id: str
    server_id: str | None
    status: AttachStatus
    mode: str
    by_compute: bool
    created_at: int
    attached_at: int | None = None
    host: str | None = None
    device: str | None = None
    connector: dict[str, object] = {}
    connection: dict[str, object] = {}

    @property
    def instance_uuid(self) -> str | None:
        """The server, by the name that Cinder's API gives it."""
        return self.server_id
