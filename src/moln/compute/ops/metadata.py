"""What a guest may learn of itself: at 169.254.169.254 in EC2's and OpenStack's formats, and on its config drive.

Formats: Nova user guide, "Metadata"; the network_data.json schema of Nova's api-ref.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from collections.abc import Sequence
from typing import Any

import msgspec

from moln.compute.model.server_requests import InjectedFile
from moln.compute.model.servers import Nic, Server
from moln.compute.ops import server_password
from moln.compute.store import server_passwords
from moln.compute.store import servers as store
from moln.kernel.cloud import Cloud
from moln.kernel.errors import Conflict, Invalid
from moln.network.model.subnets import Subnet
from moln.network.ops import ports, subnets

Answer = tuple[int, bytes, str]
Tree = dict[str, Any]  # names to trees or texts

EC2_VERSIONS = (
    "1.0", "2007-01-19", "2007-03-01", "2007-08-29", "2007-10-10", "2007-12-15", "2008-02-01", "2008-09-01", "2009-04-04",
)  # fmt: skip
OPENSTACK_VERSIONS = (
    "2012-08-10", "2013-04-04", "2013-10-17", "2015-10-15", "2016-06-30", "2016-10-06", "2017-02-22", "2018-08-27", "2020-10-14",
)  # fmt: skip
PASSWORD = re.compile(f"/openstack/({'|'.join(OPENSTACK_VERSIONS[1:])}|latest)/password")
DOMAIN = "novalocal"  # what follows a server's name in its full host name (Nova's [api]dhcp_domain)
MOST_POSTED = server_password.MOST_BYTES
SEED_IDS = 32  # 16 random bytes each
PLAIN, JSON = "text/plain; charset=UTF-8", "application/json"
MISSING: Answer = (404, b"Not found.", PLAIN)


async def answer(cloud: Cloud, network_id: str, address: str, path: str, posted: bytes | None = None, *, host: str | None = None) -> Answer:
    """(status code, body, media type) for a guest that asks from `address` on a network. Only its own server is told (SEC-26).

    posted: what it says rather than asks: its password (openstack/…/password), once. host: the node that asks for it; of others' servers it is
    told nothing.
    """
    try:
        canonical = str(ipaddress.ip_address(address))
    except ValueError:
        return MISSING
    port = await ports.at_address(cloud.db, network_id, canonical)
    if port is None or not port.device_owner.startswith("compute:"):
        return MISSING
    server = await store.find(cloud.db, port.device_id)
    if server is None or server.nic(port.id) is None or host not in (None, server.host):
        return MISSING
    if posted is not None:
        return await _say(cloud, server, path, posted)
    return await told(cloud, server, path, canonical)


async def _say(cloud: Cloud, server: Server, path: str, posted: bytes) -> Answer:
    if not PASSWORD.fullmatch(path):
        return 405, b"Only a password may be posted.", PLAIN
    try:
        await server_password.tell(cloud, server, posted)
    except Conflict as refused:
        return 409, refused.message.encode(), PLAIN
    except Invalid as refused:
        return 400, refused.message.encode(), PLAIN
    return 200, b"", PLAIN


async def told(cloud: Cloud, server: Server, path: str, address: str = "") -> Answer:
    """The same for a known server. address: the one that asked, first of its own otherwise."""
    words = [w for w in path.split("?", 1)[0].split("/") if w not in ("", ".")]
    if not words:
        return 200, "\n".join([*EC2_VERSIONS, "latest"]).encode(), PLAIN
    if words[0] == "openstack":
        return await _openstack(cloud, server, words[1:])
    if words[0] not in (*EC2_VERSIONS, "latest"):
        return MISSING
    user_data = await user_data_of(cloud, server)
    tree: Tree = {"meta-data": ec2(server, address)}
    if user_data is not None:
        tree["user-data"] = user_data
    return walk(tree, words[1:])


def walk(tree: Tree, words: list[str]) -> Answer:
    """EC2's way to show a tree: folders as lists of names, each folder's with a slash behind."""
    here: Any = tree
    for word in words:
        if not isinstance(here, dict) or word not in here:
            return MISSING
        here = here[word]
    if isinstance(here, bytes):
        return 200, here, "application/octet-stream"
    if isinstance(here, dict):
        names = here.get("_names") or [name + "/" if isinstance(here[name], dict) else name for name in sorted(here)]
        return 200, "\n".join(names).encode(), PLAIN
    return 200, str(here).encode(), PLAIN


def ec2(server: Server, address: str = "") -> Tree:
    """`meta-data` in EC2's format."""
    fixed = [a for n in server.attached_nics for a in n.addresses]
    v4 = [a for a in fixed if a.version == 4]
    local = address if any(a.ip == address for a in v4) else (v4[0].ip if v4 else "")
    floating = [f for a in v4 if a.ip == local for f in a.floating]
    tree: Tree = {
        "ami-id": ec2_id(server.image_id, "ami"), "ami-launch-index": server.launch_index, "ami-manifest-path": "FIXME",
        "block-device-mapping": {"ami": "vda", "root": server.root_device or "/dev/vda"}, "hostname": full_name(server),
        "instance-action": "none", "instance-id": ec2_id(server.id, "i"), "instance-type": server.flavor.original_name,
        "local-hostname": full_name(server), "local-ipv4": local, "placement": {"availability-zone": server.az},
        "public-hostname": full_name(server), "public-ipv4": floating[0] if floating else "", "reservation-id": server.reservation_id,
        "security-groups": "\n".join(sorted({g for n in server.attached_nics for g in n.groups})),
    }  # fmt: skip
    if server.key_name is not None and server.key_data:
        tree["public-keys"] = {"_names": [f"0={server.key_name}"], "0": {"openssh-key": server.key_data}}
    return tree


