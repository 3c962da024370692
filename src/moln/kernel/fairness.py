"""Who may be served when not everybody can: bounds on requests at once, room for the next project, and a rate if the operator sets one.

Without overload nobody is refused. A project may have as many requests at once as there are places left (a dynamic threshold,
Choudhury & Hahne 1998): alone it gets half of all, and one that comes later always finds room. When requests wait for the processor,
those of projects that used more than their share lately are turned away until the wait is short again.
"""

from __future__ import annotations

import math

from moln.kernel.errors import TooManyRequests
from moln.kernel.metrics import Family

PLACES = {"known": 512, "anonymous": 256, "stream": 128}  # requests at once: with a token, without one, and that send a file
LATE_S = 0.5  # seconds that a request waited for its turn, beyond which the loop has too much to do
LONGEST_WAIT_S = 10.0  # seconds, beyond which whoever asks has to come back: clients give up soon
SHARE = 1.25  # of an equal share, that a project may have used under overload
HALVED_S = 1.0  # seconds in which what was used counts for half
MOST_S = 1.0  # seconds that one request may count for: a file that is sent for minutes uses no processor meanwhile
FORGOTTEN_S = 0.001  # seconds of use that are nothing
CALLERS = 10_000  # buckets kept, at most


Place = tuple[str, str]  # its kind, and who holds it


class Fairness:
    """Of one process. rate: requests a second of one project, twice as many in a burst; 0: any number."""

    def __init__(self, rate: float = 0.0, places: dict[str, int] | None = None):
        self._rate = rate
        self._free = dict(places or PLACES)
        self._held: dict[Place, int] = {}
        self._used: dict[str, float] = {}  # seconds of late, by caller
        self._total = 0.0
        self._halve_at = 0.0
        self._buckets: dict[str, tuple[float, float]] = {}  # what is left, and when it was so
        self._took_s = dict.fromkeys(self._free, 0.0)  # seconds that a place is held, as of late: when one is free again
        self.refused = {"rate": 0, "places": 0, "share": 0, "wait": 0}

    def limit(self, rate: float) -> None:
        """Another rate from now on."""
        self._rate = rate

    def enter(self, kind: str, caller: str, now: float, waited: float) -> Place:
        """A place; leave() gives it back. kind: of PLACES. waited: seconds since the request's headers.

        Raises: TooManyRequests, with when to come back.
        """
        if self._rate:
            self._take(caller, now)
        if waited > LATE_S:
            self._refuse_late(caller, waited)
        key = (kind, caller)
        mine, free = self._held.get(key, 0), self._free[kind]
        if mine >= free:
            raise self._refusal("places", self._took_s[kind])
        self._held[key] = mine + 1
        self._free[kind] = free - 1
        return key

    def leave(self, place: Place, now: float, took: float) -> None:
        """took: seconds that the place was held."""
        kind, caller = place
        self._free[kind] += 1
        if (mine := self._held[place] - 1) > 0:
            self._held[place] = mine
        else:
            del self._held[place]
        self._took_s[kind] += 0.1 * (took - self._took_s[kind])
        took = min(took, MOST_S)
        self._used[caller] = self._used.get(caller, 0.0) + took
        self._total += took
        if now >= self._halve_at:
            self._halve(now)

    def _halve(self, now: float) -> None:
        self._halve_at = now + HALVED_S
        self._used = {caller: used / 2 for caller, used in self._used.items() if used > FORGOTTEN_S}
        self._total = sum(self._used.values())
        if len(self._buckets) > CALLERS:
            full = 2 * self._rate
            self._buckets = {c: (left, at) for c, (left, at) in self._buckets.items() if left + (now - at) * self._rate < full}

    def _refuse_late(self, caller: str, waited: float) -> None:
        """Whoever used less than their share is not made to pay for others."""
        if waited > LONGEST_WAIT_S:
            raise self._refusal("wait", waited)
        callers = len(self._used)
        if callers > 1 and self._used.get(caller, 0.0) * callers > self._total * SHARE:
            raise self._refusal("share", waited)

    def _take(self, caller: str, now: float) -> None:
        most = max(1.0, 2 * self._rate)
        left, at = self._buckets.get(caller, (most, now))
        left = min(most, left + (now - at) * self._rate)
        if left < 1.0:
            self._buckets[caller] = (left, now)
            raise self._refusal("rate", (1.0 - left) / self._rate)
        self._buckets[caller] = (left - 1.0, now)

    def _refusal(self, why: str, after_s: float) -> TooManyRequests:
        self.refused[why] += 1
        return TooManyRequests("Too many requests. Try again soon.", retry_after_s=min(60, max(1, math.ceil(after_s))))

    def families(self) -> list[Family]:
        return [
            Family("moln_http_refused_total", "counter", "Requests answered with 429, by why.",
                   [({"why": why}, count) for why, count in self.refused.items()]),
            Family("moln_http_places_free", "gauge", "Requests that could begin now.",
                   [({"kind": kind}, free) for kind, free in self._free.items()]),
        ]  # fmt: skip
