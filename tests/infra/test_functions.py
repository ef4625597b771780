import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from crewline.settings import VARIABLES, read_settings

OfType = Callable[[str], dict[str, dict[str, Any]]]
NAMES = ("ApiFunction", "CrewFunction", "WorkerFunction")


def test_every_function_runs_python_313_on_arm(of_type: OfType) -> None:
    functions = of_type("Lambda::Function")

    assert set(functions) == set(NAMES)
    for function in functions.values():
        assert function["Runtime"] == "python3.13"
        assert function["Architectures"] == ["arm64"]
        assert function["Handler"] == "handler.handler"
        assert function["Layers"] == [{"Ref": "CoreLayer"}, {"Ref": "DepsLayer"}, {"Ref": "CrewsLayer"}]


@pytest.mark.parametrize("name", NAMES)
def test_the_settings_read_what_the_constructs_wrote(of_type: OfType, name: str) -> None:
    variables = of_type("Lambda::Function")[name]["Environment"]["Variables"]
    others = {"LANGGRAPH_STRICT_MSGPACK", "POWERTOOLS_SERVICE_NAME"}

    settings = read_settings({key: str(value) for key, value in variables.items()})

    assert set(variables) - others <= set(VARIABLES.values())
    assert settings.manifest == "/opt/project/langgraph.json"
    assert settings.tenant == "default"


@pytest.mark.parametrize("name", NAMES)
def test_checkpoints_are_deserialised_strictly(of_type: OfType, name: str) -> None:
    variables = of_type("Lambda::Function")[name]["Environment"]["Variables"]

    assert variables["LANGGRAPH_STRICT_MSGPACK"] == "true"


def test_every_function_logs_to_a_group_that_forgets(of_type: OfType) -> None:
    groups = of_type("Logs::LogGroup")

    for function in of_type("Lambda::Function").values():
        assert groups[function["LoggingConfig"]["LogGroup"]["Ref"]]["RetentionInDays"] == 30


def test_the_worker_takes_one_message_at_a_time_and_reports_the_one_that_failed(of_type: OfType) -> None:
    (source,) = of_type("Lambda::EventSourceMapping").values()

    assert source["FunctionName"] == {"Ref": "WorkerFunction"}
    assert source["BatchSize"] == 1
    assert source["ScalingConfig"] == {"MaximumConcurrency": 10}
    assert source["FunctionResponseTypes"] == ["ReportBatchItemFailures"]


def test_lambda_lets_the_worker_send_to_the_queue_that_feeds_it(of_type: OfType) -> None:
    functions = of_type("Lambda::Function")

    assert functions["WorkerFunction"]["RecursiveLoop"] == "Allow"
    assert "RecursiveLoop" not in functions["ApiFunction"]


def _statements(of_type: OfType) -> Iterator[dict[str, Any]]:
    for policy in of_type("IAM::Policy").values():
        yield from policy["PolicyDocument"]["Statement"]


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)
    elif isinstance(value, dict):
        yield from _strings(list(value.values()))


def test_no_policy_reaches_beyond_the_indexes_and_objects_of_this_stack(of_type: OfType) -> None:
    wildcards = {text for s in _statements(of_type) for text in _strings(s["Resource"]) if "*" in text}

    assert wildcards == {"/index/*", "/*"}


def test_no_function_may_scan_the_table(of_type: OfType) -> None:
    actions = {action for statement in _statements(of_type) for action in statement["Action"]}

    assert not [action for action in actions if action in {"dynamodb:*", "dynamodb:Scan"}]


def test_functions_have_no_policies_but_their_own(of_type: OfType) -> None:
    roles = of_type("IAM::Role")

    for function in of_type("Lambda::Function").values():
        role = function["Role"]["Fn::GetAtt"][0]
        assert "ManagedPolicyArns" not in roles[role]


def test_only_the_worker_may_take_from_the_run_queue(of_type: OfType) -> None:
    takers = [n for n, p in of_type("IAM::Policy").items() if "sqs:ReceiveMessage" in json.dumps(p)]

    assert len(takers) == 1
    assert "Worker" in takers[0]
