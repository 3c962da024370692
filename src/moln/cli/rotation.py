"""`moln certificates rotate`: the steps of kernel/nodes/rotation.py, with what only root can do between them: engines read their certificates anew."""

from __future__ import annotations

import argparse
import os
import time
from typing import Any

from moln.cli import admin
from moln.host import rereading, roles
from moln.host.places import Places
from moln.host.run import HostError

WAIT_S, LOOK_S = 120.0, 0.5
NAMED = 10  # members in a line


def rotate(args: argparse.Namespace) -> int:
    """Status 0: what was asked for is done. 1: somebody is still on the old authority."""
    places = Places(args.home)
    if args.status:
        return tell(admin.ask(places, "authority"))
    if places.host.exists() and os.geteuid() != 0:
        raise HostError("Only root can have engines read their certificates anew.")
    found = begin(places)
    if not args.end:
        return tell(found)
    if args.force or not late(found):
        finish(places, force=args.force)
        return 0
    return tell(found)


def begin(places: Places, *, alone: bool = False) -> dict[str, Any]:
    """Everybody who can be reached trusts both and has another certificate, or WAIT_S are over. alone: whatever other controllers trust."""
    machine = roles.read(places)
    admin.ask(places, "authority", method="POST", do="begin", timeout_s=WAIT_S)
    rereading.reread(places, machine, dropped=False)
    found: dict[str, Any] = admin.ask(places, "authority", method="POST", do="go", timeout_s=WAIT_S)
    if alone:
        found = admin.ask(places, "authority", method="POST", do="alone", timeout_s=WAIT_S)
    ends = time.monotonic() + WAIT_S
    while set(found["old"]) - set(found["untold"]) and (alone or not found["untold"]) and time.monotonic() < ends:
        time.sleep(LOOK_S)  # nodes make a key, ask for a certificate, and are given it
        found = admin.ask(places, "authority")
    return found


def finish(places: Places, *, force: bool) -> None:
    """Here, then at the engines, then at nodes: whoever comes back meanwhile finds servers that it trusts."""
    found = admin.ask(places, "authority", method="POST", do="finish", force=str(force).lower(), timeout_s=WAIT_S)
    rereading.reread(places, roles.read(places), dropped=True)
    if missed := admin.ask(places, "authority", method="POST", do="spread", timeout_s=WAIT_S)["missed"]:
        print(f"Not told yet, and hear it when they come back: {', '.join(missed)}")
    print(f"The authority {found['after'][:16]}… alone counts. Who uses the APIs from elsewhere needs tls/ca.crt anew, and join tokens that were not used are "
          "worth nothing.")  # fmt: skip


def late(found: dict[str, Any]) -> list[str]:
    return sorted({*found["untold"], *found["old"], *found["away"]})


def named(names: list[str]) -> str:
    return f"{', '.join(names[:NAMED])}{' …' if names[NAMED:] else ''}"


def tell(found: dict[str, Any]) -> int:
    if not found["step"]:
        print(f"There is one authority, {found['before'][:16]}….")
        return 0
    print(f"Two authorities count: {found['before'][:16]}…, and {found['after'][:16]}… in its place.")
    for what, names in (("Do not trust the new one yet", found["untold"]), ("On the old one", found["old"]), ("Away", found["away"])):
        if names:
            print(f"{what}: {named(names)}.")
    if found["untold"]:
        print(f"On each of {named(found['untold'])}, with a token each of `moln controller token`: moln controller join URL --token … --again")
    print("Give tls/ca.crt to whoever uses the APIs from elsewhere; it has both. Then: moln certificates rotate --end")
    return 1 if late(found) else 0
