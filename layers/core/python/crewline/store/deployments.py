"""Deployed stacks, as a command finds them with the AWS credentials of whoever runs it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from botocore.exceptions import BotoCoreError, ClientError

from crewline.errors import Conflict, Forbidden, NotFound, Unauthenticated, Unavailable
from crewline.store.clients import check_access, client
from crewline.store.table import Table

if TYPE_CHECKING:
    from mypy_boto3_cloudformation.type_defs import StackResourceSummaryTypeDef, StackTypeDef

TABLE_OUTPUT: Final = "TableName"
"""The output of a stack that names its table."""
LIVE: Final = "live"
"""The alias by which every function of a deployment is invoked."""

_STRANGERS: Final = frozenset(
    (
        "ExpiredToken",
        "ExpiredTokenException",
        "IncompleteSignature",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    )
)
"""Errors that say that AWS does not know the credentials, or no more."""
_DENIED: Final = frozenset(("AccessDenied", "AccessDeniedException"))
_CONTESTED: Final = frozenset(("PreconditionFailedException", "ResourceConflictException"))
_BUSY: Final = frozenset(
    ("ServiceException", "Throttling", "ThrottlingException", "TooManyRequestsException")
)


@contextmanager
def reached(*, stack: str, table: str | None = None) -> Iterator[Table]:
    """Reach the table of a deployment.

    Args:
        stack: The name of its CloudFormation stack.
        table: The name of its table; the stack is not looked at then.

    Yields:
        The table. What AWS refuses within the block is told by a sentence.

    Raises:
        Unauthenticated: There are no AWS credentials, or AWS does not know them.
        Forbidden: They do not allow this.
        NotFound: There is no such stack or table, or the stack names no table.
        BadRequest: No AWS region is known.
        Unavailable: AWS did not answer.
    """
    with told(f"There is no table {table or 'of stack ' + stack} in this account and region"):
        yield Table(client("dynamodb"), table or _find_table(stack))


@contextmanager
def told(absent: str) -> Iterator[None]:
    """Tell by a sentence what AWS refuses within a block.

    Args:
        absent: What it means that something is not there.

    Raises:
        Unauthenticated: There are no AWS credentials, or AWS does not know them.
        Forbidden: They do not allow this.
        NotFound: Something is not there.
        Conflict: Somebody else changes the same at this moment.
        BadRequest: No AWS region is known.
        Unavailable: AWS did not answer, or has too much to do.
    """
    check_access()
    try:
        yield
    except BotoCoreError as exc:
        raise Unavailable(f"AWS did not answer ({exc}); try again in a moment.") from exc
    except ClientError as exc:
        code = exc.response["Error"]["Code"]
        if code in _STRANGERS:
            raise Unauthenticated(
                f"AWS does not accept the credentials of this environment ({code}); sign in again, or choose others "
                "with AWS_PROFILE."
            ) from exc
        if code in _DENIED:
            raise Forbidden(
                f"AWS does not allow {exc.operation_name} with the credentials of this environment."
            ) from exc
        if code == "ResourceNotFoundException":
            raise NotFound(f"{absent}; check AWS_PROFILE and AWS_DEFAULT_REGION.") from exc
        if code in _CONTESTED:
            raise Conflict(
                f"AWS refuses {exc.operation_name}, for something else changes the same at this moment ({code}); "
                "see that no deploy is under way, and try again."
            ) from exc
        if code in _BUSY:
            raise Unavailable(
                f"AWS refuses {exc.operation_name} with {code}; try again in a moment."
            ) from exc
        raise


def find_stack(name: str) -> StackTypeDef:
    """Describe a CloudFormation stack.

    Args:
        name: Its name or its id; one that was deleted is found by its id alone.

    Raises:
        NotFound: There is no such stack.
    """
    with _named(name):
        [found] = client("cloudformation").describe_stacks(StackName=name)["Stacks"]
    return found


def resources(stack: str) -> list[StackResourceSummaryTypeDef]:
    """List what a stack has made.

    Raises:
        NotFound: There is no such stack.
    """
    with _named(stack):
        pages = client("cloudformation").get_paginator("list_stack_resources").paginate(StackName=stack)
        return [one for page in pages for one in page["StackResourceSummaries"]]


@contextmanager
def _named(stack: str) -> Iterator[None]:
    try:
        yield
    except ClientError as exc:
        if exc.response["Error"]["Code"] != "ValidationError":
            raise
        raise NotFound(
            f"There is no stack {stack} in this account and region; name it with --stack, or check AWS_PROFILE and "
            "AWS_DEFAULT_REGION."
        ) from exc


def _find_table(stack: str) -> str:
    found = find_stack(stack)
    outputs = {one["OutputKey"]: one["OutputValue"] for one in found.get("Outputs", [])}
    if TABLE_OUTPUT not in outputs:
        raise NotFound(
            f"Stack {stack} ({found['StackStatus']}) has no output {TABLE_OUTPUT}; name its table with --table."
        )
    return outputs[TABLE_OUTPUT]
