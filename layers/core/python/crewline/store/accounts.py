"""The AWS account of whoever runs a command: what a deploy needs of it."""

from __future__ import annotations

from typing import Final

from botocore.exceptions import ClientError

from crewline.store import clients
from crewline.store.deployments import told

_BOOTSTRAP: Final = "/cdk-bootstrap/hnb659fds/version"
"""The parameter in which the CDK keeps that an account's region is bootstrapped."""
_ABSENT: Final = "AWS does not know what was asked for"


def identity() -> tuple[str, str]:
    """Ask AWS who the credentials of this environment are.

    Returns:
        The account's number, and the ARN of the user or role.

    Raises:
        Unauthenticated: There are no credentials, or AWS does not know them.
        BadRequest: No region is known.
        Unavailable: AWS did not answer.
    """
    with told(_ABSENT):
        said = clients.client("sts").get_caller_identity()
    return said["Account"], said["Arn"]


def region() -> str:
    """Tell the region that commands reach.

    Raises:
        Unauthenticated: There are no credentials.
        BadRequest: No region is known.
    """
    with told(_ABSENT):
        return str(clients.client("sts").meta.region_name)


def bootstrap_version() -> str | None:
    """Tell which version of the CDK's bootstrap the region has.

    Returns:
        The version; None where it was never bootstrapped.

    Raises:
        Unauthenticated: There are no credentials, or AWS does not know them.
        Forbidden: They may not read it.
        Unavailable: AWS did not answer.
    """
    with told(_ABSENT):
        try:
            said = clients.client("ssm").get_parameter(Name=_BOOTSTRAP)
        except ClientError as exc:
            if exc.response["Error"]["Code"] == "ParameterNotFound":
                return None
            raise
    return str(said["Parameter"]["Value"])


def concurrency() -> int:
    """Tell how many functions may execute at once in the account and region.

    Raises:
        Unauthenticated: There are no credentials, or AWS does not know them.
        Forbidden: They may not read it.
        Unavailable: AWS did not answer.
    """
    with told(_ABSENT):
        return int(clients.client("lambda").get_account_settings()["AccountLimit"]["ConcurrentExecutions"])
