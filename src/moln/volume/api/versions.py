"""The microversions of the volume API that we speak, and what each changed of what is here (api-ref, "Microversions")."""

MIN_VERSION = (3, 0)
MAX_VERSION = (3, 71)

CHANGES = {
    "3.1": "os-volume_upload_image takes visibility and protected",
    "3.2": "the bootable filter honours its value",
    "3.3": "messages",
    "3.12": "volumes/summary",
    "3.13": "volumes show group_id",
    "3.14": "snapshots show group_snapshot_id",
    "3.21": "administrators see provider_id",
    "3.22": "snapshots are filtered by metadata",
    "3.23": "DELETE volumes?force",
    "3.27": "attachments",
    "3.31": "a filter that is not known is refused",
    "3.34": "`name~` and the like look for a part",
    "3.36": "volumes/summary tells metadata",
    "3.40": "revert",
    "3.41": "snapshots show user_id",
    "3.42": "os-extend of a volume in use",
    "3.44": "os-complete of an attachment",
    "3.45": "with_count",
    "3.48": "volumes show shared_targets and service_uuid",
    "3.53": "an unknown field is refused",
    "3.54": "an attachment's mode",
    "3.60": "created_at and updated_at filters",
    "3.61": "administrators see cluster_name",
    "3.63": "volumes show volume_type_id",
    "3.65": "volumes and snapshots show consumes_quota",
    "3.66": "a snapshot of a volume in use needs no force",
    "3.67": "the project may be left out of the path",
}
