"""The node's side of a call: which driver, is it still wanted, what came out."""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
import typing
from collections.abc import Callable
from functools import cache
from typing import Any, Protocol

import msgspec

from moln.kernel import log
from moln.kernel.errors import Failure, Unavailable
from moln.kernel.link.frames import Answer, Call, pack
from moln.kernel.tracing import Tracer

_log = logging.getLogger("moln.link")


class Fences(Protocol):
    """The highest generation seen of each resource; kept on disk by a real node, tombstones for a day."""

    def admit(self, resource: str, generation: int) -> bool:
        """Whether a command of this generation may act; remembers it, when it is the highest."""
        ...


class MemoryFences:
    """Fences that last as long as the process: for simulation."""

    def __init__(self) -> None:
        self._highest: dict[str, int] = {}

    def admit(self, resource: str, generation: int) -> bool:
        if generation < self._highest.get(resource, 0):
            return False
        self._highest[resource] = generation
        return True


class _Verb(typing.NamedTuple):
    method: Callable[..., Any]
    decode: Callable[[bytes], Any]


class Verbs:
    """A node's drivers by area. The methods of the Protocol (async, positional, annotated) are the verbs."""

    def __init__(self, drivers: dict[str, tuple[type, Any]], fences: Fences, now_us: Callable[[], int],
                 tracer: Tracer | None = None):  # fmt: skip
        self._fences = fences
        self._tracer = tracer
        self._now_us = now_us
        self._verbs: dict[str, _Verb] = {}
        for area, (protocol, driver) in drivers.items():
            for name, method in methods_of(protocol).items():
                self._verbs[f"{area}.{name}"] = _Verb(getattr(driver, name), arguments_of(method))

    async def answer(self, call: Call) -> Answer:
        """Run one command; every outcome is an answer."""
        if self._tracer is None or not call.traceparent:
            return await self._answer(call)
        with self._tracer.served(call.verb, call.traceparent, {"rpc.method": call.verb, "moln.resource": call.resource}) as span:
            answer = await self._answer(call)
            span.set_attribute("moln.outcome", answer.kind)
            return answer

    async def _answer(self, call: Call) -> Answer:
        log.request_id.set(call.request_id)
        verb = self._verbs.get(call.verb)
        if verb is None:
            return Answer(call.id, "refused", message=f"This node has no {call.verb}.")
        late = self._now_us() > call.not_after
        if late:
            return Answer(call.id, "unreachable", message=f"{call.verb} came too late.")
        if call.resource and not self._fences.admit(call.resource, call.generation):
            return Answer(call.id, "stale", message=f"{call.resource} is at a higher generation than {call.generation}.")
        try:
            began = time.monotonic()
            async with asyncio.timeout((call.not_after - self._now_us()) / 1e6):
                result = await verb.method(*verb.decode(call.args))
            if call.resource:  # what changes something; questions come all the time
                _log.info("%s %s done in %d ms", call.verb, call.resource, (time.monotonic() - began) * 1000)
            return Answer(call.id, "ok", pack(result))
        except Unavailable as error:
            return Answer(call.id, "unreachable", message=error.message)
        except TimeoutError:
            return Answer(call.id, "unreachable", message=f"{call.verb} took longer than its deadline.")
        except Failure as error:
            return Answer(call.id, "refused", message=error.message)
        except msgspec.ValidationError as error:
            return Answer(call.id, "refused", message=f"{call.verb}: {error}")
        except Exception as error:
            _log.exception("an unforeseen error in %s", call.verb)
            return Answer(call.id, "error", message=f"{call.verb} failed on the node ({type(error).__name__}).")


@cache
def methods_of(protocol: type) -> dict[str, Callable[..., Any]]:
    """The public coroutine methods of a driver's Protocol."""
    return {n: m for n, m in inspect.getmembers(protocol, inspect.iscoroutinefunction) if not n.startswith("_")}


@cache
def arguments_of(method: Callable[..., Any]) -> Callable[[bytes], Any]:
    """A decoder from a packed list to the method's annotated arguments."""
    hints = typing.get_type_hints(method)
    parameters = [p for n, p in inspect.signature(method).parameters.items() if n != "self"]
    if not parameters:
        return lambda raw: ()
    return msgspec.msgpack.Decoder(tuple[tuple(hints[p.name] for p in parameters)]).decode  # type: ignore[misc]


def result_of(method: Callable[..., Any]) -> Callable[[bytes], Any]:
    """A decoder of what the method answers."""
    hint = typing.get_type_hints(method).get("return", Any)
    return msgspec.msgpack.Decoder(hint).decode
