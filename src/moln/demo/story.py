"""The demo, step by step. Each step finds what an earlier run left, so that a second run goes on."""

from __future__ import annotations

import base64
import os
import secrets
import subprocess
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from moln.demo.client import Client, DemoError
from moln.guest.build import GUEST_LOGIN, build_guest_image

Step = Callable[[str], AbstractContextManager[None]]
NETWORK, COMPUTE, VOLUME = "/network/v2.0", "/compute/v2.1", "/volume/v3"
SSH_S = 300.0


def tell(client: Client, home: Path, provider: IPv4Network, step: Step) -> str:
    """Boot the demo server and return what it said over ssh. provider: the range of floating IPs. Raises: DemoError."""
    folder = home / "demo"
    folder.mkdir(mode=0o700, exist_ok=True)
    with step("demo: build the guest image"):
        image_file = build_guest_image(folder / "guest.qcow2")
    with step("demo: upload it"):
        image = ensure_image(client, image_file)
    with step("demo: network, router, security group, key, flavor"):
        public = ensure_public_network(client, provider)
        network = ensure_private_network(client, public)
        group = ensure_security_group(client)
        key = ensure_key(client, folder)
        flavor = ensure_flavor(client)
    with step("demo: volume"):
        volume = client.ensure("volume", f"{VOLUME}/volumes/detail", "demo-data", {"size": 1})
        client.wait(f"{VOLUME}/volumes/{volume['id']}", "volume", lambda v: v["status"] in ("available", "in-use"), 60)
    with step("demo: boot the server"):
        server = _server(client, folder, image=image, flavor=flavor, network=network, group=group)
    with step("demo: floating IP and volume"):
        address = ensure_floating_ip(client, server["id"], public)
        _attach(client, server["id"], volume["id"])
    with step(f"demo: ssh {GUEST_LOGIN}@{address}"):
        return _ssh(key, address, "hostname; uptime; cat /etc/nonce", wanted=(folder / "nonce").read_text().strip())


def ensure_image(client: Client, file: Path) -> dict[str, Any]:
    image = client.ensure_plain("/image/v2/images?name=moln-guest", "moln-guest",
                                {"disk_format": "qcow2", "container_format": "bare", "visibility": "public"})  # fmt: skip
    if image["status"] == "queued":
        client.upload(f"/image/v2/images/{image['id']}/file", file)
    return client.wait(f"/image/v2/images/{image['id']}", "image", lambda i: i["status"] == "active", 120)


def ensure_public_network(client: Client, provider: IPv4Network) -> dict[str, Any]:
    network = client.ensure("network", f"{NETWORK}/networks?name=public", "public", {
        "router:external": True, "provider:network_type": "flat", "provider:physical_network": "public"})  # fmt: skip
    client.ensure("subnet", f"{NETWORK}/subnets?name=public", "public", {
        "network_id": network["id"], "ip_version": 4, "cidr": str(provider), "gateway_ip": str(provider[1]), "enable_dhcp": False,
        "allocation_pools": [{"start": str(provider[10]), "end": str(provider[-2])}]})  # fmt: skip
    return network


def ensure_private_network(client: Client, public: dict[str, Any]) -> dict[str, Any]:
    network = client.ensure("network", f"{NETWORK}/networks?name=demo", "demo", {})
    subnet = client.ensure("subnet", f"{NETWORK}/subnets?name=demo", "demo", {
        "network_id": network["id"], "ip_version": 4, "cidr": "10.20.0.0/24"})  # fmt: skip
    router = client.ensure("router", f"{NETWORK}/routers?name=demo", "demo", {"external_gateway_info": {"network_id": public["id"]}})
    if not client.call("GET", f"{NETWORK}/ports?device_id={router['id']}&network_id={network['id']}")["ports"]:
        client.call("PUT", f"{NETWORK}/routers/{router['id']}/add_router_interface", {"subnet_id": subnet["id"]})
    return network


