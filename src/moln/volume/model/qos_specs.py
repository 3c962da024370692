"""What QoS specs are (block-storage v3 api-ref, "Quality of service (QoS) specifications")."""

from __future__ import annotations

from msgspec import Struct

CONSUMERS = ("front-end", "back-end", "both")


class QosSpecs(Struct, frozen=True):
    """What the volumes of the types that have them may ask of their storage. consumer: who enforces it. Times: µs UTC."""

    id: str
    name: str
    consumer: str
    created_at: int
    updated_at: int
    specs: dict[str, str] = {}
