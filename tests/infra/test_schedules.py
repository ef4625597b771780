"""Crons fire through EventBridge Scheduler: who may make schedules, in which group, and what those may do."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from crewline.settings import VARIABLES
from crewline.store.clients import SERVICES

OfType = Callable[[str], dict[str, dict[str, Any]]]


@pytest.fixture
def group(template: dict[str, Any]) -> str:
    (name,) = (
        name for name, one in template["Resources"].items() if one["Type"] == "AWS::Scheduler::ScheduleGroup"
    )
    return str(name)


@pytest.fixture
def role(of_type: OfType) -> str:
    (name,) = (name for name in of_type("IAM::Role") if name.startswith("ServiceScheduleRole"))
    return name


def statements(of_type: OfType, owner: str) -> Iterator[dict[str, Any]]:
    """What the policies of a role allow."""
    for name, policy in of_type("IAM::Policy").items():
        if name.startswith(f"Service{owner}Role"):
            yield from policy["PolicyDocument"]["Statement"]


def about(of_type: OfType, owner: str, word: str) -> dict[str, Any]:
    """Actions of a service that a role is allowed → on what."""
    return {
        action: statement
        for statement in statements(of_type, owner)
        for action in ([statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"])
        if action.startswith(word)
    }


@pytest.mark.parametrize("name", ["Api", "Sweeper"])
def test_who_makes_schedules_may_do_so_in_this_group_and_with_this_role_alone(
    of_type: OfType, group: str, role: str, name: str
) -> None:
    made = about(of_type, name, "scheduler:")
    assert set(made) == {"scheduler:CreateSchedule", "scheduler:DeleteSchedule"}
    for statement in made.values():
        assert statement["Resource"]["Fn::Join"][1][-3:] == [":schedule/", {"Ref": group}, "/*"]
    ((action, statement),) = about(of_type, name, "iam:").items()
    assert (action, statement["Resource"]) == ("iam:PassRole", {"Fn::GetAtt": [role, "Arn"]})
    assert statement["Condition"] == {"StringEquals": {"iam:PassedToService": "scheduler.amazonaws.com"}}


def test_the_intake_may_delete_schedules_that_no_cron_has_and_nobody_else_touches_any(
    of_type: OfType,
) -> None:
    assert set(about(of_type, "Intake", "scheduler:")) == {"scheduler:DeleteSchedule"}
    assert about(of_type, "Intake", "iam:") == {}
    for name in ("Crew", "Worker", "Tail"):
        assert about(of_type, name, "scheduler:") == {}


def test_schedules_of_this_group_may_invoke_the_intake_and_put_away_what_it_was_not_given(
    of_type: OfType, group: str, role: str
) -> None:
    (trust,) = of_type("IAM::Role")[role]["AssumeRolePolicyDocument"]["Statement"]
    assert trust["Principal"] == {"Service": "scheduler.amazonaws.com"}
    assert trust["Condition"]["StringEquals"] == {
        "aws:SourceAccount": {"Ref": "AWS::AccountId"},
        "aws:SourceArn": {"Fn::GetAtt": [group, "Arn"]},
    }
    allowed = list(statements(of_type, "Schedule"))
    actions = {*about(of_type, "Schedule", "")}
    assert {"lambda:InvokeFunction", "sqs:SendMessage"} <= actions
    assert actions <= {
        "lambda:InvokeFunction",
        "sqs:SendMessage",
        "sqs:GetQueueAttributes",
        "sqs:GetQueueUrl",
    }
    where = json.dumps([one["Resource"] for one in allowed])
    assert "IntakeLive" in where
    assert "ServiceEventDeadLetters" in where


def test_functions_are_told_where_schedules_go(of_type: OfType, group: str, role: str) -> None:
    functions = of_type("Lambda::Function")
    for name in ("ApiFunction", "SweeperFunction"):
        variables = functions[name]["Environment"]["Variables"]
        assert variables[VARIABLES["schedule_group"]] == {"Ref": group}
        assert variables[VARIABLES["schedule_role"]] == {"Fn::GetAtt": [role, "Arn"]}
        assert variables[VARIABLES["schedule_function"]] == {"Ref": "IntakeLive"}
        letters = variables[VARIABLES["schedule_dead_letters"]]["Fn::GetAtt"][0]
        assert letters.startswith("ServiceEventDeadLetters")
    variables = functions["IntakeFunction"]["Environment"]["Variables"]
    assert variables[VARIABLES["schedule_group"]] == {"Ref": group}
    assert VARIABLES["schedule_role"] not in variables
    assert "scheduler" in SERVICES


def test_schedules_go_with_the_stack(template: dict[str, Any], group: str) -> None:
    assert "DeletionPolicy" not in template["Resources"][group], "with its group goes every schedule"
