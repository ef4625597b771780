"""The HTTP entrance: one Regional REST API in front of the functions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from aws_cdk import Duration, RemovalPolicy, Stack
from aws_cdk import aws_apigateway as apigateway
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from constructs import Construct

from crewline import errors
from crewline.http.cors import Cors
from crewline.http.errors import STATUS
from crewline.http.replies import Reply
from crewline.http.resources import FunctionName
from crewline.models.cors import CorsPolicy
from crewline_cdk.paths import gateway_paths

_LOGGED: Final = (
    "requestId",
    "extendedRequestId",
    "requestTime",
    "httpMethod",
    "resourcePath",
    "status",
    "responseLatency",
    "responseLength",
    "integrationLatency",
    "error.responseType",
)
# The resource's path and never the request's: that one holds ids, and tokens of webhooks.

_RETRY_SECONDS: Final = 1


@dataclass(frozen=True, slots=True)
class Answering:
    """A function that answers requests."""

    live: lambda_.IFunction
    """What of it is invoked."""
    timeout: Duration | None
    """How long it may take."""


@dataclass(frozen=True, slots=True)
class _Refusal:
    """What API Gateway answers by itself, told as a function would tell it."""

    kind: apigateway.ResponseType
    error: type[errors.CrewlineError]
    sentence: str
    any_status: bool = False
    """Whether many things end so, each with a status of its own."""


_REFUSALS: Final = (
    _Refusal(
        apigateway.ResponseType.THROTTLED,
        errors.LimitExceeded,
        "More requests come at once than this API takes; send it again in a moment.",
    ),
    _Refusal(
        apigateway.ResponseType.REQUEST_TOO_LARGE,
        errors.TooLarge,
        "The request is larger than the 6 MB that a function takes; "
        "store large inputs elsewhere and send a reference.",
    ),
    _Refusal(
        apigateway.ResponseType.MISSING_AUTHENTICATION_TOKEN,  # its name for a path that there is not
        errors.NotFound,
        "There is no such path.",
    ),
    _Refusal(
        apigateway.ResponseType.ACCESS_DENIED, errors.Forbidden, "A policy of this API refuses the request."
    ),
    _Refusal(
        apigateway.ResponseType.WAF_FILTERED,
        errors.Forbidden,
        "The firewall of this API refuses the request.",
    ),
    _Refusal(
        apigateway.ResponseType.INTEGRATION_FAILURE,
        errors.Unavailable,
        "The function behind this path did not answer; what it began may go on. "
        "Send it again in a moment, a request that starts something with the same Idempotency-Key.",
    ),
    _Refusal(
        apigateway.ResponseType.INTEGRATION_TIMEOUT,
        errors.Unavailable,
        "The function behind this path did not answer in time; what it began may go on.",
    ),
    _Refusal(
        apigateway.ResponseType.DEFAULT_4_XX,
        errors.BadRequest,
        "API Gateway cannot take the request ($context.error.responseType).",
        any_status=True,
    ),
    _Refusal(
        apigateway.ResponseType.DEFAULT_5_XX,
        errors.CrewlineError,
        "Internal error; look for this request in the logs.",
        any_status=True,
    ),
)


def make_api(
    scope: Construct,
    functions: Mapping[FunctionName, Answering],
    *,
    requests_per_second: int,
    cors: CorsPolicy,
    access_log: logs.ILogGroup,
) -> apigateway.RestApi:
    """Make the REST API: every path answered, with any method, by one of the functions.

    Access logs need a role that API Gateway keeps once an account and region. The stack sets it,
    and leaves it behind when it goes, since other APIs may rely on it by then.

    Args:
        scope: The construct that owns the API.
        functions: The functions behind it, by name.
        requests_per_second: Steady rate of the whole stage; twice as many in a burst.
        cors: Which web pages may read what API Gateway answers by itself.
        access_log: Where each request leaves a line.

    Returns:
        The API, with one deployed stage.
    """
    api = apigateway.RestApi(
        scope,
        "Api",
        rest_api_name=Stack.of(scope).stack_name,
        description="Threads, runs and assistants of Crewline, by the LangGraph Server API",
        endpoint_configuration=apigateway.EndpointConfiguration(types=[apigateway.EndpointType.REGIONAL]),
        cloud_watch_role=True,
        cloud_watch_role_removal_policy=RemovalPolicy.RETAIN,
        deploy_options=apigateway.StageOptions(
            throttling_rate_limit=requests_per_second,
            throttling_burst_limit=2 * requests_per_second,
            access_log_destination=apigateway.LogGroupLogDestination(access_log),
            access_log_format=apigateway.AccessLogFormat.custom(
                json.dumps({name: f"$context.{name}" for name in _LOGGED})
            ),
        ),
    )
    api.node.try_remove_child("Endpoint")  # an output with a hashed name; the stack has its own
    _add_methods(api, functions)
    for refusal in _REFUSALS:
        _add_refusal(api, refusal, cors)
    return api


def _add_refusal(api: apigateway.RestApi, refusal: _Refusal, cors: CorsPolicy) -> None:
    """Let API Gateway tell of an error in the shapes of `crewline.http.errors`: in both, for it does not know which is due."""
    # The extended id: a client may choose the other one, quotes and all. No dot behind a variable: what replaces
    # them is not Velocity, and nothing says where it takes a name to end.
    detail = f"{refusal.sentence} (Request $context.extendedRequestId)"
    code = refusal.error.code
    body = {"detail": detail, "code": code, "error": {"message": detail, "code": code}}
    headers = _readable(cors)
    if refusal.error.retryable:
        headers["retry-after"] = str(_RETRY_SECONDS)
    api.add_gateway_response(
        refusal.kind.response_type,
        type=refusal.kind,
        status_code=None if refusal.any_status else str(STATUS[refusal.error]),
        templates={"application/json": json.dumps(body)},
        response_headers={name: f"'{value}'" for name, value in headers.items()},
    )


def _readable(cors: CorsPolicy) -> dict[str, str]:
    """Give the headers with which a page may read an answer.

    API Gateway cannot compare: where a project names several origins, no page reads these answers.
    """
    if "*" not in cors.allow_origins and (len(cors.allow_origins) != 1 or cors.allow_origin_regex):
        return {}
    (origin, *_) = cors.allow_origins
    return dict(Cors(cors).mark(Reply(200), origin).headers)


def _add_methods(api: apigateway.RestApi, functions: Mapping[FunctionName, Answering]) -> None:
    """Give every resource its ANY method; one permission a function, however many resources.

    Answers are streamed, so that API Gateway waits as long as the function may take, 15 minutes at most.
    """
    integrations = {
        name: apigateway.LambdaIntegration(
            function.live,
            response_transfer_mode=apigateway.ResponseTransferMode.STREAM,
            scope_permission_to_method=False,
            timeout=function.timeout,
        )
        for name, function in functions.items()
    }
    for path, name in gateway_paths().items():
        api.root.resource_for_path(path).add_method("ANY", integrations[name])
