"""Where a new server may go: pure functions over the hosts in memory, and why not elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from msgspec import Struct

from moln.compute.model.server_groups import Companions

RUNS = {"x86_64": ("x86_64", "i686")}  # the architectures whose guests a host of one can run, where that is more than itself
SAMPLE = 32  # hosts looked at, while enough of them fit


class Wanted(Struct, frozen=True):
    """What a server needs of its host. disk_gib: on the host itself, volumes not counted. host: only this one.

    arch, hypervisor: as the image asks, in our words. required, forbidden: traits. exclude: hosts not to use;
    cut_off: those that do not reach its networks; out_of_reach: those that do not reach its volumes. near: those where its volumes lie, taken before
    others.
    more: amounts of further resource classes.
    group: the servers of its group. same_as: hosts of the servers to be beside. The caller resolves the hints same_host and (to exclude) different_host.
    """

    vcpus: int
    ram_mib: int
    disk_gib: int
    availability_zone: str | None = None
    host: str | None = None
    arch: str | None = None
    hypervisor: str | None = None
    more: dict[str, int] = {}
    required: frozenset[str] = frozenset()
    forbidden: frozenset[str] = frozenset()
    exclude: frozenset[str] = frozenset()
    cut_off: frozenset[str] = frozenset()
    out_of_reach: frozenset[str] = frozenset()
    near: frozenset[str] = frozenset()
    same_as: frozenset[str] = frozenset()
    group: Companions | None = None


class Host(Struct):
    """A host in memory. id: its hypervisor's and provider's. free_*: what can still be claimed; max_vcpus: by one server.

    promised_mib: memory that servers being made may claim; only the order of hosts heeds it. hypervisors: what it can be asked for as.
    free_more: free amounts of other resource classes. astray: how its clock is off by more than is allowed; empty: it is not.
    maintenance: somebody works on it. shared_disks: where servers' own disks lie, as HostFacts says.
    """

    name: str
    id: str
    zone: str
    up: bool = False
    disabled: bool = False
    arch: str = ""
    hypervisors: frozenset[str] = frozenset()
    traits: frozenset[str] = frozenset()
    free_vcpus: int = 0
    free_ram_mib: int = 0
    free_disk_gib: int = 0
    max_vcpus: int = 0
    max_ram_mib: int = 0
    max_disk_gib: int = 0
    promised_mib: int = 0
    free_more: dict[str, int] = {}
    astray: str = ""
    maintenance: bool = False
    shared_disks: str = ""


class Refusal(Struct, frozen=True):
    """Why a host was not taken. kind: the same for the same cause; detail: with this host's numbers; best: how near it came."""

    kind: str
    detail: str
    best: int = 0


class Choice(Struct, frozen=True):
    """hosts: those that fit, the best first. refusals: by host name, when none fits. looked_at: how many hosts there are.

    by_provider: finds a host for the case that all of `hosts` are filled meanwhile.
    """

    hosts: tuple[Host, ...]
    refusals: dict[str, Refusal] = {}
    looked_at: int = 0
    by_provider: Callable[[str], Host | None] | None = None

    def no_valid_host(self) -> str:
        """The fault's text."""
        if not self.looked_at:
            return "No valid host was found. There are no hosts."
        if not self.refusals:
            return f"No valid host was found. {_hosts(self.looked_at)} looked at: all that had room were filled meanwhile"
        groups: dict[str, list[Refusal]] = {}
        for refusal in self.refusals.values():
            groups.setdefault(refusal.kind, []).append(refusal)
        parts = []
        for kind, members in sorted(groups.items(), key=lambda g: -len(g[1])):
            nearest = max(members, key=lambda r: r.best)
            text = _plural(kind, len(members))
            parts.append(f"{len(members)} {text}{nearest.detail and f' ({nearest.detail})'}")
        return f"No valid host was found. {_hosts(self.looked_at)} looked at: {', '.join(parts)}"


def _hosts(n: int) -> str:
    return f"{n} host" if n == 1 else f"{n} hosts"


def _plural(kind: str, n: int) -> str:
    if n == 1:
        return kind
    for one, many in (("is ", "are "), ("lacks ", "lack "), ("was ", "were "), ("has ", "have "), ("runs ", "run "), ("does ", "do ")):
        if kind.startswith(one):
            return many + kind[len(one):]
    return kind


def fits(host: Host, wanted: Wanted) -> bool:
    """Whether a server may go there, as far as memory knows."""
    return _has_room(host, wanted) and (not _special(wanted) or _suits(host, wanted))


def _has_room(host: Host, wanted: Wanted) -> bool:
    return (
        wanted.vcpus <= host.free_vcpus and wanted.ram_mib <= host.free_ram_mib and wanted.disk_gib <= host.free_disk_gib
        and wanted.vcpus <= host.max_vcpus and host.up and not host.disabled and not host.astray
        and (wanted.availability_zone is None or wanted.availability_zone == host.zone)
    )  # fmt: skip


def _special(wanted: Wanted) -> bool:
    w = wanted
    return bool(w.arch or w.hypervisor or w.required or w.forbidden or w.exclude or w.cut_off or w.out_of_reach or w.same_as or w.host or w.more or w.group)


