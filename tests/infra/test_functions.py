import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from crewline.settings import VARIABLES, read_settings
from crewline_cdk.bundles import START, STREAMING_FOLDER

OfType = Callable[[str], dict[str, dict[str, Any]]]
STREAMING = ("ApiFunction", "CrewFunction", "TailFunction")
CREWS = ("CrewFunction", "WorkerFunction")
NAMES = (*STREAMING, "WorkerFunction", "SweeperFunction", "IntakeFunction")


def test_every_function_runs_python_313_on_arm(of_type: OfType) -> None:
    functions = of_type("Lambda::Function")

    assert set(functions) == set(NAMES)
    for function in functions.values():
        assert function["Runtime"] == "python3.13"
        assert function["Architectures"] == ["arm64"]


@pytest.mark.parametrize("name", NAMES)
def test_only_functions_that_load_crews_get_what_crews_need(of_type: OfType, name: str) -> None:
    layers = of_type("Lambda::Function")[name]["Layers"]

    dependencies = "CrewDepsLayer" if name in CREWS else "DepsLayer"
    assert [layer["Ref"] for layer in layers[:3]] == ["CoreLayer", dependencies, "ProjectLayer"]


@pytest.mark.parametrize("name", NAMES)
def test_pydantic_looks_for_plugins_only_where_a_project_may_have_some(of_type: OfType, name: str) -> None:
    variables = of_type("Lambda::Function")[name]["Environment"]["Variables"]
    assert variables.get("PYDANTIC_DISABLE_PLUGINS") == (None if name in CREWS else "__all__")


@pytest.mark.parametrize("name", NAMES)
def test_functions_that_answer_requests_stream_and_the_others_run_the_managed_client(
    of_type: OfType, name: str
) -> None:
    function = of_type("Lambda::Function")[name]
    wrapper = function["Environment"]["Variables"].get("AWS_LAMBDA_EXEC_WRAPPER")

    if name in STREAMING:
        assert function["Handler"] == "handler.answer"
        assert function["Layers"][3:] == [{"Ref": "StreamingLayer"}]
        assert wrapper == f"/opt/{STREAMING_FOLDER}/{START}"
    else:
        assert (function["Handler"], function["Layers"][3:], wrapper) == ("handler.handler", [], None)


def test_followers_get_little_memory_and_much_time(of_type: OfType) -> None:
    tail = of_type("Lambda::Function")["TailFunction"]

    assert (tail["MemorySize"], tail["Timeout"]) == (512, 900)
    assert "ReservedConcurrentExecutions" not in tail


@pytest.mark.parametrize("name", NAMES)
def test_the_settings_read_what_the_constructs_wrote(of_type: OfType, name: str) -> None:
    variables = of_type("Lambda::Function")[name]["Environment"]["Variables"]
    others = {
        "AWS_LAMBDA_EXEC_WRAPPER",
        "LANGGRAPH_STRICT_MSGPACK",
        "POWERTOOLS_SERVICE_NAME",
        "PYDANTIC_DISABLE_PLUGINS",
    }

    settings = read_settings({key: str(value) for key, value in variables.items()})

    assert set(variables) - others <= set(VARIABLES.values())
    assert settings.manifest == "/opt/project/langgraph.json"
    assert not settings.leaving_seen


def test_every_setting_is_written_but_those_whose_default_is_meant(of_type: OfType) -> None:
    written = {
        variable
        for function in of_type("Lambda::Function").values()
        for variable in function["Environment"]["Variables"]
    }
    # Authentication above all: nothing that a construct sets opens a deployment, and keys name the tenant.
    named = (
        "authentication",
        "tenant",
        "log_level",
        "max_body_bytes",
        "most_slices",
        "event_bus",
        "measures",
    )
    meant = {VARIABLES[name] for name in named}

    assert set(VARIABLES.values()) - written == meant


