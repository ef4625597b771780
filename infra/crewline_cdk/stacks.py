"""The stack of one deployment, with the outputs and names that tools look for."""

from __future__ import annotations

from typing import cast

from aws_cdk import CfnElement, CfnOutput, IStackSynthesizer, Stack
from constructs import Construct

from crewline_cdk.props import CrewlineProps
from crewline_cdk.service import CrewlineService


class CrewlineStack(Stack):
    """One `CrewlineService` and what the CLI and the local cloud need to know of it.

    Outputs: `ApiUrl`, `TableName`, `BucketName`, `RunQueueUrl`, `WebhookQueueUrl`, `IntakeQueueUrl`,
    `WorkflowArn`, `ScheduleGroup`, `ScheduleRoleArn`, `ScheduleFunctionArn`, `ScheduleDeadLettersArn`.
    Functions, their aliases and layers have logical ids without a hash (`ApiFunction`, `ApiLive`,
    `CoreLayer`), by which the local cloud finds them.

    Args:
        scope: The app.
        construct_id: Name of the stack.
        props: What the team decided.
        synthesizer: Where CDK puts code; the app's default if not given.

    Raises:
        BadManifest: The manifest is not a file.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        props: CrewlineProps | None = None,
        synthesizer: IStackSynthesizer | None = None,
    ) -> None:
        super().__init__(
            scope, construct_id, synthesizer=synthesizer, description="Crewline: agent crews without servers"
        )
        self.service = CrewlineService(self, "Service", props=props)
        service = self.service
        for part in (*service.functions.values(), *service.aliases.values(), *service.layers):
            cast("CfnElement", part.node.default_child).override_logical_id(part.node.id)
        outputs = {
            "ApiUrl": self.service.api.url,
            "TableName": self.service.table.table_name,
            "BucketName": self.service.bucket.bucket_name,
            "RunQueueUrl": self.service.run_queue.queue_url,
            "WebhookQueueUrl": self.service.webhook_queue.queue_url,
            "IntakeQueueUrl": self.service.intake_queue.queue_url,
            "WorkflowArn": self.service.workflow.state_machine_arn,
            "ScheduleGroup": service.firing.group.ref,
            "ScheduleRoleArn": service.firing.role.role_arn,
            "ScheduleFunctionArn": service.firing.function.function_arn,
            "ScheduleDeadLettersArn": service.firing.dead_letters.queue_arn,
        }
        for name, value in outputs.items():
            CfnOutput(self, name, value=value)
