"""`moln controller remove NAME --stolen`: whoever has that machine's disk knows every key of the cloud. All that are the cloud's own become others."""

from __future__ import annotations

import argparse
import os
import time
from typing import Any

from moln.cli import admin, rotation
from moln.cli.progress import Progress
from moln.host import rereading, roles
from moln.host.control import NotRunning
from moln.host.places import Places
from moln.host.roles import Machine
from moln.host.run import HostError

WAIT_S, LOOK_S = 120.0, 1.0
NAMED = 10


def remove(args: argparse.Namespace) -> int:
    """May be asked for again, whatever it died of. Raises: HostError, NotRunning, TimeoutError."""
    places, steps = Places(args.home), Progress()
    if os.geteuid() != 0:
        raise HostError("Only root can begin engines anew.")
    machine = roles.read(places)
    check(places, machine, args.name)
    url = forget(places, args.name)
    with steps("Another authority, which every node trusts"):
        found = rotation.begin(places, alone=True)
    with steps("Other keys of tokens, of what is kept sealed, of NATS"):
        changed = admin.ask(places, "stolen", method="POST", timeout_s=WAIT_S)
        steps.note(f"{changed['sealed']} credentials and options are sealed anew")
    with steps("The old authority counts no more"):
        found = admin.ask(places, "authority", method="POST", do="finish", force="true", timeout_s=WAIT_S) | {"away": found["away"], "old": found["old"]}
    with steps("Engines and controller anew, so that nobody stays connected"):
        rereading.reread(places, machine, dropped=True, anew=True)
        rereading.begin_anew(places, ["controller"])
        missed = spread(places)
        admin.ask(places, "stolen", method="DELETE")
    tell_of_url(places, url)
    tell(places, args.name, sorted({*found["old"], *found["away"], *changed["missed"], *missed} - {args.name}))
    return 0


def check(places: Places, machine: Machine, name: str) -> None:
    """Whether the database goes on when engines here trust the new authority alone: a member of etcd that others do not reach is no majority, without one
    Patroni has PostgreSQL take no writes, and without those there is no token with which the others could take the new keys.

    Raises: HostError, with what to type; NotRunning.
    """
    others = [found["name"] for found in admin.ask(places, "controllers") if not found["here"] and found["name"] != name]
    if not others or not machine.postgresql or "etcd" not in machine.clusters:
        return
    at = (admin.ask(places, "status")["database"] or {}).get("primary", "")
    if at != machine.called:
        raise HostError(f"PostgreSQL at {at or 'no controller'} takes writes: do this there, as the others' databases are purged for it; or have it move here (patronictl switchover).")
    named, removed = ", ".join(others), "; ".join(f"moln controller remove {each}" for each in (name, *others))
    raise HostError(f"Nothing was changed: the database would take no writes, as it needs more than half of etcd's members, and {named} would not have the new keys. While those "
                    f"run, type here, in this order: {removed}. Then, on {named}: moln down --purge. Then the same again here; and have them join anew, by tokens made after it.")  # fmt: skip


def forget(places: Places, name: str) -> str:
    """Where it is known still. Where its APIs were; empty: it was forgotten before. Raises: NotRunning."""
    url: str = next((found["url"] for found in admin.ask(places, "controllers") if found["name"] == name), "")
    if url:
        admin.ask(places, "controllers", name, method="DELETE")
    return url


def tell_of_url(places: Places, url: str) -> None:
    """url: of a controller that is gone. The first one's is what clients are told, where nobody wrote another."""
    if url and url == admin.ask(places, "status")["public_url"]:
        print(f"Clients are told {url} still, which was its address: write another public_url into moln.toml of each controller, then on each: moln down && moln up")


def spread(places: Places) -> list[str]:
    """Until every node that comes back within WAIT_S trusts the new authority alone. Those that did not."""
    ends, late = time.monotonic() + WAIT_S, ["?"]
    while late and time.monotonic() < ends:
        try:
            nodes = {node["name"]: node["up"] for node in admin.ask(places, "nodes") if "certificate" in node}
            missed = admin.ask(places, "authority", method="POST", do="spread", timeout_s=WAIT_S)["missed"]
            late = sorted({*missed, *(name for name, up in nodes.items() if not up)})
        except NotRunning:
            pass  # it has just begun
        if late:
            time.sleep(LOOK_S)  # nodes find NATS again by themselves
    return late


def tell(places: Places, name: str, cut_off: list[str]) -> None:
    controllers = admin.ask(places, "controllers")
    others = [found["name"] for found in controllers if not found["here"]]
    cut_off = [each for each in cut_off if each not in {found["name"] for found in controllers}]
    print(f"Controller {name} is forgotten, and what it knew opens nothing of the cloud's own any more: authorities, certificates, NATS's keys, keys of tokens "
          "(everybody signs in again), keys of what is kept sealed.")  # fmt: skip
    if cut_off:
        print(f"Cut off, as they were not reached in time: {', '.join(cut_off[:NAMED])}{' …' if cut_off[NAMED:] else ''}. For each: moln node remove NAME "
              "--force, and join anew.")  # fmt: skip
    for other in others:
        print(f"Controller {other} is cut off, until there: moln controller join URL --token … --again   (a token: moln controller token)")
    print("Yours to change:")
    left: list[Any] = admin.ask(places, "stolen")
    for line in left:
        print(f"- {line}")
    print("Give tls/ca.crt again to whoever uses the APIs from elsewhere; consumers of notifications need other files: moln controller consumer.")
