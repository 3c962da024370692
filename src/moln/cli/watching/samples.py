"""Prometheus's text format read back (version 0.0.4), as far as kernel/metrics.py writes it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from msgspec import Struct

Labels = dict[str, str]
_LINE = re.compile(r"(?P<name>[a-zA-Z_:][\w:]*)(?:\{(?P<labels>.*)\})? (?P<value>\S+)$")
_LABEL = re.compile(r'([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"')
_ESCAPED = {r"\\": "\\", r"\"": '"', r"\n": "\n"}


class Samples:
    """All samples of one scrape. at: monotonic seconds."""

    def __init__(self, at: float = 0.0, text: str = ""):
        self.at = at
        self._all: dict[str, list[tuple[Labels, float]]] = {}
        for line in text.splitlines():
            if found := _LINE.match(line):
                labels = {k: re.sub(r"\\.", lambda m: _ESCAPED.get(m[0], m[0]), v) for k, v in _LABEL.findall(found["labels"] or "")}
                self._all.setdefault(found["name"], []).append((labels, float(found["value"])))

    def each(self, name: str) -> Iterator[tuple[Labels, float]]:
        """(labels, value) of every sample of a name."""
        yield from self._all.get(name, ())

    def total(self, name: str, good: Callable[[Labels], bool] = lambda labels: True) -> float:
        """The sum over the samples whose labels are `good`."""
        return sum(value for labels, value in self.each(name) if good(labels))

    def by(self, name: str, label: str) -> dict[str, float]:
        """Sums by one label."""
        sums: dict[str, float] = {}
        for labels, value in self.each(name):
            key = labels.get(label, "")
            sums[key] = sums.get(key, 0.0) + value
        return sums


class Buckets(Struct):
    """A histogram's counts at or below each bound."""

    below: dict[float, float]

    @classmethod
    def of(cls, samples: Samples, name: str, good: Callable[[Labels], bool] = lambda labels: True) -> Buckets:
        below: dict[float, float] = {}
        for labels, value in samples.each(f"{name}_bucket"):
            if good(labels):
                bound = float(labels["le"])
                below[bound] = below.get(bound, 0.0) + value
        return cls(below)

    def since(self, before: Buckets) -> Buckets:
        """What came after `before`."""
        return Buckets({bound: count - before.below.get(bound, 0.0) for bound, count in self.below.items()})

    @property
    def count(self) -> float:
        return max(self.below.values(), default=0.0)

    def quantile(self, share: float) -> float | None:
        """The value that `share` of all lie below, straight between two bounds; infinite beyond the last; None: there are no values."""
        wanted, lower, before = share * self.count, 0.0, 0.0
        if not self.count:
            return None
        for bound in sorted(self.below):
            if (reached := self.below[bound]) >= wanted and reached > before:
                return lower + (bound - lower) * (wanted - before) / (reached - before) if bound != float("inf") else bound
            lower, before = bound, reached
        return None
