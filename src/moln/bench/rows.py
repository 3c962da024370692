"""A budget and what was measured of it."""

from __future__ import annotations

from msgspec import Struct


class Row(Struct, frozen=True):
    """One line of the table. unit: "x" is a ratio to the bare handler. limit: None, where nothing is asked for, only shown.
    value: None, when it could not be measured; note says why. least: the limit is what it has to reach.
    """

    name: str
    limit: float | None
    unit: str
    value: float | None = None
    note: str = ""
    least: bool = False

    @property
    def met(self) -> bool:
        if self.limit is None:
            return True
        return self.value is not None and (self.value >= self.limit if self.least else self.value <= self.limit)


def table(rows: list[Row]) -> str:
    """The rows as text, a line each."""
    lines = [f"{'operation':<68} {'measured':>12} {'budget':>10}  "]
    for row in rows:
        value = "not measured" if row.value is None else f"{row.value:.2f} {row.unit}" if row.unit else f"{row.value:.0f}"
        verdict = "-" if row.value is None or row.limit is None else "ok" if row.met else "MISSED"
        limit = "-" if row.limit is None else f"{'≥ ' * row.least}{row.limit:g} {row.unit}".rstrip()
        lines.append(f"{row.name:<68} {value:>12} {limit:>10}  {verdict:<7}{row.note}".rstrip())
    return "\n".join(lines)
