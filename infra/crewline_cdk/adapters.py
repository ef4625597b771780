"""AWS Lambda Web Adapter in place of the streaming bootstrap: for teams that trust a runtime of AWS's own more.

The adapter is an extension in a public layer. It talks to Lambda, and sends every event as an HTTP request
to the server that `layers/adapter/start` runs; `crewline/http/adapters.py` has the other side.

Source: https://aws.github.io/aws-lambda-web-adapter/
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from aws_cdk import Stack
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from crewline_cdk.bundles import ADAPTER_FOLDER, START, Target

_ACCOUNT: Final = "753240598075"
_VERSION: Final = 30
"""Release 1.1.0."""

_NAMES: Final = {"arm64": "LambdaAdapterLayerArm64", "x86_64": "LambdaAdapterLayerX86"}

VARIABLES: Final[Mapping[str, str]] = {
    "AWS_LAMBDA_EXEC_WRAPPER": f"/opt/{ADAPTER_FOLDER}/{START}",
    "AWS_LWA_INVOKE_MODE": "response_stream",
    "AWS_LWA_PORT": "8080",
    "AWS_LWA_READINESS_CHECK_PROTOCOL": "tcp",  # the port is opened once the handler is there
}
"""What functions need that the adapter serves."""


def adapter_layer(scope: Construct, target: Target, arn: str | None) -> lambda_.ILayerVersion:
    """Find the adapter's layer.

    Args:
        scope: The construct that needs it.
        target: What it is made for.
        arn: Another version, or a copy; without one AWS's own in the region of the stack.
    """
    public = f"arn:{{partition}}:lambda:{{region}}:{_ACCOUNT}:layer:{_NAMES[target.architecture]}:{_VERSION}"
    stack = Stack.of(scope)
    return lambda_.LayerVersion.from_layer_version_arn(
        scope, "WebAdapter", arn or public.format(partition=stack.partition, region=stack.region)
    )
