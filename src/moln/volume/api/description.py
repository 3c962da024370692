"""What the volume API takes and answers."""

from __future__ import annotations

from typing import Any

from moln.kernel.http.schemas import Described, Given
from moln.volume.api import (
    actions,
    attachments,
    encryptions,
    group_snapshots,
    group_types,
    groups,
    marks,
    messages,
    services,
    snapshots,
    transfers,
    types,
    volumes,
)
from moln.volume.api.bodies import NOT_FILTERS
from moln.volume.model.qos_specs import CONSUMERS
from moln.volume.ops.quotas import QUOTA

ERROR = {str: {"code": int, "message": str, "retryAfter?": str}}
LINKS = [{"rel": str, "href": str}]
TEXTS = {str: str}
VOLUME = {
    "id": str, "status": str, "size": int, "availability_zone": str | None, "created_at": str, "updated_at": str | None, "name": str | None,
    "description": str | None, "volume_type": str | None, "snapshot_id": str | None, "source_volid": str | None, "metadata": TEXTS, "links": LINKS,
    "user_id": str, "bootable": str, "encrypted": bool, "multiattach": bool, "attachments": [{"attachment_id": str, "server_id": str | None}],
}  # fmt: skip
SUMMARY = {"id": str, "name": str | None, "links": LINKS}
SNAPSHOT = {
    "id": str, "created_at": str, "updated_at": str | None, "name": str | None, "description": str | None, "volume_id": str, "status": str, "size": int,
    "metadata": TEXTS, "user_id?": str,
}  # fmt: skip
TYPE = {
    "id": str, "name": str, "is_public": bool, "description": str | None, "extra_specs?": TEXTS, "qos_specs_id?": str | None,
    "os-volume-type-access:is_public?": bool,
}  # fmt: skip
ATTACHMENT = {"id": str, "status": str, "instance": str | None, "volume_id": str}
ATTACHED = ATTACHMENT | {"attached_at": str, "detached_at": str, "attach_mode": str, "connection_info": dict}
TRANSFER = {"id": str, "name": str | None, "volume_id": str, "links": LINKS}
FULL_TRANSFER = TRANSFER | {"created_at": str, "no_snapshots?": bool, "accepted?": bool}
MESSAGE = {"id": str, "event_id": str, "user_message": str, "message_level": str, "created_at": str, "guaranteed_until": str, "links": LINKS}
SWITCHED = {"host": str, "service": str, "binary": str, "disabled": bool, "status": str, "disabled_reason?": str | None}
VERSIONS = {"versions": [{"id": str, "status": str, "version": str, "min_version": str, "updated": str, "links": LINKS}]}
QUOTAS = dict.fromkeys(QUOTA.defaults, int)
SOME_QUOTAS = {f"{name}?": int for name in QUOTA.defaults}
USED = {"limit": int, "in_use": int, "reserved": int}
PAGING = NOT_FILTERS - {"project_id"}


