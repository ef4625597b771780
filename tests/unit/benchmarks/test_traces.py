from typing import Any

import pytest

from benchmarks.runs.traces import Request, kind_of, overlapping, parse, round_trips, touched, trace_lines
from crewline.store import keys


def _request(began: int, ended: int, **more: Any) -> Request:
    fields = {"process": "front door", "service": "dynamodb", "operation": "Query", "touched": []}
    return Request(**{**fields, **more, "began": began, "ended": ended})


def _key(key: keys.Key) -> dict[str, Any]:
    return {"PK": {"S": key.partition}, "SK": {"S": key.sort}}


def test_requests_that_wait_for_one_another_are_a_round_trip_each() -> None:
    assert round_trips([_request(0, 10), _request(10, 20), _request(25, 30)]) == 3
    assert round_trips([]) == 0


def test_requests_that_overlap_are_one_round_trip() -> None:
    assert round_trips([_request(0, 10), _request(2, 8)]) == 1
    assert round_trips([_request(0, 10), _request(9, 30), _request(31, 40)]) == 2


def test_a_long_request_does_not_hide_a_chain_beside_it() -> None:
    assert round_trips([_request(0, 100), _request(5, 10), _request(20, 30), _request(40, 50)]) == 3


def test_a_retry_is_a_round_trip_more() -> None:
    assert round_trips([_request(0, 10, tries=2)]) == 2


def test_only_dynamodb_counts() -> None:
    assert (
        round_trips([_request(0, 10), _request(11, 20, service="s3"), _request(21, 30, service="sqs")]) == 1
    )


def test_a_request_overlaps_whichever_is_still_under_way() -> None:
    requests = [_request(0, 100), _request(5, 10), _request(50, 60), _request(100, 110)]
    assert overlapping(requests) == [False, True, True, False]


def test_a_trace_says_what_came_after_the_answer() -> None:
    begun = 1_000_000_000
    requests = [
        _request(begun + 2_000_000, begun + 5_000_000),
        _request(begun + 9_000_000, begun + 9_500_000),
    ]
    [_, first, second] = trace_lines(requests, began=begun, ended=begun + 8_000_000)
    assert first == ("1", "dynamodb Query", "-", "2.0", "3.0", "no")
    assert second[1] == "dynamodb Query (after the answer)"


def test_a_log_is_read_in_the_order_of_beginnings() -> None:
    one, two = _request(5, 30, touched=["lease"]), _request(1, 40)
    assert parse([one.line(), two.line()]) == [two, one]


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        (keys.lease("default", "t"), "lease"),
        (keys.thread("default", "t"), "thread row"),
        (keys.run("default", "t", "r"), "run row"),
        (keys.marker("default", "t", 1), "marker"),
        (keys.record("default", "t", "", "c"), "record"),
        (keys.late_writes("default", "t", "", "c", "p"), "late writes"),
        (keys.run_pointer("default", "r"), "run pointer"),
        (keys.event("default", "r", 1, 1), "events"),
        (keys.outbox("default", "r", 1), "outbox"),
    ],
)
def test_an_item_has_a_kind(key: keys.Key, kind: str) -> None:
    assert kind_of(*key) == kind


def test_a_transaction_touches_each_of_its_items() -> None:
    params = {
        "TransactItems": [
            {"Update": {"TableName": "t", "Key": _key(keys.lease("default", "t"))}},
            {"Put": {"TableName": "t", "Item": _key(keys.run("default", "t", "r"))}},
            {"ConditionCheck": {"TableName": "t", "Key": _key(keys.thread("default", "t"))}},
        ]
    }
    expected = ["update lease", "put run row", "check thread row"]
    assert touched("dynamodb", "TransactWriteItems", params) == expected


@pytest.mark.parametrize(
    ("bounds", "kind"),
    [
        ({":prefix": "!"}, "lease and thread row"),
        ({":low": "C##1", ":high": "C##2"}, "record"),
        ({":prefix": "R#"}, "run row"),
        ({}, "whole thread"),
    ],
)
def test_a_query_touches_what_its_bounds_name(bounds: dict[str, str], kind: str) -> None:
    values = {":pk": "T#default#t", **bounds}
    params = {"ExpressionAttributeValues": {name: {"S": text} for name, text in values.items()}}
    assert touched("dynamodb", "Query", params) == [f"query of {kind}"]


def test_what_other_services_are_asked_is_not_looked_into() -> None:
    assert touched("s3", "PutObject", {}) == []
