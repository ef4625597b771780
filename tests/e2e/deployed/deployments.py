"""The CDK command line against one local cloud, and the stacks that it deployed there."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import boto3
from botocore.exceptions import ClientError

from crewline.local import clouds, stacks
from tests.e2e.deployed.steps import CheckFailed

ROOT: Final = Path(__file__).parents[3]
ARCHITECTURE: Final = {"aarch64": "arm64", "arm64": "arm64"}.get(platform.machine(), "x86_64")
"""That of this machine: what is in the layers is what runs."""

_APP: Final = f"{sys.executable} {ROOT / 'infra' / 'app.py'}"
_LONGEST: Final = 300.0
"""Seconds for one command."""

_LOOKS: Final = {
    "AWS::ApiGateway::RestApi": ("apigateway", "get_rest_api", "restApiId"),
    "AWS::DynamoDB::Table": ("dynamodb", "describe_table", "TableName"),
    "AWS::Events::Rule": ("events", "describe_rule", "Name"),
    "AWS::IAM::Role": ("iam", "get_role", "RoleName"),
    "AWS::Lambda::EventSourceMapping": ("lambda", "get_event_source_mapping", "UUID"),
    "AWS::Lambda::Function": ("lambda", "get_function", "FunctionName"),
    "AWS::S3::Bucket": ("s3", "head_bucket", "Bucket"),
    "AWS::SQS::Queue": ("sqs", "get_queue_attributes", "QueueUrl"),
}
"""How to find out whether a resource is there: service, operation, and the argument that names it."""


@dataclass(frozen=True, slots=True)
class Deployed:
    """A stack on the local cloud."""

    stack: str
    url: str
    """Where its REST API answers."""
    table: str


class Deployer:
    """Deploys to one local cloud, with programs that are given its address and nothing of the caller's account.

    Args:
        cloud: The cloud.
        cdk: The folder of the CDK command line.
        folder: For what is synthesised, and the log of all commands.
    """

    def __init__(self, cloud: clouds.LocalCloud, cdk: Path, folder: Path) -> None:
        self._cloud = cloud
        self._folder = folder
        self._log = folder / "commands.log"
        self._log.write_bytes(b"")
        self._environment = {
            **clouds.inherited(os.environ),
            **cloud.environment,
            "PATH": os.pathsep.join((str(cdk), os.environ["PATH"])),
        }

    def run(self, command: Sequence[str]) -> str:
        """Run a program and wait for it.

        Args:
            command: The program and its arguments.

        Returns:
            What it printed on standard output.

        Raises:
            CheckFailed: It failed, or took too long; the message has its last lines.
        """
        with self._log.open("a") as log:
            log.write(f"\n$ {' '.join(command)}\n")
            log.flush()
            try:
                ended = subprocess.run(
                    command,
                    cwd=self._folder,
                    env=self._environment,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    text=True,
                    check=False,
                    timeout=_LONGEST,
                )
            except subprocess.TimeoutExpired as exc:
                raise CheckFailed(f"{command[0]} did not end within {_LONGEST:.0f} s.") from exc
            log.write(ended.stdout)
        if ended.returncode:
            raise CheckFailed(f"{' '.join(command)} failed:\n{clouds.last_lines(self._log, 20)}")
        return ended.stdout

    def bootstrap(self) -> None:
        """Prepare the account for the CDK."""
        self.run(("cdk", "bootstrap", f"aws://{clouds.ACCOUNT}/{clouds.REGION}"))

    def synth(self, stack: str, project: Path | None = None) -> Path:
        """Synthesise a stack without deploying it.

        Args:
            stack: Its name.
            project: The LangGraph project; the example crews without one.

        Returns:
            The folder of what came out, for `deploy`.
        """
        output = self._folder / "cdk.out" / stack
        self.run(("cdk", "synth", "--quiet", *self._app(stack, project), "--output", str(output)))
        return output

    def deploy(self, stack: str, synthesised: Path) -> Deployed:
        """Deploy what `synth` gave."""
        outputs = self._folder / f"{stack}.json"
        options = ("--require-approval", "never", "--outputs-file", str(outputs))
        self.run(("cdk", "deploy", stack, "--app", str(synthesised), *options))
        return self.deployed(stack, json.loads(outputs.read_text())[stack])

    def deployed(self, stack: str, outputs: dict[str, str]) -> Deployed:
        """Make a deployed stack ready: the local cloud needs to be told of the time to live."""
        stacks.expire_items(self._cloud, outputs["TableName"])
        host, _, stage = outputs["ApiUrl"].removeprefix("https://").rstrip("/").partition("/")
        url = f"{self._cloud.url}/_aws/execute-api/{host.partition('.')[0]}/{stage}"
        return Deployed(stack, url, outputs["TableName"])

    def destroy(self, stack: str) -> str:
        """Remove a stack, but for what its policy keeps.

        Returns:
            What is still there.

        Raises:
            CheckFailed: Something is that must not be, or the other way round.
        """
        formation = self._client("cloudformation")
        template = formation.get_template(StackName=stack)["TemplateBody"]
        policies = {name: one.get("DeletionPolicy") for name, one in template["Resources"].items()}
        made = [
            one
            for page in formation.get_paginator("list_stack_resources").paginate(StackName=stack)
            for one in page["StackResourceSummaries"]
        ]
        output = self._folder / "cdk.out" / stack
        self.run(("cdk", "destroy", stack, "--force", "--app", str(output)))
        kept = Counter[str]()
        for one in made:
            kind, name = one["ResourceType"], one["LogicalResourceId"]
            there = self._is_there(kind, one["PhysicalResourceId"])
            if there is not None and there != (policies[name] == "Retain"):
                raise CheckFailed(
                    f"{name} ({kind}) is {'still there' if there else 'gone'} after cdk destroy."
                )
            kept[kind] += bool(there)
        return "kept by policy: " + ", ".join(
            f"{count} {kind}" for kind, count in sorted(kept.items()) if count
        )

    def _is_there(self, kind: str, name: str) -> bool | None:
        """Ask the service for a resource; None for kinds that nobody pays for or looks at."""
        if kind not in _LOOKS:
            return None
        service, operation, argument = _LOOKS[kind]
        try:
            getattr(self._client(service), operation)(**{argument: name})
        except ClientError:
            return False
        return True

    def _client(self, service: str) -> Any:
        make: Any = boto3.client  # its stubs know the services that the store uses
        return make(
            service,
            endpoint_url=self._cloud.url,
            region_name=clouds.REGION,
            aws_access_key_id=clouds.CREDENTIALS.access_key,
            aws_secret_access_key=clouds.CREDENTIALS.secret_key,
        )

    def _app(self, stack: str, project: Path | None) -> Sequence[str]:
        context = {"stack": stack, "architecture": ARCHITECTURE}
        if project:
            context["project"] = str(project)
        return ("--app", _APP, *(part for item in context.items() for part in ("-c", "=".join(item))))
