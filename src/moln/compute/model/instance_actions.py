"""What was done to a server, by whom, and how it went (compute api-ref, "Servers actions")."""

from __future__ import annotations

from msgspec import Struct


class Event(Struct, frozen=True):
    """A step of an action. result: Success, Error, or None while it runs. Times: µs UTC."""

    event: str
    start_time: int
    finish_time: int | None = None
    result: str | None = None
    host: str | None = None
    details: str | None = None


class InstanceAction(Struct, frozen=True, kw_only=True):
    """One action on one server; it outlives the server. message: "Error" when it failed. Times: µs UTC."""

    server_id: str
    action: str
    request_id: str
    user_id: str | None
    project_id: str | None
    start_time: int
    updated_at: int
    message: str | None = None
    events: tuple[Event, ...] = ()
