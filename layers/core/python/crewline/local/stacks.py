"""The deploy of the stack to the local cloud, with boto3 alone: no Node, no CDK."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from crewline.local.bundles import Bundle
from crewline.local.clouds import CREDENTIALS, REGION, LocalCloud
from crewline.local.failures import LocalServiceError
from crewline.local.templates import ASSETS
from crewline.store import clients, keys

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient
    from mypy_boto3_cloudformation.type_defs import StackTypeDef

STACK: Final = "crewline"

_TIMEOUT: Final = 60.0
_POLL: Final = 0.05
_UNCHANGED: Final = "No updates are to be performed"
_NEVER_DEPLOYED: Final = frozenset(
    # In progress means cut short: nobody else deploys to a cloud whose state folder we hold.
    {"CREATE_FAILED", "CREATE_IN_PROGRESS", "ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "ROLLBACK_IN_PROGRESS"}
)
_TEMPLATE: Final = "crewline.template.json"
"""CloudFormation takes 51,200 bytes in a request, and 1 MB from a bucket."""
_CAPABILITIES: Final = ("CAPABILITY_IAM", "CAPABILITY_NAMED_IAM")


@dataclass(frozen=True, slots=True)
class Outputs:
    """What the deployed stack says of itself."""

    table: str
    bucket: str
    run_queue_url: str
    webhook_queue_url: str
    intake_queue_url: str
    workflow_arn: str
    schedule_group: str
    schedule_role: str
    schedule_function: str
    schedule_dead_letters: str


def deploy(cloud: LocalCloud, template: Mapping[str, Any], bundles: Iterable[Bundle]) -> Outputs:
    """Create the stack, or bring it up to date; quick when nothing changed.

    Args:
        cloud: Where to.
        template: The template, as `crewline.local.templates.localised` gives it.
        bundles: The code that the template names.

    Returns:
        The stack's outputs.

    Raises:
        LocalServiceError: The stack cannot be deployed, or lacks an output.
    """
    _upload(cloud, template, bundles)
    formation = clients.client(
        "cloudformation", endpoint_url=cloud.url, region=REGION, credentials=CREDENTIALS
    )
    _create_or_update(formation, f"{cloud.url}/{ASSETS}/{_TEMPLATE}")
    outputs = _deployed(formation)
    expire_items(cloud, outputs.table)
    return outputs


def _upload(cloud: LocalCloud, template: Mapping[str, Any], bundles: Iterable[Bundle]) -> None:
    s3 = clients.client("s3", endpoint_url=cloud.url, region=REGION, credentials=CREDENTIALS)
    s3.create_bucket(Bucket=ASSETS)
    for bundle in bundles:
        s3.put_object(Bucket=ASSETS, Key=bundle.key, Body=bundle.content)
    s3.put_object(Bucket=ASSETS, Key=_TEMPLATE, Body=json.dumps(template).encode())


def _create_or_update(formation: CloudFormationClient, url: str) -> None:
    current = _current(formation)
    if current and current["StackStatus"] in _NEVER_DEPLOYED:
        formation.delete_stack(StackName=STACK)
        current = _settled(formation)
    deploy = formation.create_stack if current is None else formation.update_stack
    try:
        deploy(StackName=STACK, TemplateURL=url, Capabilities=_CAPABILITIES)
    except formation.exceptions.ClientError as exc:
        if _UNCHANGED not in str(exc):
            raise LocalServiceError(
                f"The local stack cannot be deployed: {exc} If nothing else helps, remove the state folder."
            ) from exc


def _current(formation: CloudFormationClient) -> StackTypeDef | None:
    try:
        stacks = formation.describe_stacks(StackName=STACK)["Stacks"]
    except formation.exceptions.ClientError as exc:
        if "does not exist" in str(exc):
            return None
        raise
    return next((stack for stack in stacks if stack["StackStatus"] != "DELETE_COMPLETE"), None)


def _settled(formation: CloudFormationClient) -> StackTypeDef | None:
    deadline = time.monotonic() + _TIMEOUT
    while (stack := _current(formation)) and stack["StackStatus"].endswith("_IN_PROGRESS"):
        if time.monotonic() > deadline:
            raise LocalServiceError(
                f"The local stack is still {stack['StackStatus']} after {_TIMEOUT:.0f} s."
            )
        time.sleep(_POLL)
    return stack


def _reason(formation: CloudFormationClient) -> str:
    events = formation.describe_stack_events(StackName=STACK)["StackEvents"]
    failed = [event for event in events if event.get("ResourceStatus", "").endswith("_FAILED")]
    return "; ".join(
        f"{event['LogicalResourceId']}: {event.get('ResourceStatusReason', 'no reason given')}"
        for event in failed
    )


def _deployed(formation: CloudFormationClient) -> Outputs:
    stack = _settled(formation)
    if stack is None or stack["StackStatus"] not in {"CREATE_COMPLETE", "UPDATE_COMPLETE"}:
        raise LocalServiceError(f"The local stack failed: {_reason(formation)}")
    values = {item["OutputKey"]: item["OutputValue"] for item in stack["Outputs"]}
    try:
        return Outputs(
            table=values["TableName"],
            bucket=values["BucketName"],
            run_queue_url=values["RunQueueUrl"],
            webhook_queue_url=values["WebhookQueueUrl"],
            intake_queue_url=values["IntakeQueueUrl"],
            workflow_arn=values["WorkflowArn"],
            schedule_group=values["ScheduleGroup"],
            schedule_role=values["ScheduleRoleArn"],
            schedule_function=values["ScheduleFunctionArn"],
            schedule_dead_letters=values["ScheduleDeadLettersArn"],
        )
    except KeyError as exc:
        raise LocalServiceError(f"The stack has no output {exc}; run `make synth`.") from exc


def make_bus(cloud: LocalCloud, name: str) -> None:
    """Make an event bus, unless it is there; `default` always is.

    Args:
        cloud: Where to.
        name: Its name.
    """
    events = clients.client("events", endpoint_url=cloud.url, region=REGION, credentials=CREDENTIALS)
    with suppress(events.exceptions.ResourceAlreadyExistsException):
        events.create_event_bus(Name=name)


def expire_items(cloud: LocalCloud, table: str) -> None:
    """Have a table's items expire; ministack takes no notice of the template's TimeToLiveSpecification.

    Args:
        cloud: Where the table is.
        table: Its name.
    """
    dynamodb = clients.client("dynamodb", endpoint_url=cloud.url, region=REGION, credentials=CREDENTIALS)
    state = dynamodb.describe_time_to_live(TableName=table)["TimeToLiveDescription"]
    if state["TimeToLiveStatus"] != "ENABLED":
        dynamodb.update_time_to_live(
            TableName=table, TimeToLiveSpecification={"Enabled": True, "AttributeName": keys.TTL}
        )