def ensure_security_group(client: Client) -> dict[str, Any]:
    group = client.ensure("security_group", f"{NETWORK}/security-groups?name=demo", "demo", {"description": "ssh and ping"})
    held = {r["protocol"] for r in client.call("GET", f"{NETWORK}/security-group-rules?security_group_id={group['id']}")["security_group_rules"]}
    for rule in ({"protocol": "tcp", "port_range_min": 22, "port_range_max": 22}, {"protocol": "icmp"}):
        if rule["protocol"] not in held:
            client.call("POST", f"{NETWORK}/security-group-rules", {
                "security_group_rule": {"security_group_id": group["id"], "direction": "ingress", **rule}})  # fmt: skip
    return group


def ensure_key(client: Client, folder: Path) -> Path:
    path = folder / "id_ed25519"
    if not path.exists():
        private = Ed25519PrivateKey.generate()
        text = private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption())
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(text)
        public = private.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
        path.with_suffix(".pub").write_bytes(public + b" moln-demo\n")
    body = {"public_key": path.with_suffix(".pub").read_text().strip(), "type": "ssh"}
    client.ensure("keypair", f"{COMPUTE}/os-keypairs", "demo", body)
    return path


def ensure_flavor(client: Client) -> dict[str, Any]:
    return client.ensure("flavor", f"{COMPUTE}/flavors", "demo", {"vcpus": 1, "ram": 256, "disk": 1})


def _server(client: Client, folder: Path, *, image: dict[str, Any], flavor: dict[str, Any], network: dict[str, Any],
            group: dict[str, Any]) -> dict[str, Any]:  # fmt: skip
    nonce = folder / "nonce"
    if not nonce.exists():
        nonce.write_text(secrets.token_hex(16) + "\n")
    script = f"#!/bin/sh\necho {nonce.read_text().strip()} > /etc/nonce\n"
    server = client.ensure("server", f"{COMPUTE}/servers?name=^demo$", "demo", {
        "imageRef": image["id"], "flavorRef": flavor["id"], "networks": [{"uuid": network["id"]}], "key_name": "demo",
        "security_groups": [{"name": group["name"]}], "user_data": base64.b64encode(script.encode()).decode()})  # fmt: skip
    return client.wait(f"{COMPUTE}/servers/{server['id']}", "server", lambda s: s["status"] == "ACTIVE", 180)


def ensure_floating_ip(client: Client, server_id: str, public: dict[str, Any]) -> str:
    port = client.call("GET", f"{NETWORK}/ports?device_id={server_id}")["ports"][0]
    for held in client.call("GET", f"{NETWORK}/floatingips?port_id={port['id']}")["floatingips"]:
        return str(held["floating_ip_address"])
    body = {"floatingip": {"floating_network_id": public["id"], "port_id": port["id"]}}
    return str(client.call("POST", f"{NETWORK}/floatingips", body)["floatingip"]["floating_ip_address"])


def _attach(client: Client, server_id: str, volume_id: str) -> None:
    held = client.call("GET", f"{COMPUTE}/servers/{server_id}/os-volume_attachments")["volumeAttachments"]
    if not any(a["volumeId"] == volume_id for a in held):
        client.call("POST", f"{COMPUTE}/servers/{server_id}/os-volume_attachments", {"volumeAttachment": {"volumeId": volume_id}})
    client.wait(f"{VOLUME}/volumes/{volume_id}", "volume", lambda v: v["status"] == "in-use", 60)


def _ssh(key: Path, address: str, command: str, *, wanted: str) -> str:
    """What the command printed, once it holds `wanted`. Raises: DemoError."""
    ssh = ["ssh", "-i", str(key), "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "BatchMode=yes",
           "-o", "ConnectTimeout=5", "-o", "LogLevel=ERROR", f"{GUEST_LOGIN}@{address}", command]  # fmt: skip
    ends = time.monotonic() + SSH_S
    said = ""
    while time.monotonic() < ends:
        try:
            done = subprocess.run(ssh, capture_output=True, text=True, timeout=60, check=False)
        except subprocess.TimeoutExpired:
            continue
        said = done.stdout if done.returncode == 0 else done.stderr
        if done.returncode == 0 and wanted in done.stdout:
            return done.stdout
        time.sleep(1)  # the guest is still booting: nothing tells from outside
    raise DemoError(f"the guest at {address} did not answer over ssh in {SSH_S:g} s; last: {said.strip()[-300:]}")
