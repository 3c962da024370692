"""What the compute API takes and answers."""

from __future__ import annotations

from typing import Any

from moln.compute.api import server_actions, server_devices, server_lists, volumes_boot
from moln.compute.api.instance_actions import PATH as ACTIONS
from moln.compute.api.instance_actions import ActionView
from moln.compute.api.proxy_floating_ips import Pool
from moln.compute.api.routes import routes
from moln.compute.api.server_parts import META, TAGS
from moln.compute.api.server_views import FaultView, ImageRef
from moln.compute.api.shelving import Unshelve
from moln.kernel.http.schemas import Described

ERROR = {str: {"code": int, "message": str, "retryAfter?": str}}
LINKS = [{"rel": str, "href": str}]
VERSION = {"id": str, "status": str, "version": str, "min_version": str, "updated": str, "links": LINKS}
ID = (str, int)
CREATED = {
    "id": int, "uuid?": str, "name": str, "availability_zone": str | None, "created_at": str, "updated_at": str | None, "deleted": bool,
    "deleted_at": None,
}  # fmt: skip
AGGREGATE = CREATED | {"hosts": [str], "metadata": {str: str}}
FLAVOR = {
    "id": str, "name": str, "ram": int, "disk": int, "vcpus": int, "swap": ID, "OS-FLV-EXT-DATA:ephemeral": int, "os-flavor-access:is_public": bool,
    "links": LINKS, "rxtx_factor?": float, "description?": str | None, "extra_specs?": {str: str},
}  # fmt: skip
SPECS = {str: (str, int, float)}
BRIEF_FLAVOR = {"id": str, "name": str, "links": LINKS, "description?": str | None}
ACCESS = {"flavor_access": [{"flavor_id": str, "tenant_id": str}]}
SERVICE = {"id": ID, "binary": str, "host": str, "zone": str, "status": str, "state": str, "updated_at": str, "disabled_reason": str | None}
SWITCHED = {"service": {"host": str, "binary": str, "status?": str, "disabled_reason?": str, "forced_down?": bool}}
HYPERVISOR = {"id": ID, "hypervisor_hostname": str, "state": str, "status": str, "servers?": [{"uuid": str, "name": str}]}
FULL_HYPERVISOR = HYPERVISOR | {"hypervisor_type": str, "hypervisor_version": int, "host_ip": str, "service": dict, "uptime?": str | None}
UPTIME = {"id": ID, "hypervisor_hostname": str, "state": str, "status": str, "uptime": str | None}
KEYPAIR = {"name": str, "public_key": str, "fingerprint": str, "type?": str}
OWN_KEYPAIR = KEYPAIR | {"user_id": str}
QUOTAS = {str: (int, str)}
USED = {str: (str, {"limit": int, "in_use": int, "reserved": int})}
CONSOLE = {"type": str, "url": str}
SERVER = {"id": str, "name": str, "links": LINKS}
ADDRESSES = [{"version": int, "addr": str}]
CHANGED = SERVER | {"status": str, "tenant_id": str, "user_id": str, "metadata": {str: str}, "created": str, "updated": str, "addresses": {str: ADDRESSES}}
FULL_SERVER = CHANGED | {
    "hostId": str, "image": (ImageRef, str), "flavor": dict, "accessIPv4": str, "accessIPv6": str, "config_drive": str, "key_name": str | None,
    "OS-DCF:diskConfig": str, "OS-EXT-AZ:availability_zone": str, "OS-SRV-USG:launched_at": str | None, "OS-SRV-USG:terminated_at": str | None,
    "OS-EXT-STS:task_state": str | None, "OS-EXT-STS:vm_state": str, "OS-EXT-STS:power_state": int,
    "os-extended-volumes:volumes_attached": [{"id": str}], "progress?": int, "fault?": FaultView, "security_groups?": [{"name": str}], "locked?": bool,
    "locked_reason?": str | None, "description?": str | None, "tags?": [str], "server_groups?": [str], "host_status?": str,
    "trusted_image_certificates?": list[str] | None,
}  # fmt: skip
ZONE = {"zoneName": str, "zoneState": {"available": bool}, "hosts": dict | None}
EXTENSION = {"alias": str, "name": str, "description": str, "namespace": str, "updated": str, "links": list}
ONE = "/v2.1/servers/{server_id}"
ACTION = server_actions.PATH
VOLUMES, CARDS = server_devices.VOLUMES, server_devices.CARDS
METADATA, ITEM = {"metadata": {str: str}}, {"meta": {str: str}}

