"""Measurements: one line where something ended, as CloudWatch reads it; never a tenant or an id in it."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage

from crewline.models.leases import LEASE_MS
from crewline.models.runs import RunCreate
from crewline.observability import UNMEASURED, Measures
from tests.unit.engine.places import Place, chain, raising, step
from tests.unit.store.worlds import TENANT

NODES = ("a", "b", "c")


def of(place: Place, name: str) -> list[dict[str, Any]]:
    """The lines that have a metric."""
    return [line for line in place.world.metrics() if name in line]


def answering(_state: Any) -> dict[str, Any]:
    used = {"input_tokens": 60, "output_tokens": 40, "total_tokens": 100}
    model = GenericFakeChatModel(messages=iter([AIMessage("hi", usage_metadata=used)]))
    model.invoke("hi")
    return {}


def test_a_run_that_ended_is_measured_once_with_what_it_took(place: Place) -> None:
    place.serve(chain(**{name: step(name) for name in NODES}))
    body = RunCreate(assistant_id="echo", input={})
    run = place.world.runs.create(TENANT, place.thread, body)
    place.clock.pass_(700)
    started = place.claim(run)
    place.clock.pass_(2500)
    place.execute(started)
    assert place.world.metrics() == [
        {"service": "test", "Crew": "echo", "Status": "success", "Runs": 1},
        {"service": "test", "Crew": "echo", "RunDuration": 2500, "RunWait": 700, "Supersteps": 4},
    ]


def test_what_a_run_waited_for_is_counted_from_when_it_was_due(place: Place) -> None:
    place.serve(chain(a=step("a")))
    body = RunCreate(assistant_id="echo", input={}, after_seconds=60)
    run = place.world.runs.create(TENANT, place.thread, body)
    place.clock.pass_(60_400)
    place.execute(place.claim(run))
    assert [line["RunWait"] for line in of(place, "RunWait")] == [400]


def test_a_run_that_failed_is_measured_as_that(place: Place) -> None:
    place.serve(chain(a=raising(ValueError("no"))))
    place.run({})
    assert [line["Status"] for line in of(place, "Runs")] == ["error"]


@pytest.mark.parametrize("action", ["interrupt", "rollback"])
def test_a_run_that_was_stopped_is_measured_as_that(place: Place, action: Any) -> None:
    place.serve(chain(a=step("a")))
    started = place.start({})
    place.world.cancellations.cancel(TENANT, place.thread, started.run.run_id, action)
    place.execute(started)
    assert [line["Status"] for line in of(place, "Runs")] == ["interrupted"]


def test_tokens_are_measured_where_some_were_used(place: Place) -> None:
    place.serve(chain(a=answering))
    place.run({})
    (line,) = of(place, "InputTokens")
    assert (line["InputTokens"], line["OutputTokens"], "ModelMicroUsd" in line) == (60, 40, False)


def test_a_stateless_run_in_its_request_is_measured_too(place: Place) -> None:
    place.serve(chain(a=step("a"), b=step("b")))
    body = RunCreate(assistant_id="echo", input={})
    place.execute(place.world.runs.start_stateless(TENANT, body))
    assert [line["Supersteps"] for line in of(place, "Supersteps")] == [3]


def test_a_run_that_is_given_up_says_so(place: Place) -> None:
    started = place.start({})
    place.clock.pass_(LEASE_MS + 1)
    assert place.world.endings.give_up(TENANT, place.thread, started.run.run_id, "nobody got on with it")
    assert [line["Status"] for line in of(place, "Runs")] == ["error"]
    assert [line["RunsGivenUp"] for line in of(place, "RunsGivenUp")] == [1]


def test_no_line_has_a_tenant_or_an_id(place: Place) -> None:
    place.run({"n": 0})
    run = place.last()
    assert place.world.measured
    for line in place.world.measured:
        assert not [one for one in (TENANT, run.thread_id, run.run_id, run.assistant_id) if one in line]


def test_a_line_is_in_the_embedded_metric_format(place: Place) -> None:
    place.run({"n": 0})
    told = orjson.loads(place.world.measured[0])
    (directive,) = told["_aws"]["CloudWatchMetrics"]
    assert isinstance(told["_aws"]["Timestamp"], int)
    assert directive["Namespace"] == "Crewline"
    assert [sorted(names) for names in directive["Dimensions"]] == [["Crew", "Status", "service"]]
    assert directive["Metrics"] == [{"Name": "Runs", "Unit": "Count"}]


def test_what_a_sweep_found_is_measured_and_nothing_of_what_it_did_not(place: Place) -> None:
    place.world.measures.swept({"redispatched": 2, "dead_letters": 1, "failed": 0})
    place.world.measures.swept({"failed": 0})
    assert place.world.metrics() == [{"service": "test", "SweptRedispatched": 2, "SweptDeadLetters": 1}]


def test_who_measures_nothing_writes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    UNMEASURED.webhook("failed")
    Measures("test").webhook("failed")
    assert capsys.readouterr().out == ""
