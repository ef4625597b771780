"""What a team's own decisions change: two syntheses, each of many decisions."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from crewline.errors import BadDeployment, BadManifest
from crewline.local.bundles import layer_bundle
from crewline.local.templates import localised
from crewline.models.cors import CorsPolicy
from crewline.models.intake import EventMapping
from crewline.settings import VARIABLES
from crewline.store.queues import LONGEST_DELAY_S

pytestmark = pytest.mark.usefixtures("node")

NAMES = ("Api", "Crew", "Tail", "Worker", "Sweeper", "Intake")
IMAGE = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/team/crews:1.0"
GRAPHS = {"graphs": {"chat": "./chat.py:graph"}}
MANIFEST: dict[str, Any] = {
    **GRAPHS,
    "env": ".env",
    "http": {"cors": {"allow_origins": ["https://app.example.com"], "allow_credentials": True}},
    "webhooks": {"headers": {"authorization": "${{ env.LG_WEBHOOK_TOKEN }}"}},
    "crewline": {
        "events": [
            {"source": "shop", "detail_type": name, "assistant_id": "chat", "input": "detail"}
            for name in ("Placed", "Paid")
        ]
    },
}
MAPPINGS = [EventMapping.model_validate(one) for one in MANIFEST["crewline"]["events"]]
VARIABLES_FILE = "MODEL=small\nLG_WEBHOOK_TOKEN=t\nAWS_PROFILE=mine\nLANGGRAPH_STRICT_MSGPACK=false\n"
RETAINED = {"AWS::DynamoDB::Table", "AWS::S3::Bucket", "AWS::SQS::Queue", "AWS::Logs::LogGroup"}


@dataclass(frozen=True)
class Synthesised:
    """One stack, and the one that owns what the team hands it."""

    template: dict[str, Any]
    shared: dict[str, Any]
    warnings: list[str]

    def of_type(self, kind: str) -> dict[str, dict[str, Any]]:
        resources = self.template["Resources"].items()
        return {name: item["Properties"] for name, item in resources if item["Type"] == f"AWS::{kind}"}

    def function(self, name: str) -> dict[str, Any]:
        return self.of_type("Lambda::Function")[f"{name}Function"]

    def variables(self, name: str) -> dict[str, Any]:
        variables: dict[str, Any] = self.function(name)["Environment"]["Variables"]
        return variables

    def statements(self, name: str) -> list[dict[str, Any]]:
        """What the role of a function may do."""
        policies = self.of_type("IAM::Policy").items()
        (policy,) = (found for role, found in policies if role.startswith(f"Service{name}Role"))
        statements: list[dict[str, Any]] = policy["PolicyDocument"]["Statement"]
        return statements


def _project(folder: Path, manifest: dict[str, Any]) -> Path:
    (folder / "chat.py").write_text("")
    (folder / ".env").write_text(VARIABLES_FILE)
    path = folder / "crews.json"
    path.write_text(json.dumps(manifest))
    return path


def _synthesise(folder: Path, decide: Callable[[Any], dict[str, Any]]) -> Synthesised:
    """Make a stack of what `decide` decides, given a stack whose resources it may use."""
    from aws_cdk import App, Stack

    from crewline_cdk.props import CrewlineProps
    from crewline_cdk.stacks import CrewlineStack

    context = {
        "aws:cdk:bundling-stacks": [],
        "@aws-cdk/core:defaultCrossStackReferences": "strong",
    }
    app = App(context=context, outdir=str(folder / "out"), analytics_reporting=False)
    shared = Stack(app, "Shared")
    CrewlineStack(app, "Ours", props=CrewlineProps(**decide(shared)))
    assembly = app.synth()
    ours = assembly.get_stack_by_name("Ours")
    return Synthesised(
        template=ours.template,
        shared=assembly.get_stack_by_name("Shared").template,
        warnings=[str(message.entry.data) for message in ours.messages],
    )


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Synthesised:
    """A team that decides on nearly everything."""
    from aws_cdk import RemovalPolicy
    from aws_cdk import aws_events as events
    from aws_cdk import aws_kms as kms
    from aws_cdk import aws_logs as logs
    from aws_cdk import aws_sns as sns

    from crewline_cdk.functions import FunctionSize

    folder = tmp_path_factory.mktemp("ours")

    def decide(shared: Any) -> dict[str, Any]:
        return {
            "manifest": _project(folder, MANIFEST),
            "worker": FunctionSize(memory_mb=512, timeout_seconds=60),
            "max_concurrency": 3,
            "max_followers": 7,
            "max_in_place": 9,
            "environment": {"MODEL": "large", "API_KEY": "{{resolve:secretsmanager:key}}"},
            "image": IMAGE,
            "encryption_key": kms.Key(shared, "Key"),
            "log_retention": logs.RetentionDays.ONE_WEEK,
            "dead_letter_days": 7,
            "removal_policy": RemovalPolicy.DESTROY,
            "tags": {"team": "crews"},
            "alarms_topic": sns.Topic(shared, "Topic"),
            "event_bus": events.EventBus(shared, "Bus"),
        }

    return _synthesise(folder, decide)


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Synthesised:
    """A team with a key of another program, other processors, and pages of several origins."""
    from aws_cdk import aws_kms as kms

    folder = tmp_path_factory.mktemp("theirs")
    manifest = {
        **GRAPHS,
        "env": ".env",
        "http": {"cors": {"allow_origins": ["https://a.example", "https://b.example"]}},
        "auth": {"path": "./chat.py:auth"},
    }

    def decide(shared: Any) -> dict[str, Any]:
        arn = "arn:aws:kms:eu-central-1:123456789012:key/0000"
        return {
            "manifest": _project(folder, manifest),
            "architecture": "x86_64",
            "streaming": "web-adapter",
            "encryption_key": kms.Key.from_key_arn(shared, "Key", arn),
        }

    return _synthesise(folder, decide)


def test_a_team_decides_on_sizes_and_on_how_many_may_be_at_work(ours: Synthesised) -> None:
    worker = ours.function("Worker")

    assert (worker["MemorySize"], worker["Timeout"]) == (512, 60)
    assert ours.function("Tail")["ReservedConcurrentExecutions"] == 7
    assert ours.function("Crew")["ReservedConcurrentExecutions"] == 9
    scaling = [one.get("ScalingConfig") for one in ours.of_type("Lambda::EventSourceMapping").values()]
    assert {"MaximumConcurrency": 3} in scaling
    queues = ours.of_type("SQS::Queue").values()
    assert 120 in [queue.get("VisibilityTimeout") for queue in queues]


def test_what_is_kept_goes_with_the_stack_when_a_team_says_so(ours: Synthesised) -> None:
    kept = [item for item in ours.template["Resources"].values() if item["Type"] in RETAINED]

    assert {item["DeletionPolicy"] for item in kept} == {"Delete"}


def test_logs_and_dead_letters_are_kept_for_as_long_as_a_team_says(ours: Synthesised) -> None:
    assert {group["RetentionInDays"] for group in ours.of_type("Logs::LogGroup").values()} == {7}
    dead = [
        queue["MessageRetentionPeriod"]
        for name, queue in ours.of_type("SQS::Queue").items()
        if "DeadLetters" in name
    ]
    assert dead == [7 * 24 * 3600] * 4


def test_crews_get_the_variables_of_their_project_and_the_sweeper_those_of_webhooks(
    ours: Synthesised,
) -> None:
    for name in ("Crew", "Worker"):
        variables = ours.variables(name)
        assert variables["MODEL"] == "large"
        assert variables["API_KEY"] == "{{resolve:secretsmanager:key}}"
        assert variables["LG_WEBHOOK_TOKEN"] == "t"
        assert variables["LANGGRAPH_STRICT_MSGPACK"] == "true"
        assert "AWS_PROFILE" not in variables
    assert not {"MODEL", "API_KEY", "LG_WEBHOOK_TOKEN"} & (
        ours.variables("Api").keys() | ours.variables("Tail").keys()
    )
    assert ours.variables("Sweeper")["LG_WEBHOOK_TOKEN"] == "t"
    assert "MODEL" not in ours.variables("Sweeper")
    (warning,) = ours.warnings
    assert "AWS_PROFILE, LANGGRAPH_STRICT_MSGPACK of the manifest's env are not deployed" in warning


def test_whoever_ends_runs_may_tell_the_bus_of_a_team_and_the_tail_may_not(
    ours: Synthesised, theirs: Synthesised
) -> None:
    (bus,) = {
        json.dumps(statement["Resource"])
        for name in NAMES
        for statement in ours.statements(name)
        if statement["Action"] == "events:PutEvents"
    }
    told = {
        name
        for name in NAMES
        if any(statement["Action"] == "events:PutEvents" for statement in ours.statements(name))
    }
    assert told == set(NAMES) - {"Tail"}
    assert json.dumps(ours.variables("Worker")[VARIABLES["event_bus"]]) == bus
    assert "events:PutEvents" not in json.dumps(theirs.template)
    assert VARIABLES["event_bus"] not in theirs.variables("Worker")


def test_the_manifest_is_that_of_the_team(ours: Synthesised) -> None:
    for name in NAMES:
        assert ours.variables(name)[VARIABLES["manifest"]] == "/opt/project/crews.json"


# ------------------------------------------------------------------ events


def _rules(stack: Synthesised) -> dict[str, dict[str, Any]]:
    return {name: rule for name, rule in stack.of_type("Events::Rule").items() if "EventPattern" in rule}


def test_every_entry_of_the_manifest_is_a_rule_that_hands_events_to_the_intake(ours: Synthesised) -> None:
    rules = _rules(ours)
    matched = [rule["EventPattern"] for rule in rules.values()]
    assert matched == [{"source": ["shop"], "detail-type": [name]} for name in ("Placed", "Paid")]
    (queue,) = (name for name in ours.of_type("SQS::Queue") if name.startswith("ServiceEventDeadLetters"))
    for name, rule in rules.items():
        (target,) = rule["Targets"]
        assert target["Arn"] == {"Ref": "IntakeLive"}
        assert target["DeadLetterConfig"] == {"Arn": {"Fn::GetAtt": [queue, "Arn"]}}
        allowed = [
            one["SourceArn"] for one in ours.of_type("Lambda::Permission").values() if "SourceArn" in one
        ]
        assert {"Fn::GetAtt": [name, "Arn"]} in allowed


def test_the_local_cloud_has_the_rules_that_a_deployment_has(ours: Synthesised) -> None:
    local = localised(
        {"Resources": {}}, functions={}, layer=layer_bundle(), project={}, local={}, events=MAPPINGS
    )
    there = [(rule["EventPattern"], rule["Targets"][0]["Arn"]) for rule in _rules(ours).values()]
    here = [rule["Properties"] for rule in local["Resources"].values()]
    assert [(rule["EventPattern"], rule["Targets"][0]["Arn"]) for rule in here] == there


def test_eventbridge_may_use_the_key_for_events_that_it_cannot_hand_over(
    ours: Synthesised, theirs: Synthesised
) -> None:
    (key,) = (
        one["Properties"] for one in ours.shared["Resources"].values() if one["Type"] == "AWS::KMS::Key"
    )
    services = [one["Principal"].get("Service") for one in key["KeyPolicy"]["Statement"]]
    assert "events.amazonaws.com" in services
    assert _rules(theirs) == {}
    assert not [warning for warning in theirs.warnings if "events.amazonaws.com" in warning]


# ------------------------------------------------------------------ images


@pytest.mark.parametrize(
    ("name", "entry", "handler"),
    [
        ("Crew", ["python3", "-u", "/opt/streaming"], "handler.answer"),
        ("Worker", ["python3", "-m", "awslambdaric"], "handler.handler"),
    ],
)
def test_one_image_serves_both_functions_that_load_crews(
    ours: Synthesised, name: str, entry: list[str], handler: str
) -> None:
    function = ours.function(name)

    assert function["PackageType"] == "Image"
    assert "team/crews:1.0" in json.dumps(function["Code"]["ImageUri"])
    assert function["ImageConfig"] == {
        "EntryPoint": entry,
        "Command": [handler],
        "WorkingDirectory": f"/var/task/{name.lower()}",
    }
    assert not {"Layers", "Runtime", "Handler"} & function.keys()
    assert "AWS_LAMBDA_EXEC_WRAPPER" not in ours.variables(name)


def test_beside_an_image_there_is_no_layer_for_crews(ours: Synthesised) -> None:
    assert set(ours.of_type("Lambda::LayerVersion")) == {
        *("CoreLayer", "DepsLayer", "ProjectLayer", "StreamingLayer"),
    }
    for name in ("Api", "Tail", "Sweeper", "Intake"):
        assert ours.function(name)["Runtime"] == "python3.13"


def test_functions_that_ask_a_projects_own_authentication_have_what_crews_have(theirs: Synthesised) -> None:
    for name in ("Api", "Crew", "Tail", "Worker"):
        assert theirs.variables(name)["MODEL"] == "small"
        assert theirs.function(name)["Layers"][1] == {"Ref": "CrewDepsLayer"}
    for name in ("Sweeper", "Intake"):
        assert "MODEL" not in theirs.variables(name)
        assert theirs.function(name)["Layers"][1] == {"Ref": "DepsLayer"}


def test_an_image_has_no_room_for_a_projects_own_authentication(tmp_path: Path) -> None:
    manifest = {**GRAPHS, "auth": {"path": "./chat.py:auth"}}

    with pytest.raises(BadDeployment, match="an image has packages for crews alone"):
        _synthesise(tmp_path, lambda _: {"manifest": _project(tmp_path, manifest), "image": IMAGE})


def test_an_image_of_another_region_is_refused(tmp_path: Path) -> None:
    from aws_cdk import App, Environment, Stack

    from crewline_cdk.images import image_code, parse_image

    env = Environment(account="123456789012", region="us-east-1")
    stack = Stack(App(outdir=str(tmp_path)), "Elsewhere", env=env)

    with pytest.raises(BadDeployment, match="The image is in eu-central-1 and the stack in us-east-1"):
        image_code(stack, "crew", parse_image(IMAGE))


# ------------------------------------------------------------------ AWS Lambda Web Adapter


@pytest.mark.parametrize("name", ["Api", "Crew", "Tail"])
def test_the_adapter_and_what_it_asks_come_as_layers(theirs: Synthesised, name: str) -> None:
    function = theirs.function(name)
    *ours, adapter = function["Layers"]

    assert [layer["Ref"] for layer in ours][2:] == ["ProjectLayer", "AdapterLayer"]
    assert len(function["Layers"]) == 5, "all that Lambda takes"
    assert ":753240598075:layer:LambdaAdapterLayerX86:" in json.dumps(adapter)
    assert function["Handler"] == "handler.answer"
    assert theirs.variables(name)["AWS_LAMBDA_EXEC_WRAPPER"] == "/opt/adapter/start"
    assert theirs.variables(name)["AWS_LWA_INVOKE_MODE"] == "response_stream"


@pytest.mark.parametrize("name", ["Worker", "Sweeper", "Intake"])
def test_the_adapter_serves_no_function_that_answers_no_request(theirs: Synthesised, name: str) -> None:
    assert len(theirs.function(name)["Layers"]) == 3
    assert not [variable for variable in theirs.variables(name) if "LWA" in variable or "WRAPPER" in variable]


def test_a_team_may_bring_another_version_of_the_adapter(tmp_path: Path) -> None:
    from aws_cdk import App, Stack

    from crewline_cdk.adapters import adapter_layer
    from crewline_cdk.bundles import Target

    arn = "arn:aws-cn:lambda:cn-north-1:041581134020:layer:LambdaAdapterLayerArm64:30"

    assert adapter_layer(Stack(App(outdir=str(tmp_path)), "Theirs"), Target(), arn).layer_version_arn == arn


# ------------------------------------------------------------------ encryption


def _key(stack: Synthesised) -> Any:
    return stack.of_type("DynamoDB::Table").popitem()[1]["SSESpecification"]["KMSMasterKeyId"]


def test_one_key_encrypts_all_that_is_kept(ours: Synthesised) -> None:
    key = _key(ours)

    (table,) = ours.of_type("DynamoDB::Table").values()
    assert table["SSESpecification"] == {"KMSMasterKeyId": key, "SSEEnabled": True, "SSEType": "KMS"}
    (bucket,) = ours.of_type("S3::Bucket").values()
    (rule,) = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert rule["ServerSideEncryptionByDefault"] == {"KMSMasterKeyID": key, "SSEAlgorithm": "aws:kms"}
    assert rule["BucketKeyEnabled"] is True
    queues = ours.of_type("SQS::Queue").values()
    assert [queue["KmsMasterKeyId"] for queue in queues] == [key] * 7
    groups = ours.of_type("Logs::LogGroup").values()
    assert [group["KmsKeyId"] for group in groups] == [key] * 7
    functions = ours.of_type("Lambda::Function").values()
    assert [function["KmsKeyArn"] for function in functions] == [key] * 6


@pytest.mark.parametrize("name", NAMES)
def test_every_function_may_use_the_key_and_no_other(ours: Synthesised, name: str) -> None:
    allowed = {
        action
        for statement in ours.statements(name)
        if statement["Resource"] == _key(ours)
        for action in ([statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"])
    }

    assert allowed >= {"kms:Decrypt", "kms:Encrypt", "kms:GenerateDataKey*"}
    for statement in ours.statements(name):
        if "kms:" in json.dumps(statement["Action"]):
            assert statement["Resource"] == _key(ours)


def test_logs_may_use_the_key_for_groups_of_this_account_alone(ours: Synthesised) -> None:
    (key,) = (
        one["Properties"] for one in ours.shared["Resources"].values() if one["Type"] == "AWS::KMS::Key"
    )
    (statement,) = (
        one for one in key["KeyPolicy"]["Statement"] if "logs." in json.dumps(one["Principal"].get("Service"))
    )

    condition = json.dumps(statement["Condition"]["ArnLike"]["kms:EncryptionContext:aws:logs:arn"])
    assert '"Ref": "AWS::AccountId"' in condition
    assert ":log-group:*" in condition


def test_a_key_of_another_program_must_allow_logs_itself_which_synthesis_says(theirs: Synthesised) -> None:
    assert _key(theirs) == "arn:aws:kms:eu-central-1:123456789012:key/0000"
    assert [warning for warning in theirs.warnings if "must allow the principal logs." in warning]


# ------------------------------------------------------------------ pages


def _origins(stack: Synthesised) -> Iterator[str | None]:
    for response in stack.of_type("ApiGateway::GatewayResponse").values():
        yield response.get("ResponseParameters", {}).get("gatewayresponse.header.access-control-allow-origin")


def test_errors_of_the_gateway_can_be_read_by_the_one_origin_that_may_read_answers(ours: Synthesised) -> None:
    assert set(_origins(ours)) == {"'https://app.example.com'"}
    response, *_ = ours.of_type("ApiGateway::GatewayResponse").values()
    assert response["ResponseParameters"]["gatewayresponse.header.vary"] == "'origin'"
    assert (
        response["ResponseParameters"]["gatewayresponse.header.access-control-allow-credentials"] == "'true'"
    )


def test_errors_of_the_gateway_are_read_by_nobody_where_origins_must_be_compared(theirs: Synthesised) -> None:
    assert set(_origins(theirs)) == {None}


def _deployment(folder: Path, cors: CorsPolicy, *, seconds: int = 900) -> str:
    """Give the name of the deployment of an API; CloudFormation makes another when it changes."""
    from aws_cdk import App, Duration, Stack
    from aws_cdk import aws_lambda as lambda_
    from aws_cdk import aws_logs as logs
    from aws_cdk.assertions import Template

    from crewline_cdk.api import Answering, make_api

    stack = Stack(App(outdir=str(folder), analytics_reporting=False), "Ours")
    function = lambda_.Function(
        stack,
        "Function",
        runtime=lambda_.Runtime.PYTHON_3_13,
        handler="index.handler",
        code=lambda_.Code.from_inline("pass"),
        timeout=Duration.seconds(seconds),
    )
    make_api(
        stack,
        {name: Answering(function, function.timeout) for name in ("api", "crew", "tail")},
        requests_per_second=10,
        cors=cors,
        access_log=logs.LogGroup(stack, "Log"),
    )
    (name,) = Template.from_stack(stack).find_resources("AWS::ApiGateway::Deployment")
    return str(name)


def test_the_api_is_deployed_anew_when_what_it_answers_changes(tmp_path: Path) -> None:
    any_page, one_page = CorsPolicy(), CorsPolicy(allow_origins=("https://app.example.com",))
    deployed = _deployment(tmp_path, any_page)

    assert _deployment(tmp_path, any_page) == deployed
    assert _deployment(tmp_path, one_page) != deployed, "errors of the gateway"
    assert _deployment(tmp_path, any_page, seconds=60) != deployed, "time limits"


# ------------------------------------------------------------------ alarms, tags, processors


def test_a_night_shift_is_told_of_what_needs_a_person(ours: Synthesised) -> None:
    alarms = ours.of_type("CloudWatch::Alarm")
    functions = [f"{name}{kind}" for name in NAMES for kind in ("Errors", "Throttles")]
    letters = ("RunDeadLetters", "WebhookDeadLetters", "IntakeDeadLetters", "EventDeadLetters")
    others = (*letters, "RunQueueAge", "TableThrottles", "TableErrors")
    (topic,) = {json.dumps(alarm["AlarmActions"]) for alarm in alarms.values()}

    assert len(alarms) == len(functions) + len(others) + 2
    for name in (*functions, *others, "ApiFailures", "SweeperSilent"):
        assert [found for found in alarms if found.startswith(f"Service{name}Alarm")]
    assert "Topic" in topic
    for alarm in alarms.values():
        assert alarm["OKActions"] == alarm["AlarmActions"]
        assert len(alarm["AlarmDescription"]) > 100, "it says what it means and what to do"


def test_alarms_cost_what_the_documentation_says(ours: Synthesised) -> None:
    metrics = [
        alarm.get("Metrics") or [{"MetricStat": alarm["MetricName"]}]
        for alarm in ours.of_type("CloudWatch::Alarm").values()
    ]
    charged = sum("MetricStat" in metric for alarm in metrics for metric in alarm)
    page = (Path(__file__).parents[2] / "docs" / "deploying.md").read_text()

    assert f"{len(metrics)} alarms of {charged} metrics" in page


def test_an_alarm_rings_when_no_sweep_begins_and_when_runs_wait_for_longer_than_one_may_take(
    ours: Synthesised,
) -> None:
    alarms = ours.of_type("CloudWatch::Alarm").items()
    (silent,) = (alarm for name, alarm in alarms if "SweeperSilent" in name)
    (age,) = (alarm for name, alarm in alarms if "RunQueueAge" in name)

    assert (silent["TreatMissingData"], silent["ComparisonOperator"]) == ("breaching", "LessThanThreshold")
    assert silent["EvaluationPeriods"] * silent["Period"] == 300
    (worker,) = (one for name, one in ours.of_type("Lambda::Function").items() if "Worker" in name)
    assert (
        age["Threshold"] > worker["Timeout"] + LONGEST_DELAY_S
    )  # one that was started for later is no older
    (rule,) = (name for name, rule in ours.of_type("Events::Rule").items() if "ScheduleExpression" in rule)
    assert silent["Dimensions"] == [{"Name": "RuleName", "Value": {"Ref": rule}}]


def test_followers_that_are_broken_off_at_the_limit_of_their_function_wake_nobody(ours: Synthesised) -> None:
    alarms = ours.of_type("CloudWatch::Alarm").items()
    counted = {}
    for name in NAMES:
        (alarm,) = (alarm for found, alarm in alarms if found.startswith(f"Service{name}ErrorsAlarm"))
        (expression,) = [one["Expression"] for one in alarm.get("Metrics", []) if "Expression" in one] or [""]
        counted[name] = (alarm["Threshold"], "100 * failed / asked" in expression)

    assert counted == {
        **dict.fromkeys(("Api", "Crew", "Tail"), (20, True)),
        **dict.fromkeys(("Worker", "Sweeper", "Intake"), (0, False)),
    }


def test_nothing_is_charged_for_alarms_that_nobody_hears(theirs: Synthesised) -> None:
    assert theirs.of_type("CloudWatch::Alarm") == {}


def test_tags_are_on_everything_that_can_have_some(ours: Synthesised) -> None:
    tagged = {
        "DynamoDB::Table",
        "S3::Bucket",
        "SQS::Queue",
        "Lambda::Function",
        "Logs::LogGroup",
        "IAM::Role",
    }
    for kind in (*tagged, "ApiGateway::RestApi", "ApiGateway::Stage", "CloudWatch::Alarm"):
        for resource in ours.of_type(kind).values():
            assert {"Key": "team", "Value": "crews"} in resource["Tags"]


def test_functions_and_layers_are_made_for_the_processor_that_a_team_chose(theirs: Synthesised) -> None:
    for function in theirs.of_type("Lambda::Function").values():
        assert function["Architectures"] == ["x86_64"]
    for layer in theirs.of_type("Lambda::LayerVersion").values():
        assert layer["CompatibleArchitectures"] == ["x86_64"]


# ------------------------------------------------------------------ refusals


def _refused(manifest: Path, stack: str = "Ours") -> Any:
    from aws_cdk import App

    from crewline_cdk.props import CrewlineProps
    from crewline_cdk.stacks import CrewlineStack

    return CrewlineStack(App(outdir=str(manifest.parent)), stack, props=CrewlineProps(manifest=manifest))


def test_a_manifest_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadManifest, match=r"There is no langgraph\.json in "):
        _refused(tmp_path / "langgraph.json")


def test_variables_that_lambda_cannot_take_are_refused_before_anything_is_deployed(tmp_path: Path) -> None:
    manifest = _project(tmp_path, {**GRAPHS, "env": {"A-B": "x"}})

    with pytest.raises(BadDeployment, match="'A-B': a name begins with a letter"):
        _refused(manifest)


def test_a_stack_whose_workflow_could_not_be_named_after_it_is_refused(tmp_path: Path) -> None:
    manifest = _project(tmp_path, GRAPHS)

    with pytest.raises(BadDeployment, match=r"has 76 characters; .* at most 75 fit"):
        _refused(manifest, "a" * 76)
