"""The CDK command line against one local cloud, and the stacks that it deployed there."""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
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

_KEEPING: Final = ("Retain", "RetainExceptOnCreate")
"""Policies that keep a resource when its stack is removed."""

_ABSENT: Final = (400, 404)
"""What services answer for something that is not there."""


@dataclass(frozen=True, slots=True)
class Deployed:
    """A stack on the local cloud."""

    stack: str
    url: str
    """Where its REST API answers."""
    assembly: Path
    """What was synthesised for it."""
    key: str
    """An API key with all scopes."""
    intake_queue: str
    """URL of its queue for messages that start runs."""


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
            process = subprocess.Popen(
                command,
                cwd=self._folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                process_group=0,
            )
            try:
                printed, _ = process.communicate(timeout=_LONGEST)
            except subprocess.TimeoutExpired as exc:
                raise CheckFailed(f"{' '.join(command)} did not end within {_LONGEST:.0f} s.") from exc
            finally:
                if process.poll() is None:  # with what it has started itself
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
            log.write(printed)
        if process.returncode:
            raise CheckFailed(f"{' '.join(command)} failed:\n{clouds.last_lines(self._log, 20)}")
        return printed

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
        return self._deployed(stack, synthesised, json.loads(outputs.read_text())[stack])

    def deploy_project(self, stack: str, project: Path) -> Deployed:
        """Deploy a project as its team would, with `crewline deploy`."""
        options = ("--stack", stack, "--architecture", ARCHITECTURE, "--yes")
        self.crewline("deploy", "--project", str(project), *options)
        folder = project / ".crewline"
        return self._deployed(
            stack, folder / "cdk.out", json.loads((folder / "outputs.json").read_text())[stack]
        )

    def crewline(self, *arguments: str) -> str:
        """Run Crewline's command line; see `run`."""
        return self.run((sys.executable, "-m", "crewline.cli", *arguments))

    def make_key(self, stack: str, *scopes: str) -> dict[str, Any]:
        """Make an API key with `crewline keys`.

        Args:
            stack: The stack that it is for.
            scopes: What it allows.

        Returns:
            The key's row, with its text as `key`.
        """
        options = [part for scope in scopes for part in ("--scope", scope)]
        made: dict[str, Any] = json.loads(
            self.crewline("keys", "create", "--stack", stack, *options, "--json")
        )
        return made

    def send(self, deployed: Deployed, message: Mapping[str, Any], *, group: str, name: str) -> None:
        """Send a message to the queue of a stack whose messages start runs.

        Args:
            deployed: The stack.
            message: What it says.
            group: Whose order it keeps.
            name: What SQS knows it by.
        """
        self._client("sqs").send_message(
            QueueUrl=deployed.intake_queue,
            MessageBody=json.dumps(message),
            MessageGroupId=group,
            MessageDeduplicationId=name,
        )

    def destroy(self, deployed: Deployed, *, by_crewline: bool = False) -> str:
        """Remove a stack, but for what its policy keeps.

        Args:
            deployed: The stack.
            by_crewline: Whether `crewline destroy` does it, and not the CDK.

        Returns:
            What is still there.

        Raises:
            CheckFailed: Something is that must not be, or the other way round.
        """
        formation = self._client("cloudformation")
        template = formation.get_template(StackName=deployed.stack)["TemplateBody"]
        made = [
            one
            for page in formation.get_paginator("list_stack_resources").paginate(StackName=deployed.stack)
            for one in page["StackResourceSummaries"]
        ]
        if by_crewline:
            self.crewline("destroy", "--stack", deployed.stack, "--yes")
        else:
            self.run(("cdk", "destroy", deployed.stack, "--force", "--app", str(deployed.assembly)))
        kept = Counter[str]()
        for one in made:
            kind, name = one["ResourceType"], one["LogicalResourceId"]
            if kind in _LOOKS:
                there = self._is_there(kind, one["PhysicalResourceId"])
                if there != (template["Resources"][name].get("DeletionPolicy") in _KEEPING):
                    raise CheckFailed(f"{name} ({kind}) is {'still there' if there else 'gone'}.")
                kept[kind] += there
        return "kept by policy: " + ", ".join(
            f"{count} {kind}" for kind, count in sorted(kept.items()) if count
        )

    def _deployed(self, stack: str, assembly: Path, outputs: dict[str, str]) -> Deployed:
        stacks.expire_items(self._cloud, outputs["TableName"])
        host, _, stage = outputs["ApiUrl"].removeprefix("https://").rstrip("/").partition("/")
        url = f"{self._cloud.url}/_aws/execute-api/{host.partition('.')[0]}/{stage}"
        key = self.make_key(stack, "read", "run", "admin")["key"]
        return Deployed(stack, url, assembly, key, outputs["IntakeQueueUrl"])

    def _app(self, stack: str, project: Path | None) -> Sequence[str]:
        context = {"stack": stack, "architecture": ARCHITECTURE}
        if project:
            context["project"] = str(project)
        return ("--app", _APP, *(part for item in context.items() for part in ("-c", "=".join(item))))

    def _is_there(self, kind: str, name: str) -> bool:
        service, operation, argument = _LOOKS[kind]
        try:
            getattr(self._client(service), operation)(**{argument: name})
        except ClientError as exc:
            if exc.response["ResponseMetadata"]["HTTPStatusCode"] not in _ABSENT:
                raise
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
