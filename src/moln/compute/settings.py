"""Compute's part of moln.toml."""

from __future__ import annotations

from msgspec import Struct


class ComputeSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """What hosts offer: Nova's own initial ratios and reserves; consoles.

    *_allocation_ratio: how often a unit may be handed out. reserved_*: kept for the host itself.
    zone: the availability zone of hosts that no aggregate puts in another.
    resize_confirm_window_s: after how many seconds a resize confirms itself; 0 leaves it to the server's owner.
    clock_limit_ms: a node whose clock is further off takes no new servers; 0 lets each keep its own time.
    console_token_s: how long a console's address may wait to be opened, in seconds. console_origins: where pages that open consoles may come from besides public_url, such as a dashboard's `https://dashboard.example`.
    """

    cpu_allocation_ratio: float = 4.0
    ram_allocation_ratio: float = 1.0
    disk_allocation_ratio: float = 1.0
    reserved_cpus: int = 0
    reserved_ram_mib: int = 512
    reserved_disk_gib: int = 0
    zone: str = "nova"
    resize_confirm_window_s: int = 0
    clock_limit_ms: int = 500
    console_token_s: int = 600
    console_origins: tuple[str, ...] = ()
