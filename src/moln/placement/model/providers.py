"""Who has resources: providers in trees, what they have, what of it is taken."""

from __future__ import annotations

import math

from msgspec import Struct

MAX_INT = 2**31 - 1  # Placement's database constants
MICRO = 1_000_000


class Provider(Struct, frozen=True):
    """Something that has resources (placement api-ref, "Resource providers"). Times: µs UTC.

    generation: raised by each change of what it has, is or gave; a writer names the one it read. root_id: of its tree, itself for a root.
    """

    id: str
    name: str
    generation: int
    root_id: str
    parent_id: str | None
    created_at: int
    updated_at: int


class Amounts(Struct, frozen=True, kw_only=True):
    """How much of one resource class a provider has, and how it may be handed out."""

    total: int
    reserved: int = 0
    min_unit: int = 1
    max_unit: int = MAX_INT
    step_size: int = 1
    allocation_ratio: float = 1.0

    @property
    def capacity(self) -> int:
        """The most that may be allocated."""
        return math.floor(min((self.total - self.reserved) * self.allocation_ratio, 2**62))


class Inventory(Struct, frozen=True):
    """A row of what a provider has. capacity: see Amounts; used: the sum of its allocations, kept by whoever allocates.

    ratio_micro: the allocation ratio, in millionths.
    """

    provider_id: str
    resource_class: str
    total: int
    reserved: int
    min_unit: int
    max_unit: int
    step_size: int
    ratio_micro: int
    capacity: int
    used: int
    updated_at: int

    @property
    def amounts(self) -> Amounts:
        return Amounts(
            total=self.total, reserved=self.reserved, min_unit=self.min_unit, max_unit=self.max_unit,
            step_size=self.step_size, allocation_ratio=self.ratio_micro / MICRO,
        )  # fmt: skip

    @property
    def free(self) -> int:
        """What can still be allocated; below 0, when the inventory shrank under its allocations."""
        return self.capacity - self.used

    def fits(self, amount: int) -> bool:
        """Whether `amount` more can be allocated at once."""
        return self.used + amount <= self.capacity and self.allows(amount)

    def allows(self, amount: int) -> bool:
        return self.min_unit <= amount <= self.max_unit and amount % self.step_size == 0
