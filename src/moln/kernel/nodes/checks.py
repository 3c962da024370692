"""What `moln doctor` and `/metrics` say of nodes on other machines."""

from __future__ import annotations

from moln.kernel.clock import iso
from moln.kernel.cloud import Cloud
from moln.kernel.http.certificates import LATE_DAYS
from moln.kernel.link.nats import NatsLinks
from moln.kernel.metrics import Family
from moln.kernel.module import Invariant, Violation
from moln.kernel.nodes.membership import Membership

ENDS_SOON_US = LATE_DAYS * 24 * 3600 * 1_000_000


def invariants(links: NatsLinks, membership: Membership) -> list[Invariant]:
    async def nats_is_there(cloud: Cloud) -> list[Violation]:
        mend = "Start nats-server (its log says why it does not run), and see that [link] nats names where it is."
        return [Violation(f"NATS cannot be reached: {links.trouble}. Nodes on other machines cannot be told anything.", mend)] if links.trouble else []

    async def the_removed_are_refused(cloud: Cloud) -> list[Violation]:
        if not membership.stale or not membership.revoked():
            return []
        return [Violation("NATS does not know of every node that was removed.", "It is told within a minute of being reached; until then keep them off.")]

    async def certificates_last(cloud: Cloud) -> list[Violation]:
        now = cloud.clock.now_us()
        return [
            Violation(f"The certificate of node {of.node} ends at {iso(of.expires_at)} and was not renewed.",
                      f"Start the node, which renews it; after that time: moln node remove {of.node}, and join anew.")
            for of in membership.members if of.expires_at < now + ENDS_SOON_US
        ]  # fmt: skip

    return [Invariant("nats-is-there", nats_is_there), Invariant("removed-nodes-are-refused", the_removed_are_refused),
            Invariant("nodes-certificates-last", certificates_last)]  # fmt: skip


def families(links: NatsLinks, membership: Membership) -> list[Family]:
    return [
        Family("moln_nats_connected", "gauge", "Whether this controller is connected to NATS.", [({}, int(not links.trouble))]),
        Family("moln_nodes_joined", "gauge", "Nodes of other machines that belong to the cloud.", [({}, len(membership.members))]),
    ]
