"""Messages and events from outside: which thread they are for, what is refused, and that no reason repeats them."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from crewline.errors import BadMessage
from crewline.models.intake import EventMapping, Message, thread_id_of

NAMESPACE = uuid.UUID("c5b1a9e2-6f0d-5d6e-9a47-2f4b8c3d1e70")
SECRET = "jane@example.com"
THREAD = "0199c7a0-0000-7000-8000-00000000abcd"
EVENT = {
    "version": "0",
    "id": "6a7e8feb-b491-4cf7-a9f1-bf3703467718",
    "source": "shop.orders",
    "detail-type": "OrderPlaced",
    "detail": {"order": {"id": "o-1", "items": [{"sku": "a"}, {"sku": "b"}]}, "customer": {"id": 7}},
}


def mapping(**fields: Any) -> EventMapping:
    needed = {
        "source": "shop.orders",
        "detail_type": "OrderPlaced",
        "assistant_id": "echo",
        "input": "detail",
    }
    return EventMapping.model_validate({**needed, **fields})


def refusal(call: Any, *args: Any) -> str:
    with pytest.raises(BadMessage) as caught:
        call(*args)
    assert SECRET not in caught.value.message
    return caught.value.message


# ------------------------------------------------------------------ threads


def test_a_producer_can_compute_the_thread_of_a_key() -> None:
    assert thread_id_of("acme", "customer-7") == str(uuid.uuid5(NAMESPACE, "acme#customer-7"))
    assert thread_id_of("acme", "customer-7") != thread_id_of("other", "customer-7")


def test_a_run_with_a_key_is_for_its_thread_which_is_made_when_it_is_not_there() -> None:
    thread_id, body = Message.read({"assistant_id": "echo", "thread_key": "k"}).run("acme")
    assert (thread_id, body.if_not_exists) == (thread_id_of("acme", "k"), "create")


def test_a_run_with_an_id_is_for_that_thread_which_must_be_there() -> None:
    message = Message.read({"assistant_id": "echo", "thread_id": THREAD.upper()})
    thread_id, body = message.run("acme")
    assert (thread_id, body.if_not_exists) == (THREAD, "reject")


def test_a_run_without_either_has_no_thread_and_waits_where_it_finds_another() -> None:
    thread_id, body = Message.read({"assistant_id": "echo", "input": {"n": 1}}).run("acme")
    assert (thread_id, body.input, body.multitask_strategy) == (None, {"n": 1}, "enqueue")


# ------------------------------------------------------------------ messages


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({}, "assistant_id: field required"),
        ({"assistant_id": 7}, "assistant_id: input should be a valid string"),
        ({"assistant_id": "echo", SECRET: 1}, "it has a field that is not known"),
        ({"assistant_id": "echo", "thread_id": SECRET}, "thread_id: is not what it may be"),
        ({"assistant_id": "echo", "thread_key": ""}, "thread_key: string should have at least 1 character"),
        ({"assistant_id": "echo", "metadata": {SECRET: 1, "": 2}}, "metadata: string should have at least 1"),
        (
            {"assistant_id": "echo", "config": {"configurable": {f"__{SECRET}": 1}}},
            "config: is not what it may be",
        ),
        ({"assistant_id": "echo", "multitask_strategy": SECRET}, "multitask_strategy: input should be"),
        ({"assistant_id": "echo", "tenant": "A#B"}, "tenant: string should match pattern"),
        (
            {"assistant_id": "echo", "thread_id": THREAD, "thread_key": SECRET},
            "its fields contradict each other",
        ),
    ],
)
def test_what_is_no_message_is_refused_in_words_that_repeat_nothing_of_it(
    fields: dict[str, Any], reason: str
) -> None:
    said = refusal(Message.read, fields)
    assert said.startswith("It is no message for a run: ")
    assert reason in said
    assert said.endswith(".")


# ------------------------------------------------------------------ events


def test_one_line_gives_each_customer_a_thread() -> None:
    message = mapping(thread_key="detail.customer.id").message(EVENT)
    assert (message.thread_key, message.input) == ("7", EVENT["detail"])


def test_an_expression_makes_an_input_and_metadata() -> None:
    made = mapping(
        input='{messages: [{role: `"user"`, content: join(`", "`, detail.order.items[].sku)}]}',
        metadata="{order: detail.order.id}",
        tenant="acme",
        multitask_strategy="interrupt",
    ).message(EVENT)
    assert made.input == {"messages": [{"role": "user", "content": "a, b"}]}
    assert (made.metadata, made.tenant, made.multitask_strategy) == ({"order": "o-1"}, "acme", "interrupt")


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"input": "detail.nothing"}, "The manifest's input leads to nothing in the event."),
        ({"thread_key": "detail.customer.name"}, "The manifest's thread_key leads to nothing in the event."),
        ({"metadata": "detail.nothing"}, "The manifest's metadata leads to nothing in the event."),
        ({"input": "abs(detail.secret)"}, "The manifest's input cannot be applied to the event."),
        ({"thread_key": "detail.customer"}, "thread_key: input should be a valid string"),
        ({"thread_key": "detail.vip"}, "thread_key: input should be a valid string"),
        ({"thread_key": "detail.secret"}, "thread_key: string should have at most 255 characters"),
        ({"metadata": "detail.secret"}, "metadata: input should be a valid dictionary"),
    ],
)
def test_an_event_that_does_not_have_what_the_manifest_says_is_refused(
    fields: dict[str, Any], reason: str
) -> None:
    event = {**EVENT, "detail": {"customer": {"id": 7}, "vip": True, "secret": SECRET * 20}}
    assert reason in refusal(mapping(**fields).message, event)


def test_a_rule_matches_source_and_detail_type() -> None:
    assert mapping().pattern == {"source": ["shop.orders"], "detail-type": ["OrderPlaced"]}
