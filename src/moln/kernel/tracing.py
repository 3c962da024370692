"""Traces: what one request made happen, from its arrival to the hypervisor, as OpenTelemetry spans.

Nothing here is imported from OpenTelemetry, and whoever is traced tests one attribute for None, unless `[tracing] endpoint` is set.
A span says what was done to which resource and how it ended; no body, header, query, address or message is ever in one.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextvars import ContextVar
from typing import Any, Literal

from msgspec import Struct

from moln.kernel.errors import Failure, Invalid

KEPT = 4096  # resources whose trace is remembered for the work that comes after the request, at most
KEPT_S = 600.0  # seconds that it is: what settles a resource later than that has another cause
QUEUE = 4096  # spans that wait for the exporter; more are dropped
EVERY_S = 1.0  # seconds between two exports
EXPORT_S = 5.0  # seconds that an export, and the last one at the end, may take
Attributes = Mapping[str, str | int]
Kind = Literal["server", "client", "internal"]


class TracingSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Where traces go, for controller and node alike.

    endpoint: of a collector, OTLP over HTTP (http://127.0.0.1:4318/v1/traces). Empty: nothing is traced. Needs `pip install moln[tracing]`.
    sample_ratio: the share of traces that are kept, 0 to 1. incoming: what a request's own `traceparent` header becomes: nothing
    (ignore), a link to its trace (link), or the parent of ours (parent: whoever asks then decides whether it is kept).
    """

    endpoint: str = ""
    sample_ratio: float = 1.0
    incoming: Literal["ignore", "link", "parent"] = "ignore"


