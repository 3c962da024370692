"""The network area as app.py takes it."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Any

from moln.kernel.cloud import Cloud
from moln.kernel.http.schemas import Described
from moln.kernel.module import Module
from moln.network.api import (
    address_groups,
    agents,
    auto_topologies,
    availability,
    bindings,
    default_rules,
    discovery,
    flavors,
    logs,
    networks,
    port_forwardings,
    ports,
    qos,
    quotas,
    rbac,
    routers,
    security_groups,
    segments,
    subnet_pools,
    trunks,
)
from moln.network.api.service import routes
from moln.network.drivers.base import EngineSettings, NetworkDriver
from moln.network.drivers.fake import FakeDriver
from moln.network.drivers.ovn import OvnDriver
from moln.network.model.topology import Chassis
from moln.network.ops import default_rules as default_rule_ops
from moln.network.ops import segment_ranges
from moln.network.settings import NetworkSettings
from moln.network.work.engine import Engine
from moln.network.work.invariants import invariants
from moln.network.work.node_metadata import NodeMetadata

PARTS = (  # each adds its operations to `routes`
    address_groups, agents, auto_topologies, availability, bindings, default_rules, discovery, flavors, logs, networks, port_forwardings, ports, qos, quotas,
    rbac, routers, security_groups, segments, subnet_pools, trunks,
)  # fmt: skip


def module(settings: Any) -> Module:
    """`cloud.areas["network"]` is the Engine; its driver is OVN's, or the fake one in a simulated cloud."""
    own: NetworkSettings = settings.network
    engine = Engine(own.recompute_s)
    metadata = NodeMetadata(engine)

    async def setup(cloud: Cloud) -> None:
        await cloud.db.write(default_rule_ops.seed_in, cloud.system_context())
        await cloud.db.write(segment_ranges.seed_in, cloud.system_context())
        engine.begin(cloud, _driver(cloud, settings))
        metadata.begin(cloud)
        cloud.areas["network"] = engine

    async def close(cloud: Cloud) -> None:
        metadata.end()
        await engine.end()

    return Module(
        "network",
        routes=(routes,),
        reconcilers=(engine.reconciler(), metadata.reconciler()),
        invariants=invariants(engine),
        setup=setup,
        close=close,
        ready=engine.ready,
        describe=_describe,
    )


def _describe() -> Described:
    from moln.network.api.description import described

    return described()


def _driver(cloud: Cloud, settings: Any) -> NetworkDriver:
    own: NetworkSettings = settings.network
    rows = EngineSettings(
        dns_servers=own.dns_servers or resolvers(Path("/etc/resolv.conf")),
        dns_domain=own.dns_domain,
        distributed_floating_ips=own.distributed_floating_ips,
    )
    if settings.simulate:
        return _simulated(cloud, FakeDriver(rows, now_us=cloud.clock.now_us), own)
    among = str(cloud.home / "controllers/controller.pem")  # what controllers prove to each other (kernel/controllers/proof.py)
    tls = (among, among, str(cloud.home / "controllers/both.crt")) if own.northbound.startswith("ssl:") else None
    tls = (own.ovn_key, own.ovn_certificate, own.ovn_ca) if own.ovn_key else tls
    home = cloud.home / "ovn"
    return OvnDriver(own.northbound or f"unix:{home}/nb.sock", own.southbound or f"unix:{home}/sb.sock", rows, tls=tls, now_us=cloud.clock.now_us)


def _simulated(cloud: Cloud, driver: FakeDriver, own: NetworkSettings) -> FakeDriver:
    """Each node that reports itself is a chassis with every physical network."""

    async def node_up(node: str, raw: bytes) -> None:
        driver.add_chassis(Chassis(name=node, hostname=node, physical_networks=own.physical_networks, tunnel_types=("geneve",)))

    cloud.links.on_report("node.up", node_up)
    return driver


def resolvers(file: Path) -> tuple[str, ...]:
    """The host's own resolvers that guests can reach too: not those on its loopback (systemd-resolved's stub)."""
    found = []
    try:
        lines = file.read_text("utf-8", "replace").splitlines()
    except OSError:
        return ()
    for line in lines:
        word, _, rest = line.strip().partition(" ")
        try:
            address = ipaddress.ip_address(rest.strip().partition("%")[0])
        except ValueError:
            continue
        if word == "nameserver" and not address.is_loopback and not address.is_link_local:
            found.append(str(address))
    return tuple(found[:3])
