"""How crons fire: a group of schedules at EventBridge Scheduler, which the functions fill, and a role to fire in."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from aws_cdk import Aws, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_scheduler as scheduler
from aws_cdk import aws_sqs as sqs
from constructs import Construct

_SCHEDULER = "scheduler.amazonaws.com"


@dataclass(frozen=True, slots=True, kw_only=True)
class Firing:
    """What fires crons, and where firings go."""

    group: scheduler.CfnScheduleGroup
    """What has the schedules; those that are left go with it."""
    role: iam.Role
    """In which they invoke the function."""
    function: lambda_.IFunction
    """What takes firings in."""
    dead_letters: sqs.IQueue
    """Where firings go that could not be delivered for a day."""

    def grant_making(self, makers: Iterable[iam.IGrantable]) -> None:
        """Allow functions to make and delete schedules, in this group and with this role."""
        for maker in makers:
            self._grant(maker, "scheduler:CreateSchedule", "scheduler:DeleteSchedule")
            maker.grant_principal.add_to_principal_policy(
                iam.PolicyStatement(
                    actions=["iam:PassRole"],
                    resources=[self.role.role_arn],
                    conditions={"StringEquals": {"iam:PassedToService": _SCHEDULER}},
                )
            )

    def grant_deleting(self, deleter: iam.IGrantable) -> None:
        """Allow a function to delete schedules of this group."""
        self._grant(deleter, "scheduler:DeleteSchedule")

    def _grant(self, grantee: iam.IGrantable, *actions: str) -> None:
        schedules = Stack.of(self.group).format_arn(
            service="scheduler", resource="schedule", resource_name=f"{self.group.ref}/*"
        )
        grantee.grant_principal.add_to_principal_policy(
            iam.PolicyStatement(actions=list(actions), resources=[schedules])
        )


def make_firing(scope: Construct, intake: lambda_.IFunction, dead_letters: sqs.IQueue) -> Firing:
    """Make the group and the role, which Scheduler takes for schedules of this group alone.

    Args:
        scope: The construct that owns them.
        intake: The function that takes firings in.
        dead_letters: Where firings go that it was never given.
    """
    group = scheduler.CfnScheduleGroup(scope, "Schedules")
    role = iam.Role(
        scope,
        "ScheduleRole",
        assumed_by=iam.ServicePrincipal(
            _SCHEDULER,
            conditions={
                "StringEquals": {"aws:SourceAccount": Aws.ACCOUNT_ID, "aws:SourceArn": group.attr_arn}
            },
        ),
    )
    intake.grant_invoke(role)
    dead_letters.grant_send_messages(role)
    return Firing(group=group, role=role, function=intake, dead_letters=dead_letters)