ANSWERS: dict[str, Any] = {
    "GET /": {"versions": [VERSION]},
    "GET /v2.1/": {"version": VERSION},
    "GET /v2.1/extensions": {"extensions": [EXTENSION]},
    "GET /v2.1/extensions/{alias}": {"extension": EXTENSION},
    "GET /v2.1/os-aggregates": {"aggregates": [AGGREGATE]},
    "POST /v2.1/os-aggregates": {"aggregate": CREATED},
    "GET /v2.1/os-aggregates/{aggregate_id}": {"aggregate": AGGREGATE},
    "PUT /v2.1/os-aggregates/{aggregate_id}": {"aggregate": AGGREGATE},
    "DELETE /v2.1/os-aggregates/{aggregate_id}": None,
    "POST /v2.1/os-aggregates/{aggregate_id}/action": {"aggregate": AGGREGATE},
    "GET /v2.1/flavors": {"flavors": [BRIEF_FLAVOR], "flavors_links?": LINKS},
    "GET /v2.1/flavors/detail": {"flavors": [FLAVOR], "flavors_links?": LINKS},
    "POST /v2.1/flavors": {"flavor": FLAVOR},
    "GET /v2.1/flavors/{flavor_id}": {"flavor": FLAVOR},
    "PUT /v2.1/flavors/{flavor_id}": {"flavor": FLAVOR},
    "GET /v2.1/flavors/{flavor_id}/os-flavor-access": ACCESS,
    "POST /v2.1/flavors/{flavor_id}/action": ACCESS,
    "GET /v2.1/flavors/{flavor_id}/os-extra_specs": {"extra_specs": {str: str}},
    "POST /v2.1/flavors/{flavor_id}/os-extra_specs": {"extra_specs": SPECS},
    "GET /v2.1/flavors/{flavor_id}/os-extra_specs/{key}": {str: str},
    "PUT /v2.1/flavors/{flavor_id}/os-extra_specs/{key}": SPECS,
    "DELETE /v2.1/flavors/{flavor_id}/os-extra_specs/{key}": None,
    "GET /v2.1/os-services": {"services": [SERVICE]},
    "PUT /v2.1/os-services/{service_id}": {"service": SERVICE},
    "PUT /v2.1/os-services/enable": SWITCHED,
    "PUT /v2.1/os-services/disable": SWITCHED,
    "PUT /v2.1/os-services/disable-log-reason": SWITCHED,
    "PUT /v2.1/os-services/force-down": SWITCHED,
    "GET /v2.1/os-hypervisors": {"hypervisors": [HYPERVISOR], "hypervisors_links?": LINKS},
    "GET /v2.1/os-hypervisors/detail": {"hypervisors": [FULL_HYPERVISOR], "hypervisors_links?": LINKS},
    "GET /v2.1/os-hypervisors/statistics": {"hypervisor_statistics": {"count": int, "vcpus": int, "memory_mb": int, "local_gb": int}},
    "GET /v2.1/os-hypervisors/{hypervisor_id}": {"hypervisor": FULL_HYPERVISOR},
    "GET /v2.1/os-hypervisors/{hypervisor_id}/uptime": {"hypervisor": UPTIME},
    "GET /v2.1/os-hypervisors/{pattern}/search": {"hypervisors": [HYPERVISOR]},
    "GET /v2.1/os-hypervisors/{pattern}/servers": {"hypervisors": [HYPERVISOR]},
    "GET /v2.1/os-keypairs": {"keypairs": [{"keypair": KEYPAIR}], "keypairs_links?": LINKS},
    "POST /v2.1/os-keypairs": dict.fromkeys((200, 201), {"keypair": OWN_KEYPAIR | {"private_key?": str}}),
    "GET /v2.1/os-keypairs/{name}": {"keypair": OWN_KEYPAIR | {"id": int, "created_at": str, "deleted": bool}},
    "DELETE /v2.1/os-keypairs/{name}": {202: None, 204: None},
    "GET /v2.1/os-quota-sets/{target}": {"quota_set": QUOTAS},
    "GET /v2.1/os-quota-sets/{target}/defaults": {"quota_set": QUOTAS},
    "GET /v2.1/os-quota-sets/{target}/detail": {"quota_set": USED},
    "PUT /v2.1/os-quota-sets/{target}": {"quota_set": QUOTAS},
    "GET /v2.1/os-quota-class-sets/{name}": {"quota_class_set": QUOTAS},
    "PUT /v2.1/os-quota-class-sets/{name}": {"quota_class_set": QUOTAS},
    "GET /v2.1/limits": {"limits": {"rate": list, "absolute": {str: int}}},
    f"POST {ACTION}#os-getConsoleOutput": {"output": str},
    f"POST {ACTION}#createImage": ({202: {"image_id": str}}),
    f"POST {ACTION}#os-getVNCConsole": {"console": CONSOLE},
    f"POST {ACTION}#os-getSerialConsole": {"console": CONSOLE},
    f"POST {ACTION}#os-getSPICEConsole": {"console": CONSOLE},
    f"POST {ONE}/remote-consoles": {"remote_console": CONSOLE | {"protocol": str}},
    "GET /v2.1/os-console-auth-tokens/{token}": {"console": {"instance_uuid": str, "host": str, "port": int, "internal_access_path": str}},
    f"GET {ACTIONS}": {"instanceActions": [ActionView], "links?": LINKS},
    f"GET {ACTIONS}/{{request_id}}": {"instanceAction": ActionView},
    f"GET {VOLUMES}": {"volumeAttachments": [server_devices.AttachmentView]},
    f"GET {VOLUMES}/{{volume_id}}": {"volumeAttachment": server_devices.AttachmentView},
    f"POST {VOLUMES}": {200: {"volumeAttachment": server_devices.AttachmentView}, 202: None},
    f"GET {CARDS}": {"interfaceAttachments": [server_devices.CardView]},
    f"GET {CARDS}/{{port_id}}": {"interfaceAttachment": server_devices.CardView},
    f"POST {CARDS}": {"interfaceAttachment": server_devices.CardView},
    f"GET {META}": METADATA,
    f"POST {META}": METADATA,
    f"PUT {META}": METADATA,
    f"GET {META}/{{key}}": ITEM,
    f"PUT {META}/{{key}}": ITEM,
    f"GET {TAGS}": {"tags": [str]},
    f"PUT {TAGS}": {"tags": [str]},
    f"PUT {TAGS}/{{tag}}": {201: None, 204: None},
    f"GET {ONE}/ips": {"addresses": {str: ADDRESSES}},
    f"GET {ONE}/ips/{{label}}": {str: ADDRESSES},
    f"GET {ONE}/os-security-groups": {"security_groups": [{"id": str, "name": str, "description": str | None, "tenant_id": str, "rules": list}]},
    "POST /v2.1/servers": ({"server": {"id": str, "links": LINKS, "adminPass": str}}, {"reservation_id": str}),
    "GET /v2.1/servers": {"servers": [SERVER], "servers_links?": LINKS},
    "GET /v2.1/servers/detail": {"servers": [FULL_SERVER], "servers_links?": LINKS},
    f"GET {ONE}": {"server": FULL_SERVER},
    f"PUT {ONE}": {"server": CHANGED},
    "GET /v2.1/os-availability-zone": {"availabilityZoneInfo": [ZONE]},
    "GET /v2.1/os-availability-zone/detail": {"availabilityZoneInfo": [ZONE]},
}  # fmt: skip
IMAGE = {"id": str, "name": str | None, "links": LINKS}
FULL_IMAGE = IMAGE | {"minRam": int, "minDisk": int, "metadata": {str: str}, "created": str, "updated": str, "status": str, "progress": int}
OLD_FLOATING_IP = {"id": str, "ip": str, "fixed_ip": str | None, "instance_id": str | None, "pool": str}
OLD_RULE = {"id": str, "parent_group_id": str, "ip_protocol": str | None, "from_port": int | None, "to_port": int | None, "group": dict, "ip_range": dict}
OLD_GROUP = {"id": str, "name": str, "description": str, "tenant_id": str, "rules": [OLD_RULE]}
OLD_VOLUME = {"id": str, "status": str, "size": int, "displayName": str | None, "metadata": {str: str}, "attachments": [dict]}
OLD_SNAPSHOT = {"id": str, "volumeId": str, "status": str, "size": int, "createdAt": str, "displayName": str | None, "displayDescription": str | None}
OLD_NETWORK = {"id": str, "label": str, "cidr": str | None}
SERVER_GROUP = {
    "id": str, "name": str, "members": [str], "policy?": str, "rules?": dict, "policies?": [str], "metadata?": dict, "project_id?": str, "user_id?": str,
}  # fmt: skip
USAGE = {"tenant_id": str, "start": str, "stop": str, "total_hours": float, "server_usages?": [dict]}
NO_USAGE = {"tenant_id?": str}
AUDIT = {"period_beginning": str, "period_ending": str, "num_hosts": int, "hosts_not_run": [str], "overall_status": str, "log": dict}
ANSWERS |= {
    "GET /v2/": {"version": VERSION},
    "GET /v2.1/versions/{id}": {"version": VERSION},
    "GET /v2.1/images": {"images": [IMAGE], "images_links?": LINKS},
    "GET /v2.1/images/detail": {"images": [FULL_IMAGE], "images_links?": LINKS},
    "GET /v2.1/images/{image_id}": {"image": FULL_IMAGE},
    **{f"{method} /v2.1/images/{{image_id}}/metadata": METADATA for method in ("GET", "POST", "PUT")},
    **{f"{method} /v2.1/images/{{image_id}}/metadata/{{key}}": ITEM for method in ("GET", "PUT")},
    "GET /v2.1/os-floating-ip-pools": {"floating_ip_pools": [{"name": str}]},
    "GET /v2.1/os-floating-ips": {"floating_ips": [OLD_FLOATING_IP]},
    "POST /v2.1/os-floating-ips": {"floating_ip": OLD_FLOATING_IP},
    "GET /v2.1/os-floating-ips/{floating_ip_id}": {"floating_ip": OLD_FLOATING_IP},
    "GET /v2.1/os-security-groups": {"security_groups": [OLD_GROUP]},
    "POST /v2.1/os-security-groups": {"security_group": OLD_GROUP},
    "GET /v2.1/os-security-groups/{security_group_id}": {"security_group": OLD_GROUP},
    "PUT /v2.1/os-security-groups/{security_group_id}": {"security_group": OLD_GROUP},
    "POST /v2.1/os-security-group-rules": {"security_group_rule": OLD_RULE},
    "GET /v2.1/os-volumes": {"volumes": [OLD_VOLUME]},
    "GET /v2.1/os-volumes/detail": {"volumes": [OLD_VOLUME]},
    "POST /v2.1/os-volumes": {"volume": OLD_VOLUME},
    "GET /v2.1/os-volumes/{volume_id}": {"volume": OLD_VOLUME},
    "GET /v2.1/os-snapshots": {"snapshots": [OLD_SNAPSHOT]},
    "GET /v2.1/os-snapshots/detail": {"snapshots": [OLD_SNAPSHOT]},
    "POST /v2.1/os-snapshots": {"snapshot": OLD_SNAPSHOT},
    "GET /v2.1/os-snapshots/{snapshot_id}": {"snapshot": OLD_SNAPSHOT},
    "GET /v2.1/os-networks": {"networks": [OLD_NETWORK]},
    "GET /v2.1/os-networks/{network_id}": {"network": OLD_NETWORK},
    "GET /v2.1/os-tenant-networks": {"networks": [OLD_NETWORK]},
    "GET /v2.1/os-tenant-networks/{network_id}": {"network": OLD_NETWORK},
    "GET /v2.1/os-server-groups": {"server_groups": [SERVER_GROUP]},
    "POST /v2.1/os-server-groups": {"server_group": SERVER_GROUP},
    "GET /v2.1/os-server-groups/{group_id}": {"server_group": SERVER_GROUP},
    "GET /v2.1/os-hosts": {"hosts": [{"host_name": str, "service": str, "zone": str}]},
    "GET /v2.1/os-hosts/{host_name}": {"host": [{"resource": {"host": str, "project": str, "cpu": int, "memory_mb": int, "disk_gb": int}}]},
    "PUT /v2.1/os-hosts/{host_name}": {"host": str, "status": str},
    "GET /v2.1/os-simple-tenant-usage": {"tenant_usages": [USAGE], "tenant_usages_links?": LINKS},
    "GET /v2.1/os-simple-tenant-usage/{project}": {"tenant_usage": (USAGE, NO_USAGE), "tenant_usage_links?": LINKS},
    "GET /v2.1/os-instance_usage_audit_log": {"instance_usage_audit_logs": AUDIT},
    "GET /v2.1/os-instance_usage_audit_log/{before}": {"instance_usage_audit_log": AUDIT},
    f"GET {ONE}/diagnostics": ({str: int}, {"state": str, "driver": str, "uptime": int, "num_cpus": int, "memory_details": dict}),
    f"GET {ONE}/topology": {"nodes": list, "pagesize_kb": int | None},
    f"GET {ONE}/os-server-password": {"password": str},
    f"POST {ACTION}#rescue": {"adminPass": str},
}  # fmt: skip
BODIES: dict[str, Any] = {
    "POST /v2.1/flavors/{flavor_id}/os-extra_specs": {"extra_specs": SPECS},
    "PUT /v2.1/flavors/{flavor_id}/os-extra_specs/{key}": SPECS,
    f"POST {ACTION}#lock": {"lock": (None, {"locked_reason": str})},
    f"POST {ACTION}#unshelve": ({"unshelve": Any}, Unshelve),
    "POST /v2.1/os-floating-ips": (None, Pool),
    f"POST {CARDS}": (server_devices.CardCreate, {"interfaceAttachment?": dict}),
}
PAGING = ["limit", "marker"]
FLAVORS = [*PAGING, "is_public", "minDisk", "minRam", "name", "sort_dir", "sort_key"]
HYPERVISORS = [*PAGING, "hypervisor_hostname_pattern", "with_servers"]
QUERIES: dict[str, Any] = {
    "GET /v2.1/flavors": FLAVORS,
    "GET /v2.1/flavors/detail": FLAVORS,
    "GET /v2.1/os-services": ["binary", "host"],
    "GET /v2.1/os-hypervisors": HYPERVISORS,
    "GET /v2.1/os-hypervisors/detail": HYPERVISORS,
    "GET /v2.1/os-hypervisors/{hypervisor_id}": ["with_servers"],
    "GET /v2.1/os-keypairs": [*PAGING, "user_id"],
    "GET /v2.1/os-keypairs/{name}": ["user_id"],
    "DELETE /v2.1/os-keypairs/{name}": ["user_id"],
    **{f"{method} /v2.1/os-quota-sets/{{target}}": ["user_id"] for method in ("GET", "PUT", "DELETE")},
    "GET /v2.1/os-quota-sets/{target}/detail": ["user_id"],
    "GET /v2.1/limits": ["reserved", "tenant_id"],
    f"GET {ACTIONS}": [*PAGING, "changes-before", "changes-since"],
    f"GET {VOLUMES}": ["limit", "offset"],
    "GET /v2.1/servers": server_lists.KNOWN,
    "GET /v2.1/servers/detail": server_lists.KNOWN,
}


