"""Address groups: addresses that security group rules name together (network v2.0 api-ref, "Address groups")."""

from __future__ import annotations

from msgspec import Struct


class AddressGroup(Struct, frozen=True, kw_only=True):
    """addresses: CIDRs of both IP versions, without host bits."""

    id: str
    project_id: str
    name: str = ""
    description: str = ""
    addresses: tuple[str, ...] = ()
    shared_with: tuple[str, ...] = ()
    created_at: int = 0
    updated_at: int = 0
    revision_number: int = 1

    def of_version(self, version: int) -> tuple[str, ...]:
        """Those of one IP version."""
        return tuple(a for a in self.addresses if (":" in a) == (version == 6))
