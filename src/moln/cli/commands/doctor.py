"""Judge the host, then the cloud: what is wrong, and how to mend it."""

from __future__ import annotations

import argparse
import json
import socket
import ssl
import time
from typing import Any
from urllib.parse import urlsplit

import msgspec

from moln.cli import admin
from moln.host import chrony, control, roles
from moln.host.checks import HOST_CHECKS, Finding
from moln.host.places import Places

HELP = "check the host and the cloud, and say how to mend them"
SOON_DAYS = 14
MORE = "with three controllers any one may go: moln controller token here, moln controller join on another machine"
AWAY = "start what is there; if it is gone for good, write another public_url into moln.toml (of each controller), then: moln down && moln up"
SIGNS = {"ok": "✓", "note": "·", "bad": "✗"}


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="for programs")


def run(args: argparse.Namespace) -> int:
    """Status 0: nothing is bad; notes are allowed."""
    places = Places(args.home)
    findings = [check(places) for check in HOST_CHECKS] + engines(places) + certificate(places) + cloud(places)
    if args.json:
        print(json.dumps(msgspec.to_builtins(findings)))
    else:
        for finding in findings:
            print(f"{SIGNS[finding.level]} {finding.name}: {finding.text}")
            if finding.mend:
                print(f"    mend: {finding.mend}")
    return 1 if any(f.level == "bad" for f in findings) else 0


def engines(places: Places) -> list[Finding]:
    """Whether each engine runs. A cloud that is down is no fault."""
    try:
        state = control.status(places)
    except control.NotRunning:
        return [Finding("engines", "note", "the cloud is down", "moln up")]
    bad = [Finding(e["name"], "bad", f"{e['state']} {e['reason']}", f"moln logs {e['name']}")
           for e in state["engines"] if e["state"] != "ready"]
    return bad or [Finding("engines", "ok", f"all {len(state['engines'])} run")]


def certificate(places: Places) -> list[Finding]:
    """A handshake as a client makes it; nothing, where the cloud is down or serves no https."""
    try:
        answer = admin.ask(places, "status", timeout_s=10)
    except (control.NotRunning, OSError):
        return []
    at = urlsplit(answer["public_url"])
    if at.scheme != "https":
        return []
    mend = "renew tls_certificate, or correct tls_ca or public_url in moln.toml; see docs/operations.md"
    try:
        context = ssl.create_default_context(cafile=answer["cacert"] or None)
        with socket.create_connection((at.hostname, at.port or 443), timeout=10) as plain:
            with context.wrap_socket(plain, server_hostname=at.hostname) as tls:
                shown = tls.getpeercert() or {}
    except ssl.SSLError as error:
        return [Finding("certificate", "bad", f"{answer['public_url']} is not trusted: {error}", mend)]
    except OSError as error:
        return [Finding("certificate", "bad", f"clients are told {answer['public_url']}, where nobody answers: {error}", AWAY)]
    days = (ssl.cert_time_to_seconds(str(shown["notAfter"])) - time.time()) / 86400
    if days < SOON_DAYS:
        return [Finding("certificate", "bad", f"ends in {days:.0f} days", mend)]
    return [Finding("certificate", "ok", f"is trusted for {days:.0f} more days")]


def clocks(places: Places) -> list[Finding]:
    """How far off the nodes say that they are; a node that is off by more than the limit is the invariant's to name."""
    if not chrony.keeps_time(roles.read(places)):
        return []  # the only machine's is judged already (HOST_CHECKS)
    hosts = [host for host in admin.ask(places, "status", timeout_s=10)["hosts"] if host["up"]]
    told = {host["name"]: host["clock_off_ms"] for host in hosts if host["clock_off_ms"] is not None}
    if len(told) < len(hosts):
        silent = ", ".join(sorted(host["name"] for host in hosts if host["name"] not in told)[:8])
        return [Finding("nodes' clocks", "note", f"not told by {silent}", "who was just started tells within a minute; else install chrony there, then there: moln up")]
    worst = max(told, key=lambda name: float(told[name]), default="")
    return [Finding("nodes' clocks", "ok", f"all within {told[worst]:.3f} ms (the furthest: {worst})")] if worst else []


def clusters(standings: list[dict[str, Any]]) -> list[Finding]:
    """Members of engines that are on several controllers; those that are down are the invariant's to name."""
    return [Finding(found["name"], "ok" if found["spare"] > 0 else "note", found["text"], "" if found["spare"] > 0 else MORE) for found in standings]


def cloud(places: Places) -> list[Finding]:
    """The areas' invariants (Module.invariants), judged by the controller."""
    if not places.admin_socket.exists():
        return []
    try:
        answer = admin.ask(places, "doctor", timeout_s=120)
    except (control.NotRunning, PermissionError) as error:
        return [Finding("cloud", "bad", str(error), "moln logs controller")]
    broken = {v["invariant"] for v in answer["violations"]}
    return clocks(places) + clusters(answer["clusters"]) + [Finding(v["invariant"], "bad", v["message"], v["mend"]) for v in answer["violations"]] + [
        Finding(name, "ok", "holds") for name in answer["checked"] if name not in broken]
