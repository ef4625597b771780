import json
from typing import Any

import pytest

from crewline import locations


@pytest.mark.usefixtures("node")
def test_the_packaged_template_equals_a_fresh_synth() -> None:
    from crewline_cdk.packaging import packaged_template

    stale = "run `make synth` and commit the template"
    assert packaged_template() == locations.TEMPLATE.read_text(), stale


def test_code_lies_in_one_bucket_under_keys_named_after_logical_ids(template: dict[str, Any]) -> None:
    keys = {}
    for name, resource in template["Resources"].items():
        properties = resource.get("Properties", {})
        code = properties.get("Code") or properties.get("Content")
        if code:
            keys[name] = code

    assert keys == {
        name: {"S3Bucket": "crewline-assets", "S3Key": f"{name}.zip"}
        for name in (
            "ApiFunction",
            "CrewFunction",
            "TailFunction",
            "WorkerFunction",
            "SweeperFunction",
            "IntakeFunction",
            "CoreLayer",
            "DepsLayer",
            "CrewDepsLayer",
            "ProjectLayer",
            "StreamingLayer",
        )
    }


def test_the_template_asks_for_nothing_but_the_code(template: dict[str, Any]) -> None:
    assert "Parameters" not in template
    assert "Rules" not in template
    assert "cdk-bootstrap" not in json.dumps(template)


def test_the_outputs_are_what_tools_look_for(template: dict[str, Any]) -> None:
    queues = {"RunQueueUrl", "WebhookQueueUrl", "IntakeQueueUrl"}
    schedules = {"ScheduleGroup", "ScheduleRoleArn", "ScheduleFunctionArn", "ScheduleDeadLettersArn"}
    others = {"ApiUrl", "TableName", "BucketName", "WorkflowArn"}
    assert set(template["Outputs"]) == others | queues | schedules


def test_no_resource_is_a_custom_one(template: dict[str, Any]) -> None:
    kinds = {resource["Type"] for resource in template["Resources"].values()}

    assert not {kind for kind in kinds if kind.startswith("Custom::") or "CustomResource" in kind}


def test_the_stack_stays_far_below_the_limits_of_cloudformation_and_iam(template: dict[str, Any]) -> None:
    resources = template["Resources"].values()
    policies = [item["Properties"] for item in resources if item["Type"] == "AWS::IAM::Policy"]

    assert len(resources) < 200  # of 500
    assert max(len(json.dumps(policy)) for policy in policies) < 5_000  # of 10,240
