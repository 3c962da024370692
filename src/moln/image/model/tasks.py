"""What a task is: work on an image that goes on after its request was answered (image api-ref v2, "Tasks")."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from msgspec import Struct

KEPT_S = 48 * 3600  # how long a task can be asked for after its end


class TaskStatus(StrEnum):
    PENDING = "pending"
    PROCESSING = "processing"
    SUCCESS = "success"
    FAILURE = "failure"


class TaskType(StrEnum):
    IMPORT = "import"  # the tasks API's own: an image made from an address
    API_IMAGE_IMPORT = "api_image_import"
    LOCATION_IMPORT = "location_import"


class Task(Struct, frozen=True):
    """A task. project_id: `owner` on the wire. input: what its maker asked for, as it is shown. Times: µs UTC; expires_at: when it is forgotten.

    source_id: the image whose data its maker may read and wants, of this cloud.
    """

    id: str
    type: TaskType
    status: TaskStatus
    project_id: str | None
    user_id: str | None
    request_id: str | None
    image_id: str | None
    input: dict[str, Any]
    result: dict[str, Any] | None
    message: str
    created_at: int
    updated_at: int
    expires_at: int | None = None
    source_id: str | None = None
