"""Where state lives: one DynamoDB table, and one S3 bucket for what is too large for an item."""

from __future__ import annotations

from typing import Final

from aws_cdk import Duration, RemovalPolicy
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from constructs import Construct

from crewline.store import keys

_ITEM_ACTIONS: Final = tuple(
    f"dynamodb:{action}"
    for action in (
        "BatchGetItem",
        "BatchWriteItem",
        "ConditionCheckItem",
        "DeleteItem",
        "GetItem",
        "PutItem",
        "Query",
        "UpdateItem",
    )
)
# No Scan: every list is a query. A transaction needs the permissions of the actions in it.


_FOLLOWING_ACTIONS: Final = ("dynamodb:GetItem", "dynamodb:Query", "dynamodb:UpdateItem")
# UpdateItem: a follower asks the owner of a run to log everything.


def _string(name: str) -> dynamodb.Attribute:
    return dynamodb.Attribute(name=name, type=dynamodb.AttributeType.STRING)


def make_table(
    scope: Construct, *, encryption_key: kms.IKey | None, removal_policy: RemovalPolicy
) -> dynamodb.Table:
    """Make the one table, with every index that `crewline.store.keys` names.

    CloudFormation adds one index an update to a table that exists: a release that brings two
    needs two deploys.

    Args:
        scope: The construct that owns the table.
        encryption_key: What encrypts it; a key of DynamoDB's own without one.
        removal_policy: What happens to the table when the stack goes.

    Returns:
        The table: on demand, with time to live and point-in-time recovery.
    """
    table = dynamodb.Table(
        scope,
        "Table",
        partition_key=_string(keys.PARTITION),
        sort_key=_string(keys.SORT),
        billing_mode=dynamodb.BillingMode.PAY_PER_REQUEST,
        time_to_live_attribute=keys.TTL,
        point_in_time_recovery_specification=dynamodb.PointInTimeRecoverySpecification(
            point_in_time_recovery_enabled=True
        ),
        encryption=dynamodb.TableEncryption.CUSTOMER_MANAGED if encryption_key else None,
        encryption_key=encryption_key,
        removal_policy=removal_policy,
    )
    for index in keys.INDEXES:
        table.add_global_secondary_index(
            index_name=index.name,
            partition_key=_string(index.partition),
            sort_key=_string(index.sort),
            projection_type=dynamodb.ProjectionType(index.projection),
        )
    return table


def make_bucket(
    scope: Construct, *, encryption_key: kms.IKey | None, removal_policy: RemovalPolicy
) -> s3.Bucket:
    """Make the bucket for large values.

    Not versioned: objects are named by their content and never overwritten. Never emptied by
    the stack: that would take a custom resource.

    Args:
        scope: The construct that owns the bucket.
        encryption_key: What encrypts it, through a key of the bucket's that saves requests to KMS; keys
            of S3's own without one.
        removal_policy: What happens to the bucket when the stack goes.

    Returns:
        The bucket: private, encrypted, reached over TLS alone.
    """
    return s3.Bucket(
        scope,
        "Bucket",
        block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
        encryption=s3.BucketEncryption.KMS if encryption_key else s3.BucketEncryption.S3_MANAGED,
        encryption_key=encryption_key,
        bucket_key_enabled=encryption_key is not None or None,
        enforce_ssl=True,
        lifecycle_rules=[s3.LifecycleRule(abort_incomplete_multipart_upload_after=Duration.days(1))],
        removal_policy=removal_policy,
    )


def grant_items(table: dynamodb.Table, grantee: iam.IGrantable) -> None:
    """Let a function read and write items, and neither scan nor administer the table.

    Args:
        table: The table, with its indexes.
        grantee: The function.
    """
    _grant(table, grantee, _ITEM_ACTIONS)


def grant_following(table: dynamodb.Table, grantee: iam.IGrantable) -> None:
    """Let a function read items and say on a lease that somebody follows its run.

    Args:
        table: The table.
        grantee: The function.
    """
    _grant(table, grantee, _FOLLOWING_ACTIONS)


def _grant(table: dynamodb.Table, grantee: iam.IGrantable, actions: tuple[str, ...]) -> None:
    table.grant(grantee, *actions)
    if table.encryption_key:  # DynamoDB asks KMS in the name of whoever asks it
        table.encryption_key.grant_encrypt_decrypt(grantee)
