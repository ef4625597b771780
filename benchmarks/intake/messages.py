"""What is sent: messages of many customers, some of them twice, and some that can never become a run."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

CREW: Final = "chat"
EVENT: Final = {"source": "shop.orders", "detail_type": "OrderPlaced"}
MANIFEST: Final[Mapping[str, Any]] = {
    "graphs": {CREW: "./graphs.py:graph"},
    "crewline": {
        "events": [
            {
                **EVENT,
                "assistant_id": CREW,
                "input": "detail.said",
                "thread_key": "detail.customer",
                "metadata": "{number: detail.number}",
            }
        ]
    },
}
OF_A_CUSTOMER: Final = 25
"""Messages of one thread key: one run of them is in flight, and no more than 32 can wait."""

_TWICE: Final = 0.05
"""How many are sent a second time, as a producer does that was not answered."""
_BAD: Final = 0.01
_EVENTS: Final = 0.1
"""How many are events, which the manifest maps."""


@dataclass(frozen=True, slots=True)
class Sent:
    """One message as it is sent."""

    number: int
    group: str
    body: str
    reason: str | None = None
    """How the reason begins for which it is refused; None when it is good."""


def messages(count: int, *, seed: int) -> Iterator[Sent]:
    """Make so many messages, and those among them that come twice after them.

    Args:
        count: How many different ones.
        seed: Of what is random.
    """
    chance = random.Random(seed)
    customers = max(1, count // OF_A_CUSTOMER)
    bad = set(chance.sample(range(count), round(count * _BAD)))
    for number in range(count):
        customer = f"customer-{number % customers}"
        if number in bad:
            reason, make = _POISON[number % len(_POISON)]
            yield Sent(number, customer, make(number, customer), reason)
            continue
        made = _event(number, customer) if chance.random() < _EVENTS else good(number, customer)
        sent = Sent(number, customer, json.dumps(made))
        yield sent
        if chance.random() < _TWICE:
            yield sent


def good(number: int, customer: str) -> dict[str, Any]:
    """Make a message that starts a run."""
    return {
        "assistant_id": CREW,
        "input": {"messages": [{"role": "user", "content": "x" * 200}]},
        "thread_key": customer,
        "metadata": {"number": number},
        "idempotency_key": f"message-{number}",
    }


def _event(number: int, customer: str) -> dict[str, Any]:
    said = {"messages": [{"role": "user", "content": "x" * 200}]}
    return {
        "version": "0",
        "id": f"event-{number}",
        "source": EVENT["source"],
        "detail-type": EVENT["detail_type"],
        "detail": {"customer": customer, "number": number, "said": said},
    }


_POISON: Final[Sequence[tuple[str, Callable[[int, str], str]]]] = (
    ("It is not JSON", lambda number, _: f"{{poison {number}"),
    ("Its assistant is unknown", lambda n, c: json.dumps({**good(n, c), "assistant_id": f"nobody-{n}"})),
    ("It is no message for a run", lambda n, c: json.dumps({**good(n, c), "thread": n})),
    ("No entry of the manifest's", lambda n, c: json.dumps({**_event(n, c), "detail-type": "OrderPaid"})),
    ("The manifest's thread_key", lambda n, _: json.dumps({**_event(n, ""), "detail": {"said": {"n": n}}})),
    ("It is JSON, but no object", lambda n, _: json.dumps([n])),
)
"""How a reason begins → a message that has it; each is different, so that every dead letter is told apart."""
