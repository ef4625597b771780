"""Deployed stacks, as a command finds them with the AWS credentials of whoever runs it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from botocore.exceptions import BotoCoreError, ClientError

from crewline.errors import Forbidden, NotFound, Unauthenticated, Unavailable
from crewline.store.clients import check_access, client
from crewline.store.table import Table

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
    check_access()
    try:
        yield Table(client("dynamodb"), table or _find_table(stack))
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
            raise NotFound(
                f"There is no table {table or 'of stack ' + stack} in this account and region; check AWS_PROFILE and "
                "AWS_DEFAULT_REGION."
            ) from exc
        raise


def _find_table(stack: str) -> str:
    try:
        [found] = client("cloudformation").describe_stacks(StackName=stack)["Stacks"]
    except ClientError as exc:
        if exc.response["Error"]["Code"] != "ValidationError":
            raise
        raise NotFound(
            f"There is no stack {stack} in this account and region; name it with --stack, or check AWS_PROFILE and "
            "AWS_DEFAULT_REGION."
        ) from exc
    except BotoCoreError as exc:
        raise Unavailable("CloudFormation did not answer; try again in a moment.") from exc
    outputs = {one["OutputKey"]: one["OutputValue"] for one in found.get("Outputs", [])}
    if TABLE_OUTPUT not in outputs:
        raise NotFound(
            f"Stack {stack} ({found['StackStatus']}) has no output {TABLE_OUTPUT}; name its table with --table."
        )
    return outputs[TABLE_OUTPUT]
