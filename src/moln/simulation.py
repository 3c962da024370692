"""`--simulate`: nodes inside the controller's process, with fake drivers behind the same frames. No root, no VM, no OVN."""

from __future__ import annotations

from moln.compute.drivers.base import ComputeDriver
from moln.compute.drivers.fake import FakeCompute
from moln.kernel.clock import Clock
from moln.kernel.cloud import Cloud
from moln.kernel.link import InProcessLinks, MemoryFences, Verbs
from moln.kernel.link.frames import pack
from moln.volume.drivers.base import VolumeDriver
from moln.volume.drivers.fake import FakeVolumes


def simulated_links(clock: Clock) -> InProcessLinks:
    return InProcessLinks(clock.now_us)