QUERIES |= {
    "GET /v2.1/images": [*PAGING, "changes-since", "minDisk", "minRam", "name", "server", "status", "type"],
    "GET /v2.1/images/detail": [*PAGING, "changes-since", "minDisk", "minRam", "name", "server", "status", "type"],
    "GET /v2.1/os-security-groups": ["all_tenants", "limit", "offset"],
    **{f"GET /v2.1/{name}": ["limit", "offset"] for name in ("os-volumes", "os-volumes/detail", "os-snapshots", "os-snapshots/detail")},
    "GET /v2.1/os-server-groups": ["all_projects", "limit", "offset"],
    "GET /v2.1/os-hosts": ["zone"],
    "GET /v2.1/os-simple-tenant-usage": [*PAGING, "detailed", "end", "start"],
    "GET /v2.1/os-simple-tenant-usage/{project}": [*PAGING, "end", "start"],
}


def described() -> Described:
    return Described(*(_under_old_names(of) for of in (ANSWERS, BODIES, QUERIES)), error=ERROR)


def _under_old_names(of: dict[str, Any]) -> dict[str, Any]:
    """With what /os-volumes_boot, which is /servers, answers and takes."""
    there = {f"{route.method} {route.path}" for route in routes.all}
    old = {key.replace(volumes_boot.SERVERS, volumes_boot.OLD, 1): shape for key, shape in of.items()}
    return of | {key: shape for key, shape in old.items() if key.partition("#")[0] in there}