def _metadata(path: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Answers and bodies of a thing's metadata."""
    all_, one = {"metadata": TEXTS}, {"meta": TEXTS}
    item = f"{path}/{{key}}"
    answers = {f"GET {path}": all_, f"POST {path}": all_, f"PUT {path}": all_, f"GET {item}": one, f"PUT {item}": one}
    return answers, {f"POST {path}": all_, f"PUT {path}": all_, f"PUT {item}": one}


def _transfers(path: str) -> tuple[dict[str, Any], dict[str, Any]]:
    answers = {
        f"POST {path}": {"transfer": FULL_TRANSFER | {"auth_key": str}}, f"GET {path}": {"transfers": [TRANSFER], "transfers_links?": LINKS},
        f"GET {path}/detail": {"transfers": [FULL_TRANSFER], "transfers_links?": LINKS}, f"GET {path}/{{transfer_id}}": {"transfer": FULL_TRANSFER},
        f"POST {path}/{{transfer_id}}/accept": {"transfer": TRANSFER},
    }  # fmt: skip
    return answers, {f"POST {path}": {"transfer": transfers.TransferCreate}, f"POST {path}/{{transfer_id}}/accept": {"accept": transfers.Accept}}


ANSWERS: dict[str, Any] = {
    "GET /": VERSIONS,
    "GET /v3": VERSIONS,
    "GET /v3/extensions": {"extensions": [{"name": str, "alias": str, "description": str, "updated": str, "links": list}]},
    "POST /v3/volumes": {"volume": VOLUME},
    "GET /v3/volumes": {"volumes": [SUMMARY], "volumes_links?": LINKS, "count?": int},
    "GET /v3/volumes/detail": {"volumes": [VOLUME], "volumes_links?": LINKS, "count?": int},
    "GET /v3/volumes/summary": {"volume-summary": {"total_size": int, "total_count": int, "metadata?": {str: [str]}}},
    "GET /v3/volumes/{volume_id}": {"volume": VOLUME},
    "PUT /v3/volumes/{volume_id}": {"volume": VOLUME},
    f"POST {actions.ACTION}#os-volume_upload_image": {"os-volume_upload_image": {"id": str, "status": str, "size": int, "image_id": str}},
    f"POST {actions.ACTION}#os-set_image_metadata": {"metadata": TEXTS},
    f"POST {actions.ACTION}#os-show_image_metadata": {"metadata": TEXTS},
    "POST /v3/snapshots": {"snapshot": SNAPSHOT},
    "GET /v3/snapshots": {"snapshots": [SNAPSHOT], "snapshots_links?": LINKS, "count?": int},
    "GET /v3/snapshots/detail": {"snapshots": [SNAPSHOT], "snapshots_links?": LINKS, "count?": int},
    "GET /v3/snapshots/{snapshot_id}": {"snapshot": SNAPSHOT},
    "PUT /v3/snapshots/{snapshot_id}": {"snapshot": SNAPSHOT},
    "GET /v3/types": {"volume_types": [TYPE], "volume_type_links?": LINKS},
    "POST /v3/types": {"volume_type": TYPE},
    "GET /v3/types/{type_id}": {"volume_type": TYPE},
    "PUT /v3/types/{type_id}": {"volume_type": TYPE},
    "GET /v3/types/{type_id}/extra_specs": {"extra_specs": TEXTS},
    "POST /v3/types/{type_id}/extra_specs": {"extra_specs": TEXTS},
    "GET /v3/types/{type_id}/os-volume-type-access": {"volume_type_access": [{"volume_type_id": str, "project_id": str}]},
    "POST /v3/attachments": {"attachment": ATTACHED},
    "GET /v3/attachments": {"attachments": [ATTACHMENT]},
    "GET /v3/attachments/detail": {"attachments": [ATTACHED]},
    "GET /v3/attachments/{attachment_id}": {"attachment": ATTACHED},
    "PUT /v3/attachments/{attachment_id}": {"attachment": ATTACHED},
    "DELETE /v3/attachments/{attachment_id}": {"attachments": [ATTACHMENT]},
    "GET /v3/os-quota-sets/{target_id}": {"quota_set": ({"id": str, **QUOTAS}, {"id": str, **dict.fromkeys(QUOTAS, USED)})},
    "GET /v3/os-quota-sets/{target_id}/defaults": {"quota_set": {"id": str, **QUOTAS}},
    "PUT /v3/os-quota-sets/{target_id}": {"quota_set": QUOTAS},
    "GET /v3/os-quota-class-sets/{class_name}": {"quota_class_set": {"id": str, **QUOTAS}},
    "PUT /v3/os-quota-class-sets/{class_name}": {"quota_class_set": QUOTAS},
    "GET /v3/limits": {"limits": {"rate": list, "absolute": {str: int}}},
    "GET /v3/os-services": {"services": [{"binary": str, "host": str, "zone": str, "status": str, "state": str, "updated_at": str | None}]},
    "PUT /v3/os-services/enable": SWITCHED,
    "PUT /v3/os-services/disable": SWITCHED,
    "PUT /v3/os-services/disable-log-reason": SWITCHED,
    "GET /v3/os-hosts": {"hosts": [{"host_name": str, "service": str, "zone": str, "service-state": str, "service-status": str}]},
    "GET /v3/os-hosts/{host_name}": {"host": [{"resource": {"host": str, "project": str, "volume_count": str}}]},
    "GET /v3/capabilities/{host_name}": {"namespace": str, "vendor_name": str, "volume_backend_name": str, "properties": dict},
    "GET /v3/os-availability-zone": {"availabilityZoneInfo": [{"zoneName": str, "zoneState": {"available": bool}}]},
    "GET /v3/scheduler-stats/get_pools": {"pools": [{"name": str, "capabilities?": dict}]},
    "GET /v3/messages": {"messages": [MESSAGE], "messages_links?": LINKS},
    "GET /v3/messages/{message_id}": {"message": MESSAGE},
}
NAMED = {"id": str, "name": str | None}
GROUP = NAMED | {"status": str, "availability_zone": str | None, "created_at": str, "description": str | None, "group_type": str, "volume_types": [str]}
GROUP_SNAPSHOT = NAMED | {"group_id": str, "group_type_id?": str, "status": str, "created_at": str, "description": str | None}
GROUP_TYPE = {"id": str, "name": str, "description": str | None, "is_public": bool, "group_specs?": TEXTS}
QOS = {"id": str, "name": str, "consumer": str, "specs": TEXTS}
ENCRYPTION = {"volume_type_id": str, "encryption_id": str, "provider": str, "cipher": str | None, "key_size": int | None, "control_location": str}
ANSWERS |= {
    "GET /v3/types/default": {"volume_type": TYPE},
    "GET /v3/groups": {"groups": [NAMED], "group_links?": LINKS},
    "GET /v3/groups/detail": {"groups": [GROUP], "group_links?": LINKS},
    "POST /v3/groups": {"group": NAMED},
    "POST /v3/groups/action#create-from-src": {"group": NAMED},
    "GET /v3/groups/{group_id}": {"group": GROUP},
    "GET /v3/group_snapshots": {"group_snapshots": [NAMED], "group_snapshot_links?": LINKS},
    "GET /v3/group_snapshots/detail": {"group_snapshots": [GROUP_SNAPSHOT], "group_snapshot_links?": LINKS},
    "POST /v3/group_snapshots": {"group_snapshot": NAMED},
    "GET /v3/group_snapshots/{group_snapshot_id}": {"group_snapshot": GROUP_SNAPSHOT},
    "PUT /v3/group_snapshots/{group_snapshot_id}": {"group_snapshot": GROUP_SNAPSHOT},
    "GET /v3/group_types": {"group_types": [GROUP_TYPE]},
    "POST /v3/group_types": {"group_type": GROUP_TYPE},
    "GET /v3/group_types/default": {"group_type": GROUP_TYPE},
    "GET /v3/group_types/{group_type_id}": {"group_type": GROUP_TYPE},
    "PUT /v3/group_types/{group_type_id}": {"group_type": GROUP_TYPE},
    "GET /v3/group_types/{group_type_id}/group_specs": {"group_specs": TEXTS},
    "POST /v3/group_types/{group_type_id}/group_specs": {"group_specs": TEXTS},
    "GET /v3/qos-specs": {"qos_specs": [QOS], "qos_specs_links?": LINKS},
    "POST /v3/qos-specs": {"qos_specs": QOS, "links": LINKS},
    "GET /v3/qos-specs/{qos_id}": {"qos_specs": QOS, "links": LINKS},
    "PUT /v3/qos-specs/{qos_id}": {"qos_specs": TEXTS},
    "GET /v3/qos-specs/{qos_id}/associations": {"qos_associations": [{"association_type": str, "name": str, "id": str}]},
    "POST /v3/types/{type_id}/encryption": {"encryption": ENCRYPTION},
    "PUT /v3/types/{type_id}/encryption/{encryption_id}": {"encryption": dict},
    "GET /v3/volumes/{volume_id}/encryption": {"encryption_key_id": str | None},
}
BODIES: dict[str, Any] = {
    "POST /v3/groups": {"group": groups.GroupCreate},
    "POST /v3/groups/action#create-from-src": {"create-from-src": groups.FromSource},
    "PUT /v3/groups/{group_id}": {"group": groups.GroupUpdate},
    "POST /v3/groups/{group_id}/action#delete": {"delete": groups.Delete},
    "POST /v3/groups/{group_id}/action#reset_status": {"reset_status": groups.Reset},
    "POST /v3/group_snapshots": {"group_snapshot": group_snapshots.SnapshotCreate},
    "PUT /v3/group_snapshots/{group_snapshot_id}": {"group_snapshot": group_snapshots.SnapshotUpdate},
    "POST /v3/group_snapshots/{group_snapshot_id}/action#reset_status": {"reset_status": group_snapshots.Reset},
    "POST /v3/group_types": {"group_type": group_types.TypeCreate},
    "PUT /v3/group_types/{group_type_id}": {"group_type": group_types.TypeUpdate},
    "POST /v3/group_types/{group_type_id}/group_specs": {"group_specs": TEXTS},
    "PUT /v3/group_types/{group_type_id}/group_specs/{key}": TEXTS,
    "POST /v3/qos-specs": {"qos_specs": {"name": str, "consumer?": Given({"enum": list(CONSUMERS)})}},
    "PUT /v3/qos-specs/{qos_id}": {"qos_specs": TEXTS},
    "PUT /v3/qos-specs/{qos_id}/delete_keys": {"keys": [str]},
    "POST /v3/types/{type_id}/encryption": {"encryption": encryptions.EncryptionBody},
    "PUT /v3/types/{type_id}/encryption/{encryption_id}": {"encryption": encryptions.EncryptionBody},
    "POST /v3/snapshots/{snapshot_id}/action#os-update_snapshot_status": {"os-update_snapshot_status": snapshots.UpdateStatus},
    "PUT /v3/os-services/freeze": {"host": str},
    "PUT /v3/os-services/thaw": {"host": str},
    "POST /v3/volumes": {"volume": volumes.VolumeCreate, "OS-SCH-HNT:scheduler_hints?": dict},
    "PUT /v3/volumes/{volume_id}": {"volume": volumes.VolumeUpdate},
    f"POST {actions.ACTION}#os-extend": {"os-extend": actions.Extend},
    f"POST {actions.ACTION}#os-retype": {"os-retype": actions.Retype},
    f"POST {actions.ACTION}#revert": {"revert": actions.Revert},
    f"POST {actions.ACTION}#os-set_bootable": {"os-set_bootable": actions.SetBootable},
    f"POST {actions.ACTION}#os-update_readonly_flag": {"os-update_readonly_flag": actions.ReadOnly},
    f"POST {actions.ACTION}#os-reset_status": {"os-reset_status": actions.ResetStatus},
    f"POST {actions.ACTION}#os-volume_upload_image": {"os-volume_upload_image": actions.UploadImage},
    f"POST {actions.ACTION}#os-set_image_metadata": {"os-set_image_metadata": {"metadata": TEXTS}},
    f"POST {actions.ACTION}#os-unset_image_metadata": {"os-unset_image_metadata": actions.UnsetImageMetadata},
    f"POST {actions.ACTION}#os-attach": {"os-attach": marks.Attach},
    f"POST {actions.ACTION}#os-detach": {"os-detach": marks.Detach},
    f"POST {actions.ACTION}#os-force_detach": {"os-force_detach": marks.ForceDetach},
    "POST /v3/snapshots": {"snapshot": snapshots.SnapshotCreate},
    "PUT /v3/snapshots/{snapshot_id}": {"snapshot": snapshots.SnapshotUpdate},
    "POST /v3/snapshots/{snapshot_id}/action#os-reset_status": {"os-reset_status": snapshots.ResetStatus},
    "POST /v3/types": {"volume_type": types.TypeCreate},
    "PUT /v3/types/{type_id}": {"volume_type": types.TypeUpdate},
    "POST /v3/types/{type_id}/extra_specs": {"extra_specs": TEXTS},
    "PUT /v3/types/{type_id}/extra_specs/{key}": TEXTS,
    "POST /v3/types/{type_id}/action#addProjectAccess": {"addProjectAccess": types.Access},
    "POST /v3/types/{type_id}/action#removeProjectAccess": {"removeProjectAccess": types.Access},
    "POST /v3/attachments": {"attachment": attachments.AttachmentCreate},
    "PUT /v3/attachments/{attachment_id}": {"attachment": attachments.AttachmentUpdate},
    "PUT /v3/os-quota-sets/{target_id}": {"quota_set": SOME_QUOTAS},
    "PUT /v3/os-quota-class-sets/{class_name}": {"quota_class_set": SOME_QUOTAS},
    "PUT /v3/os-services/enable": services.Service,
    "PUT /v3/os-services/disable": services.Service,
    "PUT /v3/os-services/disable-log-reason": services.Service,
}
QUERIES: dict[str, Any] = {
    **dict.fromkeys(("GET /v3/groups", "GET /v3/groups/detail"), {*PAGING, *groups.FILTERS, "list_volume"}),
    "GET /v3/groups/{group_id}": ["list_volume"],
    **dict.fromkeys(("GET /v3/group_snapshots", "GET /v3/group_snapshots/detail"), {*PAGING, *group_snapshots.FILTERS}),
    "GET /v3/group_types": {*PAGING, "is_public"},
    "GET /v3/qos-specs": PAGING,
    "DELETE /v3/qos-specs/{qos_id}": ["force"],
    **dict.fromkeys(("GET /v3/qos-specs/{qos_id}/associate", "GET /v3/qos-specs/{qos_id}/disassociate"), ["vol_type_id"]),
    **dict.fromkeys(("GET /v3/volumes", "GET /v3/volumes/detail"), {*PAGING, *volumes.FILTERS, "created_at", "name~", "updated_at"}),
    "GET /v3/volumes/summary": {"all_tenants", *volumes.FILTERS},
    "DELETE /v3/volumes/{volume_id}": ["cascade", "force"],
    **dict.fromkeys(("GET /v3/snapshots", "GET /v3/snapshots/detail"), {*PAGING, *snapshots.FILTERS, "metadata"}),
    "GET /v3/types": {*PAGING, "is_public"},
    **dict.fromkeys(("GET /v3/attachments", "GET /v3/attachments/detail"), {*PAGING, *attachments.FILTERS}),
    "GET /v3/messages": {*PAGING, *messages.FILTERS},
    "GET /v3/os-quota-sets/{target_id}": ["usage"],
    "GET /v3/limits": ["project_id", "tenant_id"],
    "GET /v3/os-services": ["binary", "host"],
    "GET /v3/os-hosts": ["zone"],
    "GET /v3/scheduler-stats/get_pools": ["detail"],
}


def described() -> Described:
    answers, bodies, queries = dict(ANSWERS), dict(BODIES), dict(QUERIES)
    for path in ("/v3/volumes/{volume_id}/metadata", "/v3/snapshots/{snapshot_id}/metadata"):
        of, given = _metadata(path)
        answers |= of
        bodies |= given
    for path in (transfers.OLD, transfers.NEW):
        of, given = _transfers(path)
        answers |= of
        bodies |= given
        queries |= dict.fromkeys((f"GET {path}", f"GET {path}/detail"), {*PAGING, *transfers.FILTERS})
    return Described(answers, bodies, queries, error=ERROR)
