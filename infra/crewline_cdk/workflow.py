"""The workflow in which runs go on that outlive an invocation: slice after slice, until the run has ended."""

from __future__ import annotations

from typing import Final

from aws_cdk import ArnFormat, Aws, Duration, Stack, Token
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_stepfunctions as sfn
from aws_cdk import aws_stepfunctions_tasks as tasks
from constructs import Construct

from crewline.errors import BadDeployment
from crewline.models.leases import LEASE_MS

_SUFFIX: Final = "-runs"
_NAME: Final = f"{Aws.STACK_NAME}{_SUFFIX}"

_LONGEST_STACK_NAME: Final = 80 - len(_SUFFIX)
"""Step Functions takes 80 characters for the name of a workflow; CloudFormation would take 128 for a stack's."""

_LAMBDAS_FAULT: Final = (
    "Lambda.ServiceException",
    "Lambda.AWSLambdaException",
    "Lambda.SdkClientException",
    "Lambda.ClientExecutionTimeoutException",
    "Lambda.TooManyRequestsException",
)
"""The worker was not started, or Lambda did not say how it ended."""

_EXPIRED: Final = Duration.seconds(LEASE_MS // 1000 + 5)
"""After this long the lease of a slice that died is over, and another can claim the run."""


def check_stack_name(scope: Construct) -> None:
    """Refuse a stack whose workflow could not be named after it.

    Args:
        scope: A construct of the stack.

    Raises:
        BadDeployment: The stack's name is too long.
    """
    name = Stack.of(scope).stack_name
    if not Token.is_unresolved(name) and len(name) > _LONGEST_STACK_NAME:
        raise BadDeployment(
            f"The name of the stack {name} has {len(name)} characters; its workflow is named after it, and at most "
            f"{_LONGEST_STACK_NAME} fit."
        )


def workflow_arn(scope: Construct) -> str:
    """Spell the ARN of the workflow of a stack.

    By its name, and not by a reference: the workflow invokes the worker, and the worker starts executions.
    """
    return Stack.of(scope).format_arn(
        service="states",
        resource="stateMachine",
        resource_name=_NAME,
        arn_format=ArnFormat.COLON_RESOURCE_NAME,
    )


def make_workflow(scope: Construct, worker: lambda_.IFunction) -> sfn.StateMachine:
    """Make the workflow: a Standard state machine that keeps ids and nothing else.

    A slice that died is tried again when its lease is over, twice; then the execution fails, and
    the sweeper starts the next one. What ends a run is the run's error, not the workflow's: its
    execution fails only so that it shows.

    Args:
        scope: The construct that owns it.
        worker: Executes the slices.
    """
    piece = tasks.LambdaInvoke(
        scope,
        "Slice",
        lambda_function=worker,
        payload_response_only=True,
        retry_on_service_exceptions=False,  # those below, with a longer breath
    )
    piece.add_retry(
        errors=list(_LAMBDAS_FAULT),
        interval=Duration.seconds(2),
        backoff_rate=2,
        max_attempts=8,
        max_delay=Duration.seconds(60),
        jitter_strategy=sfn.JitterType.FULL,
    )
    piece.add_retry(errors=[sfn.Errors.ALL], interval=_EXPIRED, backoff_rate=1, max_attempts=2)
    died = sfn.Fail(
        scope,
        "Died",
        error="SliceDied",
        cause="The worker ended three times before it could say how; its log may. The sweeper goes on with the run.",
    )
    piece.add_catch(died, result_path=sfn.JsonPath.DISCARD)
    wait = sfn.Wait(scope, "Wait", time=sfn.WaitTime.seconds_path("$.seconds")).next(piece)
    failed = sfn.Fail(
        scope,
        "Failed",
        error_path="$.error",
        cause="The run ended with an error; its row has the whole of it.",
    )
    following = (
        sfn.Choice(scope, "Next")
        .when(sfn.Condition.string_equals("$.next", "continue"), piece)
        .when(sfn.Condition.string_equals("$.next", "wait"), wait)
        .when(sfn.Condition.string_equals("$.next", "failed"), failed)
        .otherwise(sfn.Succeed(scope, "Done"))
    )
    return sfn.StateMachine(
        scope,
        "Workflow",
        state_machine_name=_NAME,
        comment="Executes a run slice after slice, until it has ended.",
        definition_body=sfn.DefinitionBody.from_chainable(piece.next(following)),
        state_machine_type=sfn.StateMachineType.STANDARD,
        query_language=sfn.QueryLanguage.JSON_PATH,
    )
