"""A local cloud, and stub functions on a template of the same shape as the packaged one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from crewline.local import clouds, states
from crewline.settings import VARIABLES
from crewline.store import keys


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[clouds.LocalCloud]:
    with states.held(tmp_path / "state") as state, clouds.running(state) as cloud:
        yield cloud


@pytest.fixture
def functions(tmp_path: Path) -> Path:
    """A folder for stub functions; `worker` exists and does nothing."""
    folder = tmp_path / "functions"
    for name in ("api", "crew", "tail", "worker"):
        (folder / name).mkdir(parents=True)
    (folder / "worker" / "handler.py").write_text("def handler(event, context):\n    return None\n")
    return folder


def function_resource(name: str, key: str) -> dict[str, Any]:
    return {
        "Type": "AWS::Lambda::Function",
        "Properties": {
            "Handler": "handler.handler",
            "Runtime": "python3.13",
            "Timeout": 30,
            "Role": {"Fn::GetAtt": ["Role", "Arn"]},
            "Code": {"S3Bucket": "anywhere", "S3Key": key},
            "Layers": [{"Ref": "Layer"}],
            "Environment": {
                "Variables": {
                    "POWERTOOLS_SERVICE_NAME": name,
                    VARIABLES["table"]: {"Ref": "Table"},
                    VARIABLES["bucket"]: {"Ref": "Bucket"},
                    VARIABLES["run_queue_url"]: {"Ref": "Queue"},
                    VARIABLES["manifest"]: "/opt/project/langgraph.json",
                }
            },
        },
    }


def table_resource() -> dict[str, Any]:
    indexed = [(index.partition, index.sort) for index in keys.INDEXES]
    names = [keys.PARTITION, keys.SORT, *(name for pair in indexed for name in pair)]
    return {
        "Type": "AWS::DynamoDB::Table",
        "Properties": {
            "BillingMode": "PAY_PER_REQUEST",
            "AttributeDefinitions": [{"AttributeName": name, "AttributeType": "S"} for name in names],
            "KeySchema": key_schema(keys.PARTITION, keys.SORT),
            "TimeToLiveSpecification": {"AttributeName": keys.TTL, "Enabled": True},
            "GlobalSecondaryIndexes": [
                {
                    "IndexName": index.name,
                    "KeySchema": key_schema(index.partition, index.sort),
                    "Projection": {"ProjectionType": index.projection},
                }
                for index in keys.INDEXES
            ],
        },
    }


def key_schema(partition: str, sort: str) -> list[dict[str, str]]:
    return [
        {"AttributeName": partition, "KeyType": "HASH"},
        {"AttributeName": sort, "KeyType": "RANGE"},
    ]


@pytest.fixture
def template(tmp_path: Path) -> Path:
    """The packaged template in small: one table, bucket, queue with event source, three functions."""
    resources = {
        "Table": table_resource(),
        "Bucket": {"Type": "AWS::S3::Bucket"},
        "DeadLetters": {"Type": "AWS::SQS::Queue"},
        "WebhookQueue": {"Type": "AWS::SQS::Queue"},
        "IntakeQueue": {"Type": "AWS::SQS::Queue"},
        "Queue": {
            "Type": "AWS::SQS::Queue",
            "Properties": {
                "VisibilityTimeout": 60,
                "RedrivePolicy": {
                    "deadLetterTargetArn": {"Fn::GetAtt": ["DeadLetters", "Arn"]},
                    "maxReceiveCount": 5,
                },
            },
        },
        "Role": {
            "Type": "AWS::IAM::Role",
            "Properties": {
                "AssumeRolePolicyDocument": {
                    "Version": "2012-10-17",
                    "Statement": [
                        {
                            "Effect": "Allow",
                            "Action": "sts:AssumeRole",
                            "Principal": {"Service": "lambda.amazonaws.com"},
                        }
                    ],
                }
            },
        },
        "Layer": {
            "Type": "AWS::Lambda::LayerVersion",
            "Properties": {"Content": {"S3Bucket": "anywhere", "S3Key": "layer.zip"}},
        },
        "Source": {
            "Type": "AWS::Lambda::EventSourceMapping",
            "Properties": {
                "BatchSize": 1,
                "EventSourceArn": {"Fn::GetAtt": ["Queue", "Arn"]},
                "FunctionName": {"Ref": "WorkerFunction"},
            },
        },
        **{
            f"{name.capitalize()}Function": function_resource(name, f"{name}.zip")
            for name in ("api", "crew", "worker")
        },
    }
    outputs = {
        "TableName": {"Value": {"Ref": "Table"}},
        "BucketName": {"Value": {"Ref": "Bucket"}},
        "RunQueueUrl": {"Value": {"Ref": "Queue"}},
        "WorkflowArn": {"Value": "arn:aws:states:us-east-1:000000000000:stateMachine:none"},
        "ScheduleGroup": {"Value": "none"},
        "ScheduleRoleArn": {"Value": "none"},
        "ScheduleFunctionArn": {"Value": "none"},
        "ScheduleDeadLettersArn": {"Value": "none"},
        "WebhookQueueUrl": {"Value": {"Ref": "WebhookQueue"}},
        "IntakeQueueUrl": {"Value": {"Ref": "IntakeQueue"}},
    }
    path = tmp_path / "template.json"
    path.write_text(json.dumps({"Resources": resources, "Outputs": outputs}))
    return path
