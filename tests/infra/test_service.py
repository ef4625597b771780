"""What a team's own decisions change; each test synthesises, so there are few."""

from pathlib import Path
from typing import Any

import pytest

from crewline.errors import BadManifest

pytestmark = pytest.mark.usefixtures("node")


def test_a_team_decides_on_project_sizes_and_what_outlives_the_stack(tmp_path: Path) -> None:
    from aws_cdk import App, RemovalPolicy
    from aws_cdk.assertions import Match, Template

    from crewline_cdk.functions import FunctionSize
    from crewline_cdk.service import CrewlineProps
    from crewline_cdk.stacks import CrewlineStack

    manifest = tmp_path / "crews.json"
    manifest.write_text("{}")
    props = CrewlineProps(
        manifest=manifest,
        tenant="acme",
        worker=FunctionSize(memory_mb=512, timeout_seconds=60),
        max_concurrency=3,
        max_followers=7,
        removal_policy=RemovalPolicy.DESTROY,
    )

    app = App(context={"aws:cdk:bundling-stacks": []}, outdir=str(tmp_path / "out"))
    template = Template.from_stack(CrewlineStack(app, "Ours", props=props))

    variables = {"CREWLINE_MANIFEST": "/opt/project/crews.json", "CREWLINE_TENANT": "acme"}
    template.has_resource_properties(
        "AWS::Lambda::Function",
        {"MemorySize": 512, "Timeout": 60, "Environment": {"Variables": Match.object_like(variables)}},
    )
    template.has_resource_properties(
        "AWS::Lambda::Function",
        {
            "ReservedConcurrentExecutions": 7,
            "Environment": {"Variables": Match.object_like({"POWERTOOLS_SERVICE_NAME": "tail"})},
        },
    )
    template.has_resource_properties("AWS::SQS::Queue", {"VisibilityTimeout": 120})
    template.has_resource_properties(
        "AWS::Lambda::EventSourceMapping", {"ScalingConfig": {"MaximumConcurrency": 3}}
    )
    tables: dict[str, Any] = dict(template.find_resources("AWS::DynamoDB::Table"))
    assert [table["DeletionPolicy"] for table in tables.values()] == ["Delete"]


def test_a_manifest_that_is_not_there_is_refused(tmp_path: Path) -> None:
    from aws_cdk import App

    from crewline_cdk.service import CrewlineProps
    from crewline_cdk.stacks import CrewlineStack

    manifest = tmp_path / "langgraph.json"

    with pytest.raises(BadManifest, match=r"There is no manifest at .*langgraph\.json"):
        CrewlineStack(App(outdir=str(tmp_path)), "Ours", props=CrewlineProps(manifest=manifest))
