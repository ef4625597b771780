"""Events of protocol v2, and which of them a client wants to hear."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, get_args

import orjson

from crewline.errors import BadRequest
from crewline.http.sse import spell
from crewline.models.answers import Channel
from crewline.models.threads import whole

CHANNELS: Final = frozenset(get_args(Channel))
RUN_SHIFT: Final = 32
"""A sequence number has the run's turn above these bits, and counts the run's events in them. So an event
has the same number on every connection, whatever that one filters and whatever became of older runs."""

_CUSTOM: Final = "custom:"
_INPUT: Final = "input.requested"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One event."""

    method: str
    data: Any
    namespace: tuple[str, ...] = ()
    """The subgraph that it comes from, as LangGraph names it."""
    node: str | None = None
    """The node that said it, when one did."""
    event_id: str
    """The same on every connection: how clients drop what they have seen."""
    seq: int
    timestamp: int
    """When it was said, in milliseconds since the epoch, as far as the log tells: never later than that."""

    @property
    def channel(self) -> str:
        """Where clients listen for it."""
        if self.method == _INPUT:
            return "input"
        if self.method == "custom" and (name := self.data.get("name")):
            return f"{_CUSTOM}{name}"
        return self.method

    def spell(self) -> bytes:
        """Spell it as a server-sent event."""
        params: dict[str, Any] = {"namespace": self.namespace, "timestamp": self.timestamp, "data": self.data}
        if self.node is not None:
            params["node"] = self.node
        body = {
            "type": "event",
            "event_id": self.event_id,
            "seq": self.seq,
            "method": self.method,
            "params": params,
        }
        return spell(self.method, orjson.dumps(body, option=orjson.OPT_NON_STR_KEYS), str(self.seq))


def first_seq(turn: int) -> int:
    """Tell the sequence number before the first event of a run."""
    return turn << RUN_SHIFT


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """What a connection listens for."""

    channels: frozenset[str]
    namespaces: tuple[tuple[str, ...], ...] = ()
    """Prefixes; none means every namespace. A part without a task id stands for any task of that name."""
    depth: int | None = None
    """How far below a prefix."""
    since: int = 0
    """The last event that the client has."""

    @classmethod
    def read(cls, body: Mapping[str, Any] | None) -> Subscription:
        """Read the body of a request.

        Raises:
            BadRequest: A field is missing or has a wrong form, or a channel is unknown.
        """
        body = body or {}
        namespaces = body.get("namespaces")
        if namespaces is not None and not (
            _is_list(namespaces) and all(_is_list(one) and _texts(one) for one in namespaces)
        ):
            raise BadRequest("namespaces: send a list of lists of text.")
        return cls(
            channels=frozenset(_channels(body.get("channels"))),
            namespaces=tuple(tuple(one) for one in namespaces or ()),
            depth=_whole(body, "depth"),
            since=_whole(body, "since") or 0,
        )

    def wants(self, event: Event) -> bool:
        """Tell whether an event is for this connection."""
        if event.seq <= self.since:
            return False
        channel = event.channel
        named = channel.startswith(_CUSTOM) and "custom" in self.channels
        if channel not in self.channels and not named:
            return False
        return not self.namespaces or any(self._holds(prefix, event.namespace) for prefix in self.namespaces)

    def _holds(self, prefix: Sequence[str], namespace: Sequence[str]) -> bool:
        below = len(namespace) - len(prefix)
        if below < 0 or (self.depth is not None and below > self.depth):
            return False
        return all(
            part == asked or (":" not in asked and part.partition(":")[0] == asked)
            for asked, part in zip(prefix, namespace, strict=False)
        )


def _channels(given: Any) -> list[str]:
    if not _is_list(given) or not given or not _texts(given):
        raise BadRequest(f"channels: send a list of some of {', '.join(sorted(CHANNELS))}, custom:<name>.")
    for name in given:
        if name not in CHANNELS and not (name.startswith(_CUSTOM) and name != _CUSTOM):
            raise BadRequest(
                f"channels: {name[:60]!r} is none of {', '.join(sorted(CHANNELS))}, custom:<name>."
            )
    return list(given)


def _whole(body: Mapping[str, Any], name: str) -> int | None:
    value = whole(body.get(name))
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 0):
        raise BadRequest(f"{name}: send a whole number, 0 or more.")
    return value


def _is_list(value: Any) -> bool:
    return isinstance(value, list)


def _texts(values: Sequence[Any]) -> bool:
    return all(isinstance(value, str) for value in values)
