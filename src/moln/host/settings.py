"""What an operator may choose about the host. Everything else is derived."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from typing import Literal

from msgspec import Struct


class HostSettings(Struct, frozen=True, kw_only=True):
    """The `[host]` table of moln.toml.

    provider_cidr: the range of floating IPs. Its first address is the host's own gateway on it.
    provider_nat: whether guests reach the outside through this host's addresses.
    pool_size_gib: the size of the pool's image file where the host has no reflink; 0: a third of what is free, at
        least 8 GiB, at most 500 GiB.
    pool_allocated: whether that file is allocated in full, so that a guest's write never fails for a full host disk.
    encap_ip: the address of this host on the network that carries guests' traffic between hosts.
    log_limit_mib: the size of one engine's log; as much again is kept of the older part.
    """

    provider_cidr: str = "172.24.4.0/24"
    provider_nat: bool = True
    pool_size_gib: int = 0
    pool_allocated: bool = True
    encap_ip: str = "127.0.0.1"
    log_limit_mib: int = 16

    @property
    def provider(self) -> IPv4Network:
        """The range of floating IPs. Raises: ValueError, when the setting is no network."""
        return IPv4Network(self.provider_cidr)

    @property
    def gateway(self) -> IPv4Address:
        """The host's own address on the provider network, guests' way out."""
        return self.provider[1]


class Disks(Struct, frozen=True, forbid_unknown_fields=True):
    """Where servers' own disks and volumes lie: in files of this host's pool, or with a `pool` in that one of Ceph's RBD.

    cache: QEMU's; `unsafe` loses data with the host's power. user: without `client.`; conf: ceph.conf, with the cluster's fsid, on the same path
    on every node; keyring: a file with the user's key that root alone reads, empty: ceph.client.USER.keyring beside conf. timeout_s: how long the cluster may do nothing.
    """

    cache: Literal["none", "writeback", "directsync", "unsafe"] = "none"
    pool: str = ""
    user: str = "moln-node"
    conf: str = "/etc/ceph/ceph.conf"
    keyring: str = ""
    timeout_s: float = 30.0


class NodeSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """The `[node]` table of moln.toml.

    virt_type: `auto` takes hardware virtualisation where it works.
    disks: where servers' own disks and volumes lie and how QEMU caches them: `{cache}` of none, writeback, directsync and unsafe, which loses data
    with the host's power; `{pool, user, conf, keyring, timeout_s}` keeps them in that pool of Ceph's RBD instead of this host's.
    """

    virt_type: Literal["auto", "kvm", "qemu"] = "auto"
    disks: Disks = Disks()
