"""What an event bus is told of runs that a crew really executes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from crewline.engine.executor import Executor
from crewline.models.limits import Guards, LimitsPolicy
from crewline.models.runs import RunCreate
from tests.buses import Bus
from tests.unit.engine.places import PATIENCE_S, Place, ask_twice, chain, step
from tests.unit.store.worlds import TENANT, claimed


@pytest.fixture
def bus(place: Place) -> Bus:
    """The bus of the place's deployment."""
    bus = Bus()
    place.world = replace(place.world, bus=bus)
    return bus


def ended(bus: Bus) -> list[tuple[str, str, str | None]]:
    return [(event.type, event.status, event.error) for event in bus.told if event.type != "run.started"]


def test_a_run_that_stops_at_a_question_is_interrupted_and_its_answer_succeeds(
    place: Place, bus: Bus
) -> None:
    place.serve(chain(ask=ask_twice))
    place.run({"n": 0})
    assert place.thread_row()["status"] == "interrupted"
    for answer in ("yes", "no"):
        place.run(None, command={"resume": answer})
    assert [what for what, *_ in ended(bus)] == ["run.interrupted", "run.interrupted", "run.succeeded"]
    assert {status for _, status, _ in ended(bus)} == {"success"}


def test_a_run_that_crosses_a_limit_says_which(place: Place, bus: Bus) -> None:
    place.serve(chain(a=step("a"), b=step("b")))
    started = place.start({"n": 0})
    around = replace(place.around, guards=Guards(limits=LimitsPolicy(supersteps=1)))
    Executor(around, place.loop).execute(started.run, claimed(started)).result(PATIENCE_S)
    assert ended(bus) == [("run.failed", "error", "SuperstepLimit")]


@pytest.mark.parametrize("crew", ["steps", "failing"])
def test_a_stateless_run_is_told_of_with_its_metadata_and_leaves_nothing(
    place: Place, bus: Bus, crew: str
) -> None:
    body: Any = {"assistant_id": crew, "input": {"n": 0}, "metadata": {"customer": "c1"}}
    before = place.world.items()
    place.execute(place.world.runs.start_stateless(TENANT, RunCreate.model_validate(body)))
    assert [event.metadata["customer"] for event in bus.told] == ["c1", "c1"]
    assert [event.type for event in bus.told] == [
        "run.started", "run.succeeded" if crew == "steps" else "run.failed",
    ]  # fmt: skip
    assert place.world.items() == before
