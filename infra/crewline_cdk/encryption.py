"""A key of the team's own, for everything that a deployment keeps."""

from __future__ import annotations

from aws_cdk import Annotations, ArnFormat, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from constructs import Construct


def let_logs_use(key: kms.IKey, scope: Construct) -> None:
    """Allow CloudWatch Logs to encrypt the log groups of this account and region with a key.

    Every other service asks KMS in the name of a function, whose role says that it may; Logs asks
    in its own, so that the key's policy must name it. CDK cannot change the policy of a key that
    another program has made: then synthesis warns and says what it must have.

    Args:
        key: The key.
        scope: A construct of the stack that uses it.
    """
    stack = Stack.of(scope)
    service = f"logs.{stack.region}.amazonaws.com"
    groups = stack.format_arn(
        service="logs", resource="log-group", resource_name="*", arn_format=ArnFormat.COLON_RESOURCE_NAME
    )
    statement = iam.PolicyStatement(
        principals=[iam.ServicePrincipal(service)],
        actions=["kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:DescribeKey"],
        resources=["*"],
        conditions={"ArnLike": {"kms:EncryptionContext:aws:logs:arn": groups}},
    )
    if not key.add_to_resource_policy(statement).statement_added:
        Annotations.of(scope).add_warning_v2(
            "crewline:key-policy",
            "The policy of the encryption key cannot be changed from here: it must allow the principal "
            "logs.<region>.amazonaws.com to use the key, or the log groups cannot be made.",
        )


def let_events_use(key: kms.IKey, scope: Construct) -> None:
    """Allow EventBridge to encrypt what it puts with the dead letters; as `let_logs_use`.

    Args:
        key: The key.
        scope: A construct of the stack that uses it.
    """
    statement = iam.PolicyStatement(
        principals=[iam.ServicePrincipal("events.amazonaws.com")],
        actions=["kms:Decrypt", "kms:GenerateDataKey*"],
        resources=["*"],
        conditions={"StringEquals": {"aws:SourceAccount": Stack.of(scope).account}},
    )
    if not key.add_to_resource_policy(statement).statement_added:
        Annotations.of(scope).add_warning_v2(
            "crewline:key-policy-events",
            "The policy of the encryption key cannot be changed from here: it must allow the principal "
            "events.amazonaws.com to use the key, or events that cannot be handed over are lost.",
        )
