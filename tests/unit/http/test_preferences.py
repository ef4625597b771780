"""What callers ask for in headers: `Prefer: wait`, `Prefer: return=minimal` and `Idempotency-Key`."""

from __future__ import annotations

import time
from typing import Any

import pytest

from crewline.errors import InvalidRequest
from crewline.http.preferences import LONGEST_WAIT_S, minimal, once, wait_s
from crewline.local.proxy_events import LambdaContext
from crewline.models.api_keys import Caller
from crewline.models.users import Sender, User


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("wait", LONGEST_WAIT_S),
        ("wait=10", 10.0),
        ("WAIT = 10", 10.0),
        ('wait="7"', 7.0),
        ("wait=0", 0.0),
        ("wait=999999", LONGEST_WAIT_S),
        ("respond-async, wait=10", 10.0),
        ("wait=10; foo=bar, respond-async", 10.0),
        ("respond-async", None),
        ("wait-a-little", None),
        ("nowait", None),
        ("wait=", None),
        ("wait=soon", None),
        ("wait=-1", None),
        ("", None),
    ],
)
def test_a_caller_may_prefer_to_wait(header: str, seconds: float | None) -> None:
    assert wait_s({"prefer": header}, LambdaContext("api", "1", time.monotonic() + 900)) == seconds


def test_nobody_waits_longer_than_the_invocation_lasts() -> None:
    waited = wait_s({"prefer": "wait"}, LambdaContext("api", "1", time.monotonic() + 29))
    assert waited is not None
    assert 20 < waited < 27


def test_without_the_header_nobody_waits() -> None:
    assert wait_s({}, None) is None


def key(value: str, route: str = "POST /runs", body: Any = None, user: str | None = None) -> Any:
    caller = Caller(tenant="acme", scopes=frozenset(), senders=(Sender(user=User({"identity": user})),))
    return once({"idempotency-key": value}, route, body, caller if user else None)


def test_without_a_key_a_request_takes_effect_every_time() -> None:
    assert once({}, "POST /runs", {}, None) is None


def test_a_key_names_a_request_on_one_route() -> None:
    assert (key("k").scope, key("k").key) == ("POST /runs", "k")
    assert key("k") == key("k")
    assert key("k", "POST /threads") != key("k")
    assert key("K") != key("k")
    assert key("k", user="ann") == key("k", user="ann")
    assert len({key("k", user=user) for user in (None, "ann", "bob")}) == 3


def test_the_same_body_has_the_same_digest_however_it_is_spelled() -> None:
    one = key("k", body={"a": 1, "b": [1, {"c": None, "d": "é"}]})
    assert one == key("k", body={"b": [1, {"d": "é", "c": None}], "a": 1})
    assert len(one.digest) == 64
    others: list[Any] = [{"a": 1}, {"a": 1, "b": [1, {"c": None, "d": "e"}]}, None, []]
    for other in others:
        assert key("k", body=other).digest != one.digest


@pytest.mark.parametrize("length", [1, 255])
def test_a_key_may_be_long(length: int) -> None:
    assert key("x" * length).key == "x" * length


@pytest.mark.parametrize("length", [0, 256])
def test_a_key_that_is_empty_or_too_long_is_refused(length: int) -> None:
    with pytest.raises(InvalidRequest, match=f"1 to 255 characters, not {length}"):
        key("x" * length)


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        ("return=minimal", True),
        ("RETURN = Minimal", True),
        ('wait=5, return="minimal"', True),
        ("return=representation", False),
        ("return=minimally", False),
        ("no-return=minimal", False),
        ("", False),
    ],
)
def test_a_caller_may_want_no_body_back(header: str, wanted: bool) -> None:
    assert minimal({"prefer": header}) is wanted
