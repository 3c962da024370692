"""osc-placement, unmodified: an operator looks into the ledger, and changes it, by the command line."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from tests.clients.conftest import Running

VERSION = ("--os-placement-api-version", "1.39")


def test_an_operator_keeps_the_ledger_by_hand(running: Running) -> None:
    pytest.importorskip("osc_placement")

    def openstack(*arguments: str, silent: bool = False) -> Any:
        return running.openstack(*arguments, *VERSION, silent=silent or "delete" in arguments)

    host, numa, aggregate, consumer = (str(uuid.uuid4()) for _ in range(4))
    made = openstack("resource", "provider", "create", "osc-host", "--uuid", host)
    assert (made["uuid"], made["name"], made["generation"]) == (host, "osc-host", 0)
    openstack("resource", "provider", "create", "osc-numa", "--uuid", numa, "--parent-provider", host)
    assert {p["name"] for p in openstack("resource", "provider", "list", "--in-tree", host)} == {"osc-host", "osc-numa"}
    set_ = openstack("resource", "provider", "inventory", "set", numa, "--resource", "VCPU=8", "--resource", "VCPU:allocation_ratio=2.0", "--resource", "MEMORY_MB=1024")
    assert {i["resource_class"]: i["total"] for i in set_} == {"VCPU": 8, "MEMORY_MB": 1024}
    openstack("resource", "class", "create", "CUSTOM_OSC_CARD", silent=True)
    openstack("trait", "create", "CUSTOM_OSC_FAST", silent=True)
    openstack("resource", "provider", "trait", "set", numa, "--trait", "CUSTOM_OSC_FAST", "--trait", "HW_CPU_X86_AVX2")
    assert {t["name"] for t in openstack("resource", "provider", "trait", "list", numa)} == {"CUSTOM_OSC_FAST", "HW_CPU_X86_AVX2"}
    generation = str(openstack("resource", "provider", "show", host)["generation"])
    assert openstack("resource", "provider", "aggregate", "set", host, "--aggregate", aggregate, "--generation", generation)[0]["uuid"] == aggregate
    found = openstack("allocation", "candidate", "list", "--resource", "VCPU=4", "--required", "CUSTOM_OSC_FAST", "--member-of", aggregate)
    assert [c["resource provider"] for c in found] == [numa]
    project, user = str(uuid.uuid4()), str(uuid.uuid4())
    held = openstack(
        "resource", "provider", "allocation", "set", consumer, "--allocation", f"rp={numa},VCPU=4,MEMORY_MB=100", "--project-id", project, "--user-id", user, "--consumer-type", "INSTANCE"
    )  # fmt: skip
    assert held[0]["resources"] == {"VCPU": 4, "MEMORY_MB": 100}
    used = {u["resource_class"]: u["usage"] for u in openstack("resource", "provider", "usage", "show", numa)}
    assert used == {"VCPU": 4, "MEMORY_MB": 100}
    by_type = openstack("resource", "usage", "show", project)
    assert {u["resource_class"]: u["usage"] for u in by_type} == {"INSTANCE": used | {"consumer_count": 1}}
    assert openstack("resource", "provider", "show", numa, "--allocations")["allocations"][consumer]["resources"] == used
    openstack("resource", "provider", "allocation", "delete", consumer)
    assert not openstack("resource", "provider", "allocation", "show", consumer)
    for provider in (numa, host):
        openstack("resource", "provider", "delete", provider)
    openstack("trait", "delete", "CUSTOM_OSC_FAST")
    openstack("resource", "class", "delete", "CUSTOM_OSC_CARD")
    assert "CUSTOM_OSC_CARD" not in {c["name"] for c in openstack("resource", "class", "list")}
