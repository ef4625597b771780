"""Tuned clients of AWS services: the one place that makes them.

What a client costs per call is set here (a transaction takes 1.7 ms of CPU instead of 1.9 without
parameter validation, request compression and account endpoints); what it may wait is set here too,
so that a hung connection never uses up an invocation. They are botocore's: boto3 would import its
transfer manager, a tenth of what a cold start takes, and adds nothing that is used.
"""

from __future__ import annotations

import functools
import gzip
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, overload

import botocore
import botocore.session
import orjson
from botocore.config import Config
from botocore.exceptions import BotoCoreError

from crewline.errors import BadRequest, Unauthenticated

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sqs import SQSClient

SERVICES: Final = ("dynamodb", "events", "lambda", "s3", "scheduler", "sqs", "stepfunctions")
"""What the functions call; their layers describe no other service where no crew is loaded."""

_CONFIG: Final = Config(
    connect_timeout=2,
    read_timeout=10,
    retries={"mode": "standard", "total_max_attempts": 4},
    max_pool_connections=50,
    tcp_keepalive=True,
    parameter_validation=False,
    # Spelled once: the one that botocore makes of twenty parts, twice for each request, is a tenth of a call.
    user_agent=f"Botocore/{botocore.__version__}",
    disable_request_compression=True,
    account_id_endpoint_mode="disabled",
    request_checksum_calculation="when_required",
    response_checksum_validation="when_required",
)

_PATIENT: Final = _CONFIG.merge(Config(read_timeout=75, retries={"total_max_attempts": 1}))
"""For functions: one that loads its crews takes its time, and what it does must not be asked for twice."""
_CREATION: Final = threading.Lock()
"""A session is not safe for two threads that make clients; the clients are safe to share."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """Credentials for a client that must not use those of its environment."""

    access_key: str
    secret_key: str
    token: str | None = None


@overload
def client(
    service: Literal["dynamodb"],
    *,
    endpoint_url: str | None = ...,
    region: str | None = ...,
    credentials: Credentials | None = ...,
) -> DynamoDBClient: ...
@overload
def client(
    service: Literal["s3"],
    *,
    endpoint_url: str | None = ...,
    region: str | None = ...,
    credentials: Credentials | None = ...,
) -> S3Client: ...
@overload
def client(
    service: Literal["sqs"],
    *,
    endpoint_url: str | None = ...,
    region: str | None = ...,
    credentials: Credentials | None = ...,
) -> SQSClient: ...
@overload
def client(
    service: Literal["lambda", "events", "logs", "scheduler", "ssm", "stepfunctions", "sts"],
    *,
    endpoint_url: str | None = ...,
    region: str | None = ...,
    credentials: Credentials | None = ...,
) -> Any: ...
@overload
def client(
    service: Literal["cloudformation"],
    *,
    endpoint_url: str | None = ...,
    region: str | None = ...,
    credentials: Credentials | None = ...,
) -> CloudFormationClient: ...
def client(
    service: str,
    *,
    endpoint_url: str | None = None,
    region: str | None = None,
    credentials: Credentials | None = None,
) -> Any:
    """Make a client for an AWS service.

    Making one costs tens of milliseconds: make it once and share it, from any thread.

    Args:
        service: Name of the service, as boto3 spells it.
        endpoint_url: Where the service is, if not where the environment says.
        region: Region, if not the environment's.
        credentials: Credentials, if not the environment's.

    Returns:
        The client.

    Raises:
        botocore.exceptions.BotoCoreError: No region is known, or the service is not.
    """
    with _CREATION:
        made = _session().create_client(
            service,
            endpoint_url=endpoint_url,
            region_name=region,
            aws_access_key_id=credentials and credentials.access_key,
            aws_secret_access_key=credentials and credentials.secret_key,
            aws_session_token=credentials and credentials.token,
            config=_PATIENT if service == "lambda" else _CONFIG,
        )
        model = made.meta.service_model
        for name in model.operation_names:
            # Which tables a request names only matters to account endpoints, which are off; botocore
            # looks for them all the same, through every member of a transaction.
            model.operation_model(name).operation_context_parameters = []
        return made


@overload
def deferred(service: Literal["s3"]) -> S3Client: ...
@overload
def deferred(service: Literal["sqs"]) -> SQSClient: ...
@overload
def deferred(service: Literal["lambda", "events", "scheduler", "stepfunctions"]) -> Any: ...
def deferred(service: str) -> Any:
    """Give a client that is made when it is first used, for what most cold starts do not need.

    Args:
        service: Name of the service, as boto3 spells it.
    """
    return _Deferred(service)


class _Deferred:
    """Stands for a client, and asks it for every attribute."""

    def __init__(self, service: str) -> None:
        self._service = service
        self._making = threading.Lock()
        self._made: Any = None

    def __getattr__(self, name: str) -> Any:
        with self._making:
            if self._made is None:
                self._made = client(self._service)  # type: ignore[call-overload]
        return getattr(self._made, name)


def check_access() -> None:
    """Check that the environment says who calls AWS, and where; asks AWS nothing.

    Raises:
        Unauthenticated: There are no credentials, or they cannot be read.
        BadRequest: No region is known.
    """
    try:
        with _CREATION:
            region, credentials = _session().get_config_variable("region"), _session().get_credentials()
        if credentials:
            credentials.get_frozen_credentials()  # those of a role or a sign-on are asked for here
    except BotoCoreError as exc:
        raise Unauthenticated(f"The AWS credentials of this environment cannot be used: {exc}") from exc
    if not credentials:
        raise Unauthenticated(
            "There are no AWS credentials; sign in (`aws sso login`), or set AWS_PROFILE or AWS_ACCESS_KEY_ID."
        )
    if not region:
        raise BadRequest("No AWS region is known; set AWS_DEFAULT_REGION, or one in the AWS profile.")


@functools.cache
def _session() -> Any:
    # One for all clients: a second session would read the partition data from disk again.
    session = botocore.session.Session()
    session.get_component("data_loader").file_loader = _Descriptions()
    return session


class _Descriptions:
    """Reads botocore's descriptions of services and regions, for a cold start in a third of the time."""

    def exists(self, path: str) -> bool:
        """Tell whether there is a description, by its path without the ending."""
        return Path(f"{path}.json").is_file() or Path(f"{path}.json.gz").is_file()

    def load_file(self, path: str) -> Any:
        """Read a description; None if there is none."""
        with suppress(FileNotFoundError):
            return orjson.loads(Path(f"{path}.json").read_bytes())
        with suppress(FileNotFoundError):
            return orjson.loads(gzip.decompress(Path(f"{path}.json.gz").read_bytes()))
        return None
