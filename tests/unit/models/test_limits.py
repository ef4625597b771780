"""How far a run may go: what the project says, what its crew, and what the request lowers."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from crewline.models.limits import NAME, Guards, Limits, LimitsPolicy, RunMetadata
from crewline.models.runs import RunCreate

DAY_S = 86_400


def limits_of(
    policy: dict[str, Any], *, asked: Any = None, crew: str = "planner", longest_s: int = DAY_S
) -> Limits:
    guards = Guards(limits=LimitsPolicy.model_validate(policy))
    return guards.limits_of(crew, {} if asked is None else {NAME: asked}, longest_s=longest_s)


def test_a_project_that_says_nothing_has_limits_too() -> None:
    assert limits_of({}) == Limits(seconds=DAY_S, supersteps=1_000, tokens=10_000_000)


def test_a_project_lowers_and_raises_the_limits_of_its_runs() -> None:
    assert limits_of({"supersteps": 5_000, "tokens": 100, "usd": 2.5}) == Limits(
        seconds=DAY_S, supersteps=5_000, tokens=100, usd=2.5
    )


def test_a_crew_may_have_others_than_the_project() -> None:
    policy = {"tokens": 100, "usd": 1, "crews": {"planner": {"tokens": 200}}}
    assert limits_of(policy).tokens == 200
    assert limits_of(policy).usd == 1
    assert limits_of(policy, crew="reviewer").tokens == 100


def test_no_run_takes_longer_than_the_deployment_allows() -> None:
    assert limits_of({"seconds": 60}, longest_s=30).seconds == 30
    assert limits_of({"seconds": 60}, longest_s=90).seconds == 60


def test_a_request_lowers_limits_and_never_raises_one() -> None:
    policy = {"tokens": 100, "supersteps": 10}
    assert limits_of(policy, asked={"tokens": 50}).tokens == 50
    assert limits_of(policy, asked={"tokens": 50}).supersteps == 10
    assert limits_of(policy, asked={"tokens": 500, "usd": 0.25}) == Limits(
        seconds=DAY_S, supersteps=10, tokens=100, usd=0.25
    )


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"tokens": 0}, "crewline_limits.tokens: input should be greater than 0"),
        ({"seconds": "60"}, "crewline_limits.seconds: input should be a valid integer"),
        ({"dollars": 1}, "crewline_limits.dollars: extra inputs are not permitted"),
        ([1], "crewline_limits: input should be"),
    ],
)
def test_limits_that_make_no_sense_are_refused_with_the_request(asked: Any, said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        RunCreate.model_validate({"assistant_id": "planner", "metadata": {NAME: asked}})
    assert said in str(caught.value)


def test_metadata_describes_the_limits_in_it() -> None:
    schema = TypeAdapter(RunMetadata).json_schema()
    described, nothing = schema["properties"][NAME]["anyOf"]
    assert set(described["properties"]) == set(Limits.model_fields)
    assert nothing == {"type": "null"}