def ec2_id(uuid: str | None, prefix: str) -> str:
    """An id as EC2 has them, the same for the same uuid."""
    return f"{prefix}-{uuid.replace('-', '')[:8]}" if uuid else f"{prefix}-00000000"


def full_name(server: Server) -> str:
    return server.hostname if "." in server.hostname else f"{server.hostname}.{DOMAIN}"


async def _openstack(cloud: Cloud, server: Server, words: list[str]) -> Answer:
    if not words:
        return 200, "\n".join([*OPENSTACK_VERSIONS, "latest"]).encode(), PLAIN
    if words[0] == "content" and len(words) == 2:
        found = contents(await store.files(cloud.db, server.id)).get(words[1])
        return MISSING if found is None else (200, found, "application/octet-stream")
    if words[0] not in (*OPENSTACK_VERSIONS, "latest") or len(words) > 2:
        return MISSING
    user_data = await user_data_of(cloud, server)
    names = ["meta_data.json", "network_data.json", "password", *(["user_data"] if user_data is not None else []), "vendor_data.json",
             "vendor_data2.json"]  # fmt: skip
    if len(words) == 1:
        return 200, "\n".join(names).encode(), PLAIN
    match words[1]:
        case "meta_data.json":
            return 200, msgspec.json.encode(meta_data(cloud, server, await store.files(cloud.db, server.id))), JSON
        case "network_data.json":
            return 200, msgspec.json.encode(await network_data(cloud, server)), JSON
        case "vendor_data.json" | "vendor_data2.json":
            return 200, b"{}", JSON
        case "password":
            return 200, (await server_passwords.find(cloud.db, server.id)).encode(), PLAIN
        case "user_data" if user_data is not None:
            return 200, user_data, "application/octet-stream"
    return MISSING


async def user_data_of(cloud: Cloud, server: Server) -> bytes | None:
    """As the caller meant it, decoded."""
    text = await store.user_data(cloud.db, server.id)
    if text is None:
        return None
    try:
        return base64.b64decode(text)
    except (binascii.Error, ValueError):
        return None


def contents(files: Sequence[InjectedFile]) -> dict[str, bytes]:
    """What is below `openstack/content`, by name."""
    return {f"{number:04}": base64.b64decode(f.contents) for number, f in enumerate(files)}


def meta_data(cloud: Cloud, server: Server, files: Sequence[InjectedFile] = ()) -> dict[str, Any]:
    """`meta_data.json`. files: those that the caller wanted injected."""
    seed = b"".join(bytes.fromhex(cloud.ids.uuid().replace("-", "")) for _ in range(SEED_IDS))
    data: dict[str, Any] = {
        "uuid": server.id, "name": server.name, "hostname": full_name(server), "launch_index": server.launch_index,
        "availability_zone": server.az, "project_id": server.project_id, "meta": server.metadata, "devices": devices(server),
        "dedicated_cpus": [], "random_seed": base64.b64encode(seed).decode(),
    }  # fmt: skip
    if server.key_name is not None and server.key_data:
        data["public_keys"] = {server.key_name: server.key_data}
        data["keys"] = [{"name": server.key_name, "type": "ssh", "data": server.key_data}]
    if files:
        data["files"] = [{"content_path": f"/content/{number:04}", "path": f.path} for number, f in enumerate(files)]
    return data


