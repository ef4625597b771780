"""Subscriptions: what a connection listens for."""

from typing import Any

import pytest

from crewline.errors import BadRequest
from crewline.http.v2.events import CHANNELS, Event, Subscription, first_seq


def _event(
    method: str = "values", *, namespace: tuple[str, ...] = (), seq: int = 1, data: Any = None
) -> Event:
    return Event(
        method=method, data=data or {}, namespace=namespace, event_id="synth:r:1-1.0", seq=seq, timestamp=1
    )


def _wants(event: Event, **body: Any) -> bool:
    return Subscription.read({"channels": ["values"], **body}).wants(event)


def test_an_event_goes_to_its_channel() -> None:
    assert _wants(_event())
    assert not _wants(_event("updates"))
    assert _wants(_event("input.requested"), channels=["input"])
    for channel in CHANNELS - {"input"}:
        assert _wants(_event(channel), channels=[channel])


def test_what_has_a_name_is_heard_by_its_name_and_as_custom() -> None:
    named, plain = _event("custom", data={"name": "a", "payload": 1}), _event("custom", data={"payload": 1})
    assert _wants(named, channels=["custom:a"])
    assert _wants(named, channels=["custom"])
    assert not _wants(named, channels=["custom:b"])
    assert _wants(plain, channels=["custom"])
    assert not _wants(plain, channels=["custom:a"])


@pytest.mark.parametrize(
    ("namespaces", "depth", "heard"),
    [
        ([[]], 0, ["", "-"]),
        ([[]], 1, ["", "inner:1", "-"]),
        ([["inner"]], None, ["inner:1", "inner:1|deep:2"]),
        ([["inner:1"]], 0, ["inner:1"]),
        ([["inner:2"]], None, []),
        ([["inner:2"], ["inner", "deep"]], None, ["inner:1|deep:2"]),
        ([], 0, ["", "inner:1", "inner:1|deep:2"]),
    ],
)
def test_namespaces_are_prefixes(namespaces: list[list[str]], depth: int | None, heard: list[str]) -> None:
    places = ["", "inner:1", "inner:1|deep:2"]
    told = [
        place
        for place in places
        if _wants(
            _event(namespace=tuple(place.split("|")) if place else ()), namespaces=namespaces, depth=depth
        )
    ]
    assert told == [place for place in heard if place != "-"]


def test_what_the_client_has_is_left_out() -> None:
    assert not _wants(_event(seq=7), since=7)
    assert _wants(_event(seq=8), since=7)


def test_the_events_of_a_later_turn_have_higher_numbers() -> None:
    assert first_seq(1) + 4_000_000_000 < first_seq(2)
    assert first_seq(2_000_000) < 2**53


def test_an_event_is_spelled_with_its_number_as_id() -> None:
    spelled = _event(seq=9, namespace=("a:1",), data={"n": 1}).spell()
    assert spelled == (
        b"event: values\r\n"
        b'data: {"type":"event","event_id":"synth:r:1-1.0","seq":9,"method":"values",'
        b'"params":{"namespace":["a:1"],"timestamp":1,"data":{"n":1}}}\r\n'
        b"id: 9\r\n\r\n"
    )


@pytest.mark.parametrize(
    "body",
    [
        None,
        {},
        {"channels": "values"},
        {"channels": [1]},
        {"channels": ["events"]},
        {"channels": ["values"], "namespaces": [[1]]},
        {"channels": ["values"], "depth": True},
    ],
)
def test_a_body_of_another_form_is_refused(body: dict[str, Any] | None) -> None:
    with pytest.raises(BadRequest):
        Subscription.read(body)