class Tracer:
    """Makes the spans of one process and sends them to the collector, from a thread of its own. service, node: who we are."""

    def __init__(self, settings: TracingSettings, service: str, node: str = "", *, every_s: float = EVERY_S):
        from opentelemetry import context, trace
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._trace, self._nowhere = trace, context.Context()
        self._propagator = TraceContextTextMapPropagator()
        self._kinds = {"server": trace.SpanKind.SERVER, "client": trace.SpanKind.CLIENT, "internal": trace.SpanKind.INTERNAL}
        self._incoming = settings.incoming
        named = {"service.name": service, **({"host.name": node} if node else {})}
        self._provider = TracerProvider(sampler=ParentBased(TraceIdRatioBased(settings.sample_ratio)), resource=Resource(named),
                                        shutdown_on_exit=False)  # fmt: skip
        self._sender = BatchSpanProcessor(
            OTLPSpanExporter(endpoint=settings.endpoint, timeout=EXPORT_S),
            max_queue_size=QUEUE, schedule_delay_millis=every_s * 1000, max_export_batch_size=512,
        )  # fmt: skip
        self._provider.add_span_processor(self._sender)
        self._tracer = self._provider.get_tracer("moln")
        self._causes: dict[tuple[str, str], tuple[Any, float]] = {}
        self._cause: ContextVar[Any] = ContextVar("cause", default=None)

    @contextlib.contextmanager
    def span(self, name: str, attributes: Attributes, kind: Kind = "internal", *, parent: Any = None, links: Any = ()) -> Iterator[Any]:
        """What happens inside is one span; an exception that leaves it is told by its class alone. parent: default: the span around."""
        span = self._tracer.start_span(name, parent, self._kinds[kind], attributes, links)
        with self._trace.use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False):
            try:
                yield span
            except BaseException as error:
                span.set_attribute("error.type", type(error).__name__)
                if not isinstance(error, Failure):
                    span.set_status(self._trace.StatusCode.ERROR)
                raise

    @property
    def inside(self) -> bool:
        """Whether there is a span around: what no trace led to begins none."""
        return bool(self._trace.get_current_span().get_span_context().is_valid)

    # -- requests ----------------------------------------------------------------------------------------------------

    def request(self, method: str, route: str, service: str, headers: Mapping[bytes, bytes]) -> contextlib.AbstractContextManager[Any]:
        """The span of one request; `answered` says how it ended. headers: as ASGI gives them."""
        parent, links = self._nowhere, []
        if self._incoming != "ignore" and (text := headers.get(b"traceparent")):
            found = self._extract(text.decode("latin-1"))
            if self._incoming == "parent":
                parent = found
            elif (theirs := self._trace.get_current_span(found).get_span_context()).is_valid:
                links.append(self._trace.Link(theirs))
        attributes = {"http.request.method": method, "http.route": route, "moln.service": service}
        return self.span(f"{method} {route}", attributes, "server", parent=parent, links=links)

    def answered(self, span: Any, status: int, request_id: str) -> None:
        span.set_attribute("http.response.status_code", status)
        span.set_attribute("moln.request_id", request_id)
        if status >= 500:
            span.set_status(self._trace.StatusCode.ERROR)

    # -- what is done later ------------------------------------------------------------------------------------------

    def woken(self, changes: list[tuple[str, str]], cause: Any) -> None:
        """A write wakes reconcilers: what they settle belongs to the trace of `cause`. Called by one thread, read by another."""
        until = time.monotonic() + KEPT_S
        for topic, key in changes:
            if key and topic.startswith("wake."):
                self._causes.pop((topic[5:], key), None)
                self._causes[topic[5:], key] = cause, until
                if len(self._causes) > KEPT:
                    del self._causes[next(iter(self._causes))]

    @property
    def cause(self) -> Any:
        """To whom what a write wakes is due: the write that began it all, however many settlings lie between."""
        return self._cause.get() or self._trace.set_span_in_context(self._trace.get_current_span(), self._nowhere)

    @contextlib.contextmanager
    def settling(self, reconciler: str, key: str) -> Iterator[Any]:
        """One settling, below the write that woke it; in a trace of its own, when none did of late."""
        cause, until = self._causes.get((reconciler, key), (None, 0.0))
        if time.monotonic() > until:
            cause = None
        attributes = {"moln.reconciler": reconciler, "moln.resource": key}
        token = self._cause.set(cause)
        try:
            with self.span(f"settle {reconciler}", attributes, parent=cause or self._nowhere) as span:
                yield span
        finally:
            self._cause.reset(token)

    # -- from process to process -------------------------------------------------------------------------------------

    def traceparent(self) -> str:
        """The span around, as W3C's Trace Context writes it."""
        carrier: dict[str, str] = {}
        self._propagator.inject(carrier)
        return carrier.get("traceparent", "")

    def _extract(self, traceparent: str) -> Any:
        return self._propagator.extract({"traceparent": traceparent}, self._nowhere)

    def served(self, name: str, traceparent: str, attributes: Attributes) -> contextlib.AbstractContextManager[Any]:
        """What another process asked for, below its span."""
        return self.span(name, attributes, "server", parent=self._extract(traceparent))

    def flush(self) -> bool:
        """Send what waits, now. False: not all of it could be sent."""
        return bool(self._provider.force_flush(int(EXPORT_S * 1000)))

    def close(self) -> None:
        """Send what waits, as far as EXPORT_S seconds suffice. A collector that answers nobody keeps no process alive."""
        ending = threading.Thread(target=self._provider.shutdown, name="last-export", daemon=True)
        ending.start()
        ending.join(EXPORT_S)


def tracer_of(settings: TracingSettings, service: str, node: str = "") -> Tracer | None:
    """None, unless it is configured. Raises: Invalid, when what it needs is not installed, or a setting is out of bounds."""
    if not settings.endpoint:
        return None
    if not 0.0 <= settings.sample_ratio <= 1.0:
        raise Invalid("tracing.sample_ratio must be between 0 and 1.")
    if not settings.endpoint.startswith(("http://", "https://")):
        raise Invalid("tracing.endpoint must be an http or https address.")
    try:
        return Tracer(settings, service, node)
    except ImportError as error:
        raise Invalid(f"tracing.endpoint is set, but {error.name} is not installed: pip install 'moln[tracing]'") from error


Write = Callable[..., Awaitable[Any]]


def noting(tracer: Tracer, fn: Write) -> Write:
    """A write that remembers whom it woke, for whoever settles it. Runs where `fn` runs."""
    cause = tracer.cause

    async def write(tx: Any, *args: Any, **kwargs: Any) -> Any:
        result = await fn(tx, *args, **kwargs)
        tracer.woken(tx.changes, cause)
        return result

    return write
