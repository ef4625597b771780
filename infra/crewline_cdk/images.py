"""Crews in a container image, for those that are too heavy for layers; docs/images.md has how to build one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from aws_cdk import Stack, Token
from aws_cdk import aws_ecr as ecr
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from crewline.errors import BadDeployment

_URI: Final = re.compile(
    r"(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[a-z]{2}(-[a-z]+)+-\d)\.amazonaws\.com(\.cn)?"
    r"/(?P<repository>[a-z0-9]+([._/-]+[a-z0-9]+)*)"
    r"(:(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})|@(?P<digest>sha256:[0-9a-f]{64}))"
)

_ENTRIES: Final[Mapping[str, tuple[tuple[str, ...], str]]] = {
    "crew": (("python3", "-u", "/opt/streaming"), "handler.answer"),
    "worker": (("python3", "-m", "awslambdaric"), "handler.handler"),
}
"""Function → its runtime, and the handler that it serves: one image has both."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """An image in Amazon ECR."""

    account: str
    region: str
    repository: str
    version: str
    """Its tag, or its digest, which begins with `sha256:`."""


def parse_image(uri: str) -> Image:
    """Read the URI of an image.

    Args:
        uri: As ECR shows it.

    Raises:
        BadDeployment: It is the URI of no image in ECR, or has neither tag nor digest.
    """
    found = _URI.fullmatch(uri)
    if not found:
        raise BadDeployment(
            f"{uri!r} is no image that Lambda can take; an image is spelled "
            "<account>.dkr.ecr.<region>.amazonaws.com/<repository>:<tag> or …@sha256:<digest>."
        )
    version = found["tag"] or found["digest"]
    return Image(
        account=found["account"], region=found["region"], repository=found["repository"], version=version
    )


def entry_point(function: str) -> tuple[str, ...]:
    """Give the command that serves a function from an image, in the function's folder under `/var/task`.

    Args:
        function: `crew` or `worker`.
    """
    runtime, handler = _ENTRIES[function]
    return (*runtime, handler)


def image_code(scope: Construct, name: str, image: Image) -> lambda_.Code:
    """Give a function its code from an image.

    The stack does not make the image's repository and cannot change its policy: where that is of
    another account, it must allow this one and `lambda.amazonaws.com` to pull.

    Args:
        scope: The construct that owns the function.
        name: The function: `crew` or `worker`.
        image: The image.

    Raises:
        BadDeployment: The image is in another region than the stack.
    """
    stack = Stack.of(scope)
    if not Token.is_unresolved(stack.region) and stack.region != image.region:
        raise BadDeployment(
            f"The image is in {image.region} and the stack in {stack.region}; Lambda takes images of its own "
            "region alone. Push it to a repository there."
        )
    *runtime, handler = entry_point(name)
    repository = ecr.Repository.from_repository_attributes(
        scope,
        f"{name.capitalize()}Image",
        repository_name=image.repository,
        repository_arn=stack.format_arn(
            service="ecr",
            resource="repository",
            resource_name=image.repository,
            account=image.account,
            region=image.region,
        ),
    )
    return lambda_.Code.from_ecr_image(
        repository,
        tag_or_digest=image.version,
        entrypoint=runtime,
        cmd=[handler],
        working_directory=f"/var/task/{name}",
    )
