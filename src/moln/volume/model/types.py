"""What a volume type is (block-storage v3 api-ref, "Volume types")."""

from __future__ import annotations

from msgspec import Struct

from moln.volume.model.volumes import BACKEND, PROTOCOL, VENDOR

DEFAULT_TYPE = "__DEFAULT__"
#: The only extra specs that are shown to those who may not see every one (Cinder's USER_VISIBLE_EXTRA_SPECS).
USER_VISIBLE = frozenset({"RESKEY:availability_zones", "multiattach", "replication_enabled"})


#: What a type may ask of a pool, and what every pool of ours offers.
OFFERED = {
    "volume_backend_name": BACKEND, "vendor_name": VENDOR, "storage_protocol": PROTOCOL, "thin_provisioning_support": "true",
    "QoS_support": "false", "multiattach": "false", "replication_enabled": "false",
}  # fmt: skip


def not_offered(extra_specs: dict[str, str]) -> list[str]:
    """The extra specs that no pool of this cloud fulfils; those with a scope are not about pools, unless it is `capabilities`."""
    lacking = []
    for key, asked in extra_specs.items():
        scope, _, name = key.rpartition(":")
        if scope in ("", "capabilities"):
            word = asked.removeprefix("<is>").strip()
            offered = OFFERED.get(name)
            if offered is None or (word != offered and word.lower() != offered.lower()):
                lacking.append(f"{key}={asked}")
    return sorted(lacking)


class VolumeType(Struct, frozen=True):
    """A kind of volume that projects choose by name. Times: µs UTC."""

    id: str
    name: str
    description: str | None
    is_public: bool
    created_at: int
    updated_at: int
    extra_specs: dict[str, str] = {}
    qos_specs_id: str | None = None
