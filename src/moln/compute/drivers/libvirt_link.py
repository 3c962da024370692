"""One connection to libvirtd that mends itself; calls run in a few threads, each under a deadline.

libvirt-python blocks; keepalive ends calls to a daemon that no longer answers. Losing the daemon loses no guest.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import libvirt

from moln.kernel.errors import BackendRefused, BackendUnreachable
from moln.kernel.tracing import Tracer

R = TypeVar("R")
log = logging.getLogger(__name__)

AT_ONCE = 4
CALL_S = 60.0
KEEPALIVE = (5, 3)  # seconds between two, lost ones until the connection counts as broken
RETRY_S = (0.2, 0.5, 1.0, 2.0)

UNREACHABLE = {
    libvirt.VIR_ERR_NO_CONNECT,
    libvirt.VIR_ERR_INVALID_CONN,
    libvirt.VIR_ERR_SYSTEM_ERROR,
    libvirt.VIR_ERR_RPC,
    libvirt.VIR_ERR_OPERATION_TIMEOUT,
    libvirt.VIR_ERR_AGENT_UNRESPONSIVE,
    libvirt.VIR_ERR_INTERNAL_ERROR,  # "client socket is closed", "End of file while reading data"
}

_events_once = threading.Lock()
_events_running = False


def run_event_loop() -> None:
    """libvirt's own event loop, once per process, in a thread of its own: keepalive and events need it."""
    global _events_running
    with _events_once:
        if _events_running:
            return
        libvirt.virEventRegisterDefaultImpl()
        libvirt.registerErrorHandler(lambda _context, _error: None, None)  # errors arrive as exceptions; stderr stays quiet

        def turn() -> None:
            while True:
                libvirt.virEventRunDefaultImpl()

        threading.Thread(target=turn, name="libvirt-events", daemon=True).start()
        _events_running = True


class LibvirtLink:
    """call() runs a function with the open connection. on_event(server domain name); on_connected(): both in the asyncio loop."""

    def __init__(
        self, uri: str, on_event: Callable[[str], None], on_connected: Callable[[], None], call_s: float = CALL_S
    ) -> None:
        self.uri = uri
        self.on_event = on_event
        self.on_connected = on_connected
        self.call_s = call_s
        self.threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="libvirt")
        self.connection: libvirt.virConnect | None = None
        self.broken = asyncio.Event()
        self.opened = asyncio.Event()
        self.keeper: asyncio.Task[None] | None = None
        self.waiting = 0
        self.tracer: Tracer | None = None
        self.moved_at = 0.0  # loop time of the last answer, or of the moment when all threads became busy

    async def start(self) -> None:
        run_event_loop()
        self.keeper = asyncio.create_task(self.keep(), name="libvirt-connection")

    async def stop(self) -> None:
        if self.keeper:
            self.keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self.keeper
        if self.connection:
            with contextlib.suppress(libvirt.libvirtError):
                self.connection.close()
            self.connection = None
        self.threads.shutdown(wait=False, cancel_futures=True)

    async def keep(self) -> None:
        """Open, watch, open again."""
        attempt = 0
        while True:
            self.broken.clear()
            try:
                self.connection = await self.in_thread(self.open)
            except libvirt.libvirtError as error:
                if attempt == 0:
                    log.warning("libvirt does not answer: %s", error)
                await asyncio.sleep(RETRY_S[min(attempt, len(RETRY_S) - 1)])
                attempt += 1
                continue
            attempt = 0
            self.opened.set()
            self.on_connected()
            await self.broken.wait()
            log.warning("the connection to libvirt broke")
            self.opened.clear()
            self.connection = None

    def open(self) -> libvirt.virConnect:
        loop = self.loop
        connection = libvirt.open(self.uri)

        def post(function: Callable[..., None], *args: object) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has closed: nobody is left to tell
                loop.call_soon_threadsafe(function, *args)

        def changed(_conn: Any, domain: Any, *_rest: object) -> None:
            post(self.on_event, domain.name())

        connection.registerCloseCallback(lambda *_: post(self.broken.set), None)
        connection.domainEventRegisterAny(None, libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, changed, None)
        connection.domainEventRegisterAny(None, libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED, changed, None)
        connection.setKeepAlive(*KEEPALIVE)
        return connection

    async def call(self, work: Callable[..., R], *args: object, timeout_s: float | None = None) -> R:
        """`work(connection, *args)` in a thread. Raises: BackendRefused, BackendUnreachable (the outcome is unknown)."""
        if self.tracer is None or not self.tracer.inside:
            return await self._call(work, *args, timeout_s=timeout_s)
        with self.tracer.span(f"libvirt {getattr(work, '__name__', 'call')}", {}, "client"):
            return await self._call(work, *args, timeout_s=timeout_s)

    async def _call(self, work: Callable[..., R], *args: object, timeout_s: float | None = None) -> R:
        connection = self.connection
        if connection is None:
            raise BackendUnreachable("The hypervisor's libvirt does not answer.")
        try:
            return await asyncio.wait_for(self.in_thread(work, connection, *args), timeout_s or self.call_s)
        except TimeoutError as error:
            raise BackendUnreachable("The hypervisor's libvirt did not answer in time.") from error
        except libvirt.libvirtError as error:
            code = error.get_error_code()
            if code in UNREACHABLE and not await self.alive(connection):
                raise BackendUnreachable("The connection to libvirt broke.", detail=str(error)) from error
            if code == libvirt.VIR_ERR_OPERATION_TIMEOUT:
                raise BackendUnreachable("The hypervisor is busy with this server.", detail=str(error)) from error
            log.warning("libvirt refused %s: %s", getattr(work, "__name__", "a call"), error)  # its text may name the host's paths
            raise BackendRefused("The hypervisor refused.", detail=f"{code}: {error}") from error

    async def alive(self, connection: libvirt.virConnect) -> bool:
        """Whether the daemon answered at all: then its error is an answer."""
        try:
            await asyncio.wait_for(self.in_thread(connection.getLibVersion), 5)
        except (libvirt.libvirtError, TimeoutError):
            return False
        return True

    async def in_thread(self, work: Callable[..., R], *args: object) -> R:
        self.loop = asyncio.get_running_loop()
        self.waiting += 1
        if self.waiting == AT_ONCE:
            self.moved_at = self.loop.time()

        def turn() -> R:
            try:
                return work(*args)
            finally:
                self.loop.call_soon_threadsafe(self.answered)

        return await self.loop.run_in_executor(self.threads, turn)

    def answered(self) -> None:
        self.waiting -= 1
        self.moved_at = self.loop.time()

    def stuck_s(self) -> float:
        """For how long all threads have been busy without any call having ended; the node's watchdog restarts it."""
        return self.loop.time() - self.moved_at if self.waiting >= AT_ONCE else 0.0
