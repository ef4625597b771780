"""What a deploy leaves of the functions: a version of each for every build, and the alias that is invoked.

A version of Lambda keeps code, layers and variables for good, so a build that was deployed once can be live
again within seconds. All six are published together, and only when the build is another one: Lambda refuses
to publish a version of a function that has not changed, and a build says that it has.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final, cast

import jsii
from aws_cdk import IStableStringProducer, Lazy, RemovalPolicy, Stack, TreeInspector
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from crewline.settings import VARIABLES
from crewline.store.deployments import LIVE

_OF_THE_FUNCTION: Final = frozenset(("recursiveLoop", "reservedConcurrentExecutions", "tags"))
"""Properties that no version keeps: they are the function's, whichever version is live."""

_PROPERTIES: Final = "aws:cdk:cloudformation:props"
"""Under which name a resource shows its properties to who inspects it."""

_DIGITS: Final = 32


def publish(scope: Construct, functions: Mapping[str, lambda_.Function]) -> dict[str, lambda_.Alias]:
    """Publish a version of each function for the build, and point the functions' aliases at it.

    Args:
        scope: The construct that owns the functions.
        functions: Name → function.

    Returns:
        Name → the alias that everybody invokes.
    """
    build = Lazy.string(_Build(scope, functions))
    return {name: _publish(scope, name, function, build) for name, function in functions.items()}


def _publish(scope: Construct, name: str, function: lambda_.Function, build: str) -> lambda_.Alias:
    title = name.capitalize()
    # Not a variable as the others are, for the build is made of those.
    _resource(function).add_property_override(f"Environment.Variables.{VARIABLES['build']}", build)
    version = lambda_.Version(
        scope,
        f"{title}Version",
        lambda_=function,
        # One of an update that failed goes with it: the next try could not publish the same again.
        removal_policy=RemovalPolicy.RETAIN_ON_UPDATE_OR_DELETE,
    )
    cast("lambda_.CfnVersion", version.node.default_child).override_logical_id(f"{title}Version{build}")
    return lambda_.Alias(scope, f"{title}Live", alias_name=LIVE, version=version)


def _resource(function: lambda_.Function) -> lambda_.CfnFunction:
    return cast("lambda_.CfnFunction", function.node.default_child)


@jsii.implements(IStableStringProducer)
class _Build:
    """The digest of all that versions keep of the functions, when nobody changes them any more: at the synthesis.

    Args:
        scope: A construct of the stack.
        functions: Name → function.
    """

    def __init__(self, scope: Construct, functions: Mapping[str, lambda_.Function]) -> None:
        self._stack = Stack.of(scope)
        self._functions = functions

    def produce(self) -> str:
        """Make the digest."""
        contents = {
            self._stack.resolve(one.ref)["Ref"]: self._stack.resolve(one.content)
            for one in self._stack.node.find_all()
            if isinstance(one, lambda_.CfnLayerVersion)
        }
        kept = {name: self._kept(function) for name, function in self._functions.items()}
        used = {
            layer["Ref"]: contents.get(layer["Ref"])
            for properties in kept.values()
            for layer in properties.get("layers", ())
            if isinstance(layer, dict) and "Ref" in layer
        }
        text = json.dumps([kept, used], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]

    def _kept(self, function: lambda_.Function) -> dict[str, Any]:
        # Attributes of the resource would be copies, without what is still to be filled in.
        inspector = TreeInspector()
        _resource(function).inspect(inspector)
        properties: dict[str, Any] = self._stack.resolve(inspector.attributes[_PROPERTIES])
        return {name: value for name, value in properties.items() if name not in _OF_THE_FUNCTION}
