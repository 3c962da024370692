"""The subjects of NATS, and who may hear and speak on them. `node` and `controller` below stand for tokens of their names.

moln.call.<node>                        a controller's frames to a node; replies go to
moln.answer.<node>.<controller>.<call>  its answer, or the server's word that nobody listens
moln.tell.<node>                        what a node says unasked, to every controller: hello, beat, reports
moln.who                                a controller asks everybody to say hello

In the account of notifications: moln.notifications.<service>.<event type>, and JetStream's own.
"""

from __future__ import annotations

import re

WHO = "moln.who"
STREAM = "NOTIFICATIONS"
_PLAIN = re.compile(r"[A-Za-z0-9_-]")


def token(name: str) -> str:
    """A name as one token of a subject: what has a meaning there is written =2E. Two names never share one."""
    return "".join(c if _PLAIN.fullmatch(c) else "".join(f"={byte:02X}" for byte in c.encode()) for c in name)


def name(token: str) -> str:
    """The name that a token was made of."""
    return re.sub(rb"=([0-9A-F]{2})", lambda found: bytes([int(found[1], 16)]), token.encode()).decode()


def call(node: str) -> str:
    return f"moln.call.{token(node)}"


def tell(node: str) -> str:
    return f"moln.tell.{token(node)}"


def answer(node: str, controller: str, id: int) -> str:
    return f"moln.answer.{token(node)}.{token(controller)}.{id}"


def answers(controller: str) -> str:
    """All the answers to one controller."""
    return f"moln.answer.*.{token(controller)}.*"


def inbox(name: str) -> str:
    return f"moln.inbox.{token(name)}"


def node_may(node: str) -> tuple[list[str], list[str]]:
    """Where a node may speak, and where it may hear."""
    return [tell(node), f"moln.answer.{token(node)}.>"], [call(node), WHO]


def controller_may(controller: str) -> tuple[list[str], list[str]]:
    """Where a controller may speak, and where it may hear."""
    return ["moln.call.*", WHO], [answers(controller), "moln.tell.*"]


def consumer_inbox(name: str) -> str:
    return f"moln.consumer.{token(name)}"


def publisher_may(controller: str) -> tuple[list[str], list[str]]:
    """Where a controller may speak in the account of notifications, and where it may hear."""
    return ["moln.notifications.>", "$JS.API.>"], [f"{inbox(controller)}.>"]


def consumer_may(name: str) -> tuple[list[str], list[str]]:
    """The same for somebody outside: it asks for what comes next to the consumer that was made for it, and says what it has taken."""
    own = f"{STREAM}.{name}"
    return [f"$JS.API.CONSUMER.INFO.{own}", f"$JS.API.CONSUMER.MSG.NEXT.{own}", f"$JS.ACK.{own}.>"], [f"{consumer_inbox(name)}.>"]