def devices(server: Server) -> list[dict[str, Any]]:
    """Devices that the caller gave a role (`tag`)."""
    out: list[dict[str, Any]] = [
        {"type": "nic", "bus": "none", "address": "none", "mac": n.mac, "tags": [n.tag]} for n in server.attached_nics if n.tag
    ]
    return out + [
        {"type": "disk", "bus": "none", "address": "none", "serial": v.volume_id[:20], "path": v.device, "tags": [v.tag]}
        for v in server.volumes if v.tag
    ]  # fmt: skip


async def network_data(cloud: Cloud, server: Server) -> dict[str, Any]:
    """`network_data.json`: how the guest should set its cards, where DHCP does not."""
    nics = server.attached_nics
    known = {s.id: s for s in await subnets.of_networks(cloud.db, sorted({n.network_id for n in nics}))}
    links, networks, services = [], [], []
    for nic in nics:
        link = f"tap{nic.port_id[:11]}"
        links.append({"id": link, "vif_id": nic.port_id, "type": "ovs", "mtu": nic.mtu or None, "ethernet_mac_address": nic.mac})
        for address in nic.addresses:
            subnet = known.get(address.subnet_id)
            if subnet is None:
                continue
            networks.append(_network(f"network{len(networks)}", link, nic, address.ip, subnet))
            services += [{"type": "dns", "address": d} for d in subnet.dns_nameservers]
    return {"links": links, "networks": networks, "services": [s for i, s in enumerate(services) if s not in services[:i]]}


def _network(name: str, link: str, nic: Nic, ip: str, subnet: Subnet) -> dict[str, Any]:
    out: dict[str, Any] = {"id": name, "link": link, "network_id": nic.network_id}
    cidr = ipaddress.ip_network(subnet.cidr)
    if subnet.ip_version == 4 and subnet.enable_dhcp:
        return out | {"type": "ipv4_dhcp"}
    if subnet.ip_version == 6 and subnet.ipv6_address_mode:
        kind = {"slaac": "ipv6_slaac", "dhcpv6-stateful": "ipv6_dhcpv6-stateful", "dhcpv6-stateless": "ipv6_dhcpv6-stateless"}
        out["type"] = kind[subnet.ipv6_address_mode]
    elif subnet.ip_version == 6 and subnet.enable_dhcp:
        return out | {"type": "ipv6_dhcp"}
    else:
        out["type"] = f"ipv{subnet.ip_version}"
    routes = []
    if subnet.gateway_ip:
        any_ = "0.0.0.0" if subnet.ip_version == 4 else "::"
        routes.append({"network": any_, "netmask": any_, "gateway": subnet.gateway_ip})
    for route in subnet.host_routes:
        to = ipaddress.ip_network(route.destination)
        routes.append({"network": str(to.network_address), "netmask": str(to.netmask), "gateway": route.nexthop})
    return out | {
        "ip_address": ip, "netmask": str(cidr.netmask), "routes": routes,
        "services": [{"type": "dns", "address": d} for d in subnet.dns_nameservers],
    }  # fmt: skip


async def config_drive(cloud: Cloud, server: Server, admin_pass: str = "") -> dict[str, bytes]:
    """The files of a server's config drive, by path. admin_pass: told to the guest there, and nowhere else."""
    user_data = await user_data_of(cloud, server)
    wanted = await store.files(cloud.db, server.id)
    files = {f"openstack/content/{name}": content for name, content in contents(wanted).items()}
    told = meta_data(cloud, server, wanted) | ({"admin_pass": admin_pass} if admin_pass else {})
    meta, network = msgspec.json.encode(told), msgspec.json.encode(await network_data(cloud, server))
    old = msgspec.json.encode(_nested(ec2(server)))
    for version in (*OPENSTACK_VERSIONS, "latest"):
        files[f"openstack/{version}/meta_data.json"] = meta
        files[f"openstack/{version}/network_data.json"] = network
        files[f"openstack/{version}/vendor_data.json"] = b"{}"
        files[f"openstack/{version}/vendor_data2.json"] = b"{}"
        if user_data is not None:
            files[f"openstack/{version}/user_data"] = user_data
    for version in ("2009-04-04", "latest"):
        files[f"ec2/{version}/meta-data.json"] = old
        if user_data is not None:
            files[f"ec2/{version}/user-data"] = user_data
    return files


def _nested(tree: Tree) -> Tree:
    return {k: _nested(v) if isinstance(v, dict) else v for k, v in tree.items() if k != "_names"}
