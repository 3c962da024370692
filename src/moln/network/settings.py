"""The settings of the network area (`[network]` in moln.toml)."""

from __future__ import annotations

from msgspec import Struct


class NetworkSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """northbound, southbound: OVN's databases (unix:PATH, tcp:HOST:PORT, ssl:HOST:PORT), empty for those of this home.
    ovn_key, ovn_certificate, ovn_ca: PEM files for databases reached by ssl.
    underlay_mtu: bytes the network between nodes carries. dns_servers: resolvers for guests, empty for the host's own.
    dns_domain: of guests' names. physical_networks: those that provider networks may name; vlans: tags they may use, `LOW:HIGH`.
    availability_zone: of networks and routers. recompute_s: how often everything is compared with the engine, seconds.
    metadata: serve 169.254.169.254 on networks with DHCP.
    distributed_floating_ips: traffic of a floating IP leaves from its guest's own node where that reaches the physical network.
    """

    northbound: str = ""
    southbound: str = ""
    ovn_key: str = ""
    ovn_certificate: str = ""
    ovn_ca: str = ""
    underlay_mtu: int = 1500
    dns_servers: tuple[str, ...] = ()
    dns_domain: str = "openstacklocal."
    physical_networks: tuple[str, ...] = ("public",)
    vlans: str = "1:4094"
    availability_zone: str = "nova"
    recompute_s: int = 60
    metadata: bool = True
    distributed_floating_ips: bool = True
