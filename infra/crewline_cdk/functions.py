"""The Lambda functions, all made by one function."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from aws_cdk import Duration, IgnoreMode, RemovalPolicy
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from crewline import locations
from crewline.settings import UNDEPLOYED, VARIABLES
from crewline_cdk.bundles import Target
from crewline_cdk.environments import check_size
from crewline_cdk.images import Image, image_code
from crewline_cdk.layers import ARCHITECTURES, Layers, runtime

_NO_PLUGINS: Final = {"PYDANTIC_DISABLE_PLUGINS": "__all__"}
"""Where only our own code is, pydantic has none to look for: that opens the metadata of every package."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionSize:
    """What one function may use."""

    memory_mb: int
    """Memory in MB; CPU grows with it, one whole core at 1,769."""
    timeout_seconds: int
    """The longest one invocation may take; at most 900."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionDefaults:
    """What all functions have in common."""

    environment: Mapping[str, str]
    """Variables that `crewline.settings` and the libraries read."""
    target: Target
    """What they run on."""
    layers: Layers
    """What `make_layers` made."""
    streaming: Mapping[str, str]
    """Variables with which functions that stream are served."""
    image: Image | None
    """What functions that load crews run, in place of layers."""
    encryption_key: kms.IKey | None
    """What encrypts logs and variables; keys of AWS's own without one."""
    log_retention: logs.RetentionDays
    """How long logs are kept."""
    removal_policy: RemovalPolicy
    """What happens to the logs when the stack goes."""


def make_function(
    scope: Construct,
    name: str,
    *,
    size: FunctionSize,
    defaults: FunctionDefaults,
    of_project: Mapping[str, str] | None = None,
    streams: bool = False,
    concurrency: int | None = None,
    recursive_loop: lambda_.RecursiveLoop | None = None,
    executes: bool = False,
    authenticates: bool = False,
    dead_letters: sqs.IQueue | None = None,
) -> lambda_.Function:
    """Make the function whose entry code is `functions/<name>/handler.py`.

    Args:
        scope: The construct that owns the function.
        name: Folder of the entry code; names the function in its logs too.
        size: Its memory and timeout.
        defaults: What it shares with the others.
        of_project: Variables that the project sets for it.
        streams: Whether it answers HTTP requests: its `answer` is served, in place of `handler`.
        concurrency: How many invocations may be under way at once, reserved for it; the account's
            limit alone without it.
        recursive_loop: Whether Lambda stops the function when its messages come back to it.
        executes: Whether it loads the crews and executes runs.
        authenticates: Whether it loads the project's own authentication, which may need all that crews need.
        dead_letters: Where events go that it was given to no avail, by whoever does not wait for it.

    Returns:
        The function, with a log group and a role of its own.
    """
    title = name.capitalize()
    log_group = logs.LogGroup(
        scope,
        f"{title}Log",
        retention=defaults.log_retention,
        encryption_key=defaults.encryption_key,
        removal_policy=defaults.removal_policy,
    )
    # A role of our own: CDK's carries a managed policy that writes to every log group of the account.
    role = iam.Role(scope, f"{title}Role", assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"))
    log_group.grant_write(role)
    if defaults.encryption_key:
        defaults.encryption_key.grant_decrypt(role)  # its variables
    image = defaults.image if executes else None
    environment = {**(of_project or {}), **defaults.environment, "POWERTOOLS_SERVICE_NAME": name}
    if not (executes or authenticates):
        environment |= _NO_PLUGINS
    if streams and not image:
        environment |= defaults.streaming
    check_size(name, {**environment, VARIABLES["build"]: UNDEPLOYED})
    return lambda_.Function(
        scope,
        f"{title}Function",
        runtime=lambda_.Runtime.FROM_IMAGE if image else runtime(defaults.target),
        architecture=ARCHITECTURES[defaults.target.architecture],
        handler=lambda_.Handler.FROM_IMAGE if image else f"handler.{'answer' if streams else 'handler'}",
        code=image_code(scope, name, image) if image else _zip(name),
        layers=None if image else defaults.layers.of(name, crews=executes or authenticates, streams=streams),
        environment=environment,
        environment_encryption=defaults.encryption_key,
        memory_size=size.memory_mb,
        timeout=Duration.seconds(size.timeout_seconds),
        log_group=log_group,
        role=role,
        reserved_concurrent_executions=concurrency,
        recursive_loop=recursive_loop,
        dead_letter_queue=dead_letters,
    )


def _zip(name: str) -> lambda_.Code:
    folder = str(locations.FUNCTIONS / name)
    return lambda_.Code.from_asset(folder, exclude=["__pycache__", ".DS_Store"], ignore_mode=IgnoreMode.GIT)