def _suits(host: Host, wanted: Wanted) -> bool:
    return why_not_suited(host, wanted) is None


def why_not_suited(host: Host, wanted: Wanted) -> Refusal | None:
    """The rarer conditions."""
    if wanted.host is not None and host.name != wanted.host:
        return Refusal("is not the host asked for", "")
    if host.name in wanted.exclude:
        return Refusal("was tried already or is excluded", "")
    if host.name in wanted.cut_off:
        return Refusal("does not reach a network asked for", "")
    if host.name in wanted.out_of_reach:
        return Refusal("does not reach a volume of the server", "")
    if wanted.same_as and host.name not in wanted.same_as:
        return Refusal("does not run the server to be beside", "")
    if wanted.group is not None and (apart := wanted.group.why_not(host.name)) is not None:
        return Refusal(*apart)
    if wanted.arch and wanted.arch not in RUNS.get(host.arch, (host.arch,)):
        return Refusal("has another architecture", f"needs {wanted.arch}, has {host.arch}")
    if wanted.hypervisor and wanted.hypervisor not in host.hypervisors:
        return Refusal("runs another hypervisor", f"needs {wanted.hypervisor}, runs {' and '.join(sorted(host.hypervisors))}")
    if missing := wanted.required - host.traits:
        return Refusal("lacks traits", ", ".join(sorted(missing)), -len(missing))
    if has := wanted.forbidden & host.traits:
        return Refusal("has forbidden traits", ", ".join(sorted(has)), -len(has))
    for name, needs in wanted.more.items():
        if needs > (free := host.free_more.get(name, 0)):
            return Refusal(f"lacks {name}", f"needs {needs}, {max(free, 0)} free", free)
    return None


def explain(host: Host, wanted: Wanted) -> Refusal | None:
    """Why a server may not go there; None, when it may. The same conditions as `fits`, the most telling first."""
    if (unsuited := why_not_suited(host, wanted)) is not None:
        return unsuited
    if wanted.availability_zone is not None and wanted.availability_zone != host.zone:
        return Refusal("is in another availability zone", f"needs {wanted.availability_zone}, is in {host.zone}")
    if host.disabled:
        return Refusal("is disabled", "")
    if not host.up:
        return Refusal("is down", "")
    if host.astray:
        return Refusal("has a clock that is off", host.astray)
    for what, unit, needs, free, most in (
        ("memory", " MiB", wanted.ram_mib, host.free_ram_mib, host.max_ram_mib),
        ("vCPUs", "", wanted.vcpus, host.free_vcpus, host.max_vcpus),
        ("disk", " GiB", wanted.disk_gib, host.free_disk_gib, host.max_disk_gib),
    ):
        if needs > free:
            return Refusal(f"lacks {what}", f"needs {needs}{unit}, {max(free, 0)} free", free)
        if needs > most:
            return Refusal(f"has too few {what} for one server" if what == "vCPUs" else f"has too little {what} for one server",
                           f"needs {needs}{unit}, has {most}", most)  # fmt: skip
    return None


def choose(pool: Sequence[Host], wanted: Wanted, luck: int) -> list[Host]:
    """Hosts of the pool that fit, the best first: a sample of a large pool, all of it when the sample has none.

    luck: a random number; it decides which hosts are looked at, and between equals.
    """
    count = len(pool)
    if count <= SAMPLE or wanted.group is not None:  # the group's own hosts must be among those looked at
        at = luck % count if count else 0
        found = best_first([h for h in (*pool[at:], *pool[:at]) if fits(h, wanted)])
        if wanted.group is not None:
            rank = wanted.group.rank
            found = sorted(found, key=lambda h: rank(h.name))
        return found
    step = 1 + (luck >> 20) % (count - 1)
    seen = dict.fromkeys((luck + i * step) % count for i in range(SAMPLE))
    suits = fits if _special(wanted) else _has_room
    found = [pool[i] for i in seen if suits(pool[i], wanted)]
    if not found:
        found = [h for h in pool if fits(h, wanted)][:SAMPLE]
    return best_first(found)


def best_first(hosts: list[Host]) -> list[Host]:
    """By free memory, vCPUs and disk, each on a scale from the worst to the best of them (Nova's default weighers)."""
    if len(hosts) < 2:
        return hosts
    rams = [h.free_ram_mib - h.promised_mib for h in hosts]
    cpus = [h.free_vcpus for h in hosts]
    disks = [h.free_disk_gib for h in hosts]
    scores = [0.0] * len(hosts)
    for values in (rams, cpus, disks):
        low = min(values)
        span = max(values) - low
        if span:
            scores = [score + (value - low) / span for score, value in zip(scores, values, strict=True)]
    order = sorted(range(len(hosts)), key=scores.__getitem__, reverse=True)
    return [hosts[i] for i in order]


def refusals(hosts: Iterable[Host], wanted: Wanted) -> dict[str, Refusal]:
    """Why not, by host name."""
    return {h.name: why for h in hosts if (why := explain(h, wanted)) is not None}
