"""The Lambda functions, all made by one function."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from aws_cdk import Duration, IgnoreMode, RemovalPolicy
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from constructs import Construct

from crewline import locations, settings
from crewline_cdk.bundles import STREAMING_FOLDER, STREAMING_START, Target
from crewline_cdk.layers import ARCHITECTURES, Layers, runtime

_ENDING_S: Final = 60
"""What an invocation has for loading the crews before its run, and for ending it, if it has so much."""


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
    streams: bool = False,
    concurrency: int | None = None,
    recursive_loop: lambda_.RecursiveLoop | None = None,
    executes: bool = False,
) -> lambda_.Function:
    """Make the function whose entry code is `functions/<name>/handler.py`.

    Args:
        scope: The construct that owns the function.
        name: Folder of the entry code; names the function in its logs too.
        size: Its memory and timeout.
        defaults: What it shares with the others.
        streams: Whether it answers HTTP requests: its `answer` is served, in place of `handler`.
        concurrency: How many invocations may be under way at once, reserved for it; the account's
            limit alone without it.
        recursive_loop: Whether Lambda stops the function when its messages come back to it.
        executes: Whether it loads the crews and executes runs: they end before its time is up.

    Returns:
        The function, with a log group and a role of its own.
    """
    title = name.capitalize()
    log_group = logs.LogGroup(
        scope, f"{title}Log", retention=defaults.log_retention, removal_policy=defaults.removal_policy
    )
    # A role of our own: CDK's carries a managed policy that writes to every log group of the account.
    role = iam.Role(scope, f"{title}Role", assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"))
    log_group.grant_write(role)
    environment = {**defaults.environment, "POWERTOOLS_SERVICE_NAME": name}
    if streams:
        environment["AWS_LAMBDA_EXEC_WRAPPER"] = f"/opt/{STREAMING_FOLDER}/{STREAMING_START}"
    if executes:
        longest = max(size.timeout_seconds - _ENDING_S, size.timeout_seconds // 2)
        environment |= settings.environment(longest_run_s=longest)
    return lambda_.Function(
        scope,
        f"{title}Function",
        runtime=runtime(defaults.target),
        architecture=ARCHITECTURES[defaults.target.architecture],
        handler="handler.answer" if streams else "handler.handler",
        code=lambda_.Code.from_asset(
            str(locations.FUNCTIONS / name), exclude=["__pycache__"], ignore_mode=IgnoreMode.GIT
        ),
        layers=defaults.layers.of(crews=executes, streams=streams),
        environment=environment,
        memory_size=size.memory_mb,
        timeout=Duration.seconds(size.timeout_seconds),
        log_group=log_group,
        role=role,
        reserved_concurrent_executions=concurrency,
        recursive_loop=recursive_loop,
    )
