"""The workflow in the template: what its states do, and who may start and whom it may invoke."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from crewline.models.leases import LEASE_MS

OfType = Callable[[str], dict[str, dict[str, Any]]]


@pytest.fixture
def machine(of_type: OfType) -> dict[str, Any]:
    [found] = of_type("StepFunctions::StateMachine").values()
    return found


@pytest.fixture
def states(machine: dict[str, Any]) -> dict[str, Any]:
    """The definition, with the name of the worker's alias where its ARN will be."""
    _, parts = machine["DefinitionString"]["Fn::Join"]
    text = "".join(part if isinstance(part, str) else part["Ref"] for part in parts)
    definition = json.loads(text)
    assert definition["QueryLanguage"] == "JSONPath"
    assert definition["StartAt"] == "Slice"
    found: dict[str, Any] = definition["States"]
    return found


def test_a_slice_is_the_worker_and_what_it_says_decides_what_comes_next(states: dict[str, Any]) -> None:
    assert states["Slice"]["Resource"] == "WorkerLive"
    choice = states[states["Slice"]["Next"]]
    assert {one["StringEquals"]: one["Next"] for one in choice["Choices"]} == {
        "continue": "Slice",
        "wait": "Wait",
        "failed": "Failed",
    }
    assert {one["Variable"] for one in choice["Choices"]} == {"$.next"}
    assert states[choice["Default"]] == {"Type": "Succeed"}
    assert states["Wait"] == {"Type": "Wait", "SecondsPath": "$.seconds", "Next": "Slice"}


def test_its_state_is_what_the_worker_says_alone(states: dict[str, Any]) -> None:
    """Ids: what a customer said never gets into the history of an execution."""
    assert {"Parameters", "ResultPath", "ResultSelector"}.isdisjoint(states["Slice"])


def test_a_slice_that_died_is_tried_again_once_its_lease_is_over(states: dict[str, Any]) -> None:
    lambdas, every = states["Slice"]["Retry"]
    assert "Lambda.TooManyRequestsException" in lambdas["ErrorEquals"]
    assert every["ErrorEquals"] == ["States.ALL"]
    assert every["IntervalSeconds"] * 1000 > LEASE_MS
    [caught] = states["Slice"]["Catch"]
    assert caught["ErrorEquals"] == ["States.ALL"]
    assert states[caught["Next"]]["Type"] == "Fail"


def test_a_run_that_failed_shows_its_error_and_no_message(states: dict[str, Any]) -> None:
    assert states["Failed"]["ErrorPath"] == "$.error"
    assert "CausePath" not in states["Failed"]


def test_it_is_standard_and_has_the_name_that_the_functions_know(
    machine: dict[str, Any], of_type: OfType
) -> None:
    assert machine["StateMachineType"] == "STANDARD"
    variables = of_type("Lambda::Function")["WorkerFunction"]["Environment"]["Variables"]
    assert _spelled(variables["CREWLINE_WORKFLOW_ARN"]) == (
        "arn:AWS::Partition:states:AWS::Region:AWS::AccountId:stateMachine:"
        + _spelled(machine["StateMachineName"])
    )


def _spelled(joined: dict[str, Any]) -> str:
    return "".join(part if isinstance(part, str) else part["Ref"] for part in joined["Fn::Join"][1])


def test_only_those_start_it_that_send_runs_on(of_type: OfType) -> None:
    starting = {
        role["Ref"]
        for policy in of_type("IAM::Policy").values()
        for statement in policy["PolicyDocument"]["Statement"]
        if statement["Action"] == "states:StartExecution"
        for role in policy["Roles"]
    }
    assert len(starting) == 3
    for name in ("Crew", "Worker", "Sweeper"):
        assert any(f"Service{name}Role" in role for role in starting)