@pytest.mark.parametrize("name", NAMES)
def test_checkpoints_are_deserialised_strictly(of_type: OfType, name: str) -> None:
    variables = of_type("Lambda::Function")[name]["Environment"]["Variables"]

    assert variables["LANGGRAPH_STRICT_MSGPACK"] == "true"


def test_every_function_logs_to_a_group_that_forgets(of_type: OfType) -> None:
    groups = of_type("Logs::LogGroup")

    for function in of_type("Lambda::Function").values():
        assert groups[function["LoggingConfig"]["LogGroup"]["Ref"]]["RetentionInDays"] == 30


def _source(of_type: OfType, alias: str) -> dict[str, Any]:
    sources = of_type("Lambda::EventSourceMapping").values()
    (found,) = (source for source in sources if f'"Ref": "{alias}"' in json.dumps(source["FunctionName"]))
    assert found["FunctionName"]["Fn::Join"][1][-1] == ":live"
    return found


def test_the_worker_takes_one_message_at_a_time_and_reports_the_one_that_failed(of_type: OfType) -> None:
    source = _source(of_type, "WorkerLive")

    assert source["BatchSize"] == 1
    assert source["ScalingConfig"] == {"MaximumConcurrency": 10}
    assert source["FunctionResponseTypes"] == ["ReportBatchItemFailures"]


def test_webhooks_are_delivered_one_at_a_time_so_that_none_holds_up_another(of_type: OfType) -> None:
    source = _source(of_type, "SweeperLive")
    (queue,) = (name for name in of_type("SQS::Queue") if name.startswith("ServiceWebhookQueue"))

    assert source["EventSourceArn"] == {"Fn::GetAtt": [queue, "Arn"]}
    assert source["BatchSize"] == 1
    assert source["FunctionResponseTypes"] == ["ReportBatchItemFailures"]


def test_the_intake_takes_ten_messages_at_a_time_and_reports_those_that_failed(of_type: OfType) -> None:
    source = _source(of_type, "IntakeLive")
    (queue,) = (name for name in of_type("SQS::Queue") if name.startswith("ServiceIntakeQueue"))

    assert source["EventSourceArn"] == {"Fn::GetAtt": [queue, "Arn"]}
    assert source["BatchSize"] == 10
    assert source["ScalingConfig"] == {"MaximumConcurrency": 10}
    assert source["FunctionResponseTypes"] == ["ReportBatchItemFailures"]


def test_an_event_that_the_intake_failed_on_goes_to_the_dead_letters_of_events(of_type: OfType) -> None:
    intake = of_type("Lambda::Function")["IntakeFunction"]
    (queue,) = (name for name in of_type("SQS::Queue") if name.startswith("ServiceEventDeadLetters"))

    assert intake["DeadLetterConfig"] == {"TargetArn": {"Fn::GetAtt": [queue, "Arn"]}}
    assert (intake["MemorySize"], intake["Timeout"]) == (512, 30)
    variables = intake["Environment"]["Variables"]
    assert variables[VARIABLES["event_dead_letter_url"]] == {"Ref": queue}
    assert "ServiceIntakeDeadLetters" in variables[VARIABLES["intake_dead_letter_url"]]["Ref"]


def test_the_sweeper_is_small_and_runs_every_minute(of_type: OfType) -> None:
    sweeper = of_type("Lambda::Function")["SweeperFunction"]
    ((rule_id, rule),) = of_type("Events::Rule").items()

    assert (sweeper["MemorySize"], sweeper["Timeout"]) == (512, 60)
    assert "ReservedConcurrentExecutions" not in sweeper
    assert (rule["ScheduleExpression"], rule["State"]) == ("rate(1 minute)", "ENABLED")
    assert [target["Arn"] for target in rule["Targets"]] == [{"Ref": "SweeperLive"}]
    (allowed,) = (
        permission
        for permission in of_type("Lambda::Permission").values()
        if permission["Principal"] == "events.amazonaws.com"
    )
    assert allowed["FunctionName"] == {"Ref": "SweeperLive"}
    assert allowed["SourceArn"] == {"Fn::GetAtt": [rule_id, "Arn"]}


