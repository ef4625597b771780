"""What comes from outside is read, named and started; what cannot be is put with the dead letters, and is done."""

from __future__ import annotations

import json
from typing import Any

import pytest
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord

from crewline.errors import BadMessage, LimitExceeded, Unavailable
from crewline.events.intake import Receiver
from crewline.models.crons import Firing
from crewline.models.intake import EventMapping, Message
from crewline.store.idempotency import Once
from tests.unit.store.worlds import SILENT

MAPPING = EventMapping(
    source="shop", detail_type="Placed", assistant_id="echo", input="detail", thread_key="detail.customer"
)
EVENT = {"id": "e1", "source": "shop", "detail-type": "Placed", "detail": {"customer": "ada"}}
MESSAGE = {"assistant_id": "echo", "input": {"n": 1}}


class Starts:
    """Notes what is to be started, and raises what it is told to."""

    def __init__(self) -> None:
        self.failure: Exception | None = None
        self.started: list[tuple[Message, Once]] = []

    def start(self, message: Message, once: Once) -> None:
        if self.failure:
            raise self.failure
        self.started.append((message, once))


class Letters:
    """Notes what is sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, str, str, str | None]] = []

    def send(self, body: str, *, reason: str, letter_id: str, group: str | None = None) -> None:
        self.sent.append((body, reason, letter_id, group))


class Parts:
    """A receiver, and what is around it."""

    def __init__(self) -> None:
        self.starts, self.messages, self.events = Starts(), Letters(), Letters()
        self.fired: list[Firing] = []
        self.receiver = Receiver(
            self.starts, [MAPPING], self, messages=self.messages, events=self.events, logger=SILENT
        )

    def fire(self, firing: Firing) -> None:
        self.fired.append(firing)
        if self.starts.failure:
            raise self.starts.failure

    def take(self, body: Any, message_id: str = "m1") -> None:
        text = body if isinstance(body, str) else json.dumps(body)
        attributes = {"MessageGroupId": "ada"}
        self.receiver.take_message(
            SQSRecord({"messageId": message_id, "body": text, "attributes": attributes})
        )

    def once(self) -> Once:
        [(_, once)] = self.starts.started
        self.starts.started.clear()
        return once


@pytest.fixture
def parts() -> Parts:
    return Parts()


def test_a_message_is_named_by_its_own_key_or_else_by_the_id_that_sqs_gave_it(parts: Parts) -> None:
    parts.take(MESSAGE)
    assert (parts.once().scope, parts.messages.sent) == ("queue", [])
    parts.take({**MESSAGE, "idempotency_key": "k"})
    named = parts.once()
    assert (named.scope, named.key) == ("message", "k")
    parts.take('{"input": {"n": 1}, "idempotency_key": "k",\n "assistant_id": "echo"}', "m2")
    assert parts.once() == named, "the order of its fields says nothing"


def test_an_event_has_one_name_however_it_comes(parts: Parts) -> None:
    parts.receiver.take_event(EVENT)
    [(message, direct)] = parts.starts.started
    assert (message.input, message.thread_key) == ({"customer": "ada"}, "ada")
    parts.starts.started.clear()
    parts.take(EVENT)
    assert parts.once() == direct
    assert (direct.scope, direct.key) == ("event", "e1")


def test_an_event_of_a_replay_is_the_event_that_came_before(parts: Parts) -> None:
    parts.receiver.take_event(EVENT)
    first = parts.once()
    parts.receiver.take_event({**EVENT, "replay-name": "again"})
    assert parts.once() == first


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("", "It is not JSON"),
        ("poison", "It is not JSON"),
        ("[" * 200 + "]" * 200, "is nested too deeply"),
        ('{"assistant_id": "echo", "input": 123456789012345678901234567890}', "more than 64 bits"),
        ("[1]", "It is JSON, but no object."),
        ({"input": 1}, "assistant_id: field required"),
        ({**EVENT, "source": "other"}, "No entry of the manifest's crewline.events is for this"),
        ({**EVENT, "detail": {}}, "The manifest's thread_key leads to nothing in the event."),
        ({**EVENT, "detail": [1]}, "The manifest's thread_key leads to nothing in the event."),
    ],
)
def test_a_bad_message_goes_to_the_dead_letters_as_it_came_and_is_done(
    parts: Parts, body: Any, reason: str
) -> None:
    parts.take(body)
    text = body if isinstance(body, str) else json.dumps(body)
    [(sent, why, letter_id, group)] = parts.messages.sent
    assert (sent, letter_id, group) == (text, "m1", "ada")
    assert reason in why
    assert (parts.starts.started, parts.events.sent) == ([], [])


@pytest.mark.parametrize(
    "event",
    [
        {**EVENT, "detail": {}},
        {**EVENT, "detail-type": "Other"},
        {},
        {**EVENT, "detail": {"customer": 2**70}},
    ],
)
def test_a_bad_event_goes_to_dead_letters_of_its_own(parts: Parts, event: dict[str, Any]) -> None:
    parts.receiver.take_event(event)
    [(sent, _, letter_id, group)] = parts.events.sent
    assert (json.loads(sent), letter_id, group) == (event, event.get("id", ""), None)
    assert (parts.starts.started, parts.messages.sent) == ([], [])


def test_what_the_rules_of_runs_refuse_is_a_dead_letter_too(parts: Parts) -> None:
    parts.starts.failure = BadMessage("Its assistant is unknown.")
    parts.take(MESSAGE)
    parts.receiver.take_event(EVENT)
    assert [reason for _, reason, *_ in parts.messages.sent + parts.events.sent] == [
        "Its assistant is unknown.",
        "Its assistant is unknown.",
    ]


@pytest.mark.parametrize("failure", [Unavailable("no"), LimitExceeded("32 wait"), ValueError("a bug")])
def test_what_may_work_later_is_raised_and_comes_again(parts: Parts, failure: Exception) -> None:
    parts.starts.failure = failure
    with pytest.raises(type(failure)):
        parts.take(MESSAGE)
    with pytest.raises(type(failure)):
        parts.receiver.take_event(EVENT)
    assert (parts.messages.sent, parts.events.sent) == ([], [])
