"""The HTTP entrance: one Regional REST API in front of the functions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

from aws_cdk import RemovalPolicy, Stack
from aws_cdk import aws_apigateway as apigateway
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from constructs import Construct

from crewline.http.resources import FunctionName
from crewline_cdk.paths import gateway_paths

_LOGGED: Final = (
    "requestId",
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

_ERROR: Final = {"application/json": '{"detail": $context.error.messageString}'}
# messageString is the message as a JSON string, its quotes included.


def make_api(
    scope: Construct,
    functions: Mapping[FunctionName, lambda_.Function],
    *,
    requests_per_second: int,
    log_retention: logs.RetentionDays,
    removal_policy: RemovalPolicy,
) -> apigateway.RestApi:
    """Make the REST API: every path answered, with any method, by one of the functions.

    Access logs need a role that API Gateway keeps once an account and region. The stack sets it,
    and leaves it behind when it goes, since other APIs may rely on it by then.

    Args:
        scope: The construct that owns the API.
        functions: The functions behind it, by name.
        requests_per_second: Steady rate of the whole stage; twice as many in a burst.
        log_retention: How long access logs are kept.
        removal_policy: What happens to the access logs when the stack goes.

    Returns:
        The API, with one deployed stage.
    """
    access_log = logs.LogGroup(scope, "AccessLog", retention=log_retention, removal_policy=removal_policy)
    api = apigateway.RestApi(
        scope,
        "Api",
        rest_api_name=Stack.of(scope).stack_name,
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
    for response in (apigateway.ResponseType.DEFAULT_4_XX, apigateway.ResponseType.DEFAULT_5_XX):
        api.add_gateway_response(response.response_type, type=response, templates=_ERROR)
    return api


def _add_methods(api: apigateway.RestApi, functions: Mapping[FunctionName, lambda_.Function]) -> None:
    """Give every resource its ANY method; one permission a function, however many resources.

    Answers are streamed, so that API Gateway waits as long as the function may take, 15 minutes at most.
    """
    integrations = {
        name: apigateway.LambdaIntegration(
            function,
            response_transfer_mode=apigateway.ResponseTransferMode.STREAM,
            scope_permission_to_method=False,
            timeout=function.timeout,
        )
        for name, function in functions.items()
    }
    for path, name in gateway_paths().items():
        api.root.resource_for_path(path).add_method("ANY", integrations[name])