def test_a_sweep_that_failed_is_left_to_the_next(of_type: OfType) -> None:
    (config,) = of_type("Lambda::EventInvokeConfig").values()

    assert config["FunctionName"] == {"Ref": "SweeperFunction"}
    assert config["Qualifier"]["Fn::Select"][1] == {"Fn::Split": [":", {"Ref": "SweeperLive"}]}
    assert (config["MaximumRetryAttempts"], config["MaximumEventAgeInSeconds"]) == (0, 60)


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

    assert wildcards == {"/index/*", "/*"}  # of the table, of the bucket


def test_no_function_may_scan_the_table(of_type: OfType) -> None:
    actions = {action for statement in _statements(of_type) for action in statement["Action"]}

    assert not [action for action in actions if action in {"dynamodb:*", "dynamodb:Scan"}]


def test_functions_have_no_policies_but_their_own(of_type: OfType) -> None:
    roles = of_type("IAM::Role")

    for function in of_type("Lambda::Function").values():
        role = function["Role"]["Fn::GetAtt"][0]
        assert "ManagedPolicyArns" not in roles[role]


def _allowed(of_type: OfType, action: str, resource: str) -> set[str]:
    """Which functions a policy allows an action on a resource."""
    policies = of_type("IAM::Policy").items()
    return {
        function.removesuffix("Function")
        for function in NAMES
        for name, policy in policies
        if name.startswith(f"Service{function.removesuffix('Function')}Role")
        for statement in policy["PolicyDocument"]["Statement"]
        if action in statement["Action"] and resource in json.dumps(statement["Resource"])
    }


@pytest.mark.parametrize(
    ("queue", "senders", "takers"),
    [
        ("ServiceRunQueue", {"Api", "Crew", "Worker", "Sweeper", "Intake"}, {"Worker"}),
        ("ServiceDeadLetters", set(), {"Sweeper"}),
        ("ServiceWebhookQueue", {"Api", "Crew", "Worker", "Sweeper", "Intake"}, {"Sweeper"}),
        ("ServiceWebhookDeadLetters", set(), set()),
        ("ServiceIntakeQueue", set(), {"Intake"}),
        ("ServiceIntakeDeadLetters", {"Intake"}, set()),
        ("ServiceEventDeadLetters", {"Intake"}, set()),
    ],
)
def test_who_may_send_to_a_queue_and_take_from_it(
    of_type: OfType, queue: str, senders: set[str], takers: set[str]
) -> None:
    assert _allowed(of_type, "sqs:SendMessage", queue) == senders
    assert _allowed(of_type, "sqs:ReceiveMessage", queue) == takers
    assert _allowed(of_type, "sqs:DeleteMessage", queue) == takers


def test_the_sweeper_writes_items_and_no_objects(of_type: OfType) -> None:
    assert _allowed(of_type, "dynamodb:Query", "/index/*") >= {"Sweeper"}
    assert _allowed(of_type, "s3:PutObject", "ServiceBucket") == {"Api", "Crew", "Worker", "Intake"}
    assert _allowed(of_type, "s3:GetObject*", "ServiceBucket") == {
        name.removesuffix("Function") for name in NAMES
    }


def test_the_tail_reads_and_says_that_somebody_follows(of_type: OfType) -> None:
    (policy,) = (
        policy for name, policy in of_type("IAM::Policy").items() if name.startswith("ServiceTailRole")
    )
    actions = {
        action
        for statement in policy["PolicyDocument"]["Statement"]
        for action in _strings(statement["Action"])
        if not action.startswith("logs:")
    }
    assert actions == {
        *("dynamodb:GetItem", "dynamodb:Query", "dynamodb:UpdateItem"),
        *("s3:GetObject*", "s3:GetBucket*", "s3:List*"),
    }
