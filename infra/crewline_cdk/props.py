"""What a team decides about its deployment, checked before anything is made of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, get_args

from aws_cdk import RemovalPolicy
from aws_cdk import aws_events as events
from aws_cdk import aws_kms as kms
from aws_cdk import aws_logs as logs
from aws_cdk import aws_sns as sns

from crewline import locations
from crewline.errors import BadDeployment
from crewline.http.preferences import LONGEST_WAIT_S
from crewline.settings import Stage
from crewline_cdk.bundles import Architecture
from crewline_cdk.environments import check_names
from crewline_cdk.functions import FunctionSize
from crewline_cdk.images import parse_image
from crewline_cdk.queues import WEBHOOK_HIDDEN_SECONDS

Streaming = Literal["bootstrap", "web-adapter"]
"""What sends the answers of functions: the layer of this project, or AWS Lambda Web Adapter."""

_CONTROL: Final = FunctionSize(memory_mb=1024, timeout_seconds=90)
_EXECUTION: Final = FunctionSize(memory_mb=1769, timeout_seconds=900)
_FOLLOWING: Final = FunctionSize(memory_mb=512, timeout_seconds=900)
_SWEEP: Final = FunctionSize(memory_mb=512, timeout_seconds=60)
_INTAKE: Final = FunctionSize(memory_mb=512, timeout_seconds=30)

_MEMORY_MB: Final = (128, 10_240)
_TIMEOUTS: Final = {
    "api": (int(LONGEST_WAIT_S) + 10, 900),  # `Prefer: wait` holds a request for so long
    "crew": (30, 900),
    "tail": (30, 900),
    "worker": (30, 900),
    "sweeper": (30, WEBHOOK_HIDDEN_SECONDS),  # a message must stay hidden while it is delivered
    # A message that comes again after six times as long finds its dead letter among those of five minutes.
    "intake": (10, 48),
}
"""Function → shortest and longest timeout, in seconds; Lambda's own limit is 900."""

_DEAD_LETTER_DAYS: Final = (5, 14)
"""More than the four days of the queue before, for a message's age counts from when it was first sent."""

_MOST_TAGS: Final = 45
"""AWS allows 50 on most resources; CloudFormation adds its own."""

_LAYER_ARN: Final = re.compile(r"arn:aws[a-z-]*:lambda:[a-z0-9-]+:\d{12}:layer:[A-Za-z0-9_-]+:\d+")


@dataclass(frozen=True, slots=True, kw_only=True)
class CrewlineProps:
    """What a team decides about its deployment; the defaults suit a small one.

    Raises:
        BadDeployment: A value is outside of what AWS or Crewline allows, or two contradict each other.
    """

    manifest: Path = locations.EXAMPLES / "langgraph.json"
    """The project's langgraph.json; its folder is deployed with it."""
    architecture: Architecture = "arm64"
    """The processor of the functions; arm64 costs a fifth less."""
    api: FunctionSize = _CONTROL
    """The control plane; `Prefer: wait` holds a request for up to 60 seconds."""
    crew: FunctionSize = _EXECUTION
    """Runs in the request."""
    tail: FunctionSize = _FOLLOWING
    """Whoever follows a run that executes elsewhere; each holds one sandbox while it listens."""
    worker: FunctionSize = _EXECUTION
    """Background runs."""
    sweeper: FunctionSize = _SWEEP
    """What looks every minute for what was left lying, and delivers webhooks."""
    intake: FunctionSize = _INTAKE
    """What makes runs of messages and events."""
    max_in_place: int | None = None
    """How many runs may execute in requests at once, reserved for them; without it they share the account's
    concurrency with everything else."""
    max_followers: int | None = None
    """How many may follow at once, reserved for them, as `max_in_place`."""
    max_concurrency: int = 10
    """How many background runs execute at once; at least 2."""
    max_intake: int = 10
    """How many batches of messages are taken in at once; at least 2, and never more than there are groups."""
    longest_run_seconds: int = 21_600
    """How long a run may take, over all its slices, before it ends with status `timeout`."""
    stage: Stage = "production"
    """What the deployment is for; a request that names another environment is answered 404."""
    requests_per_second: int = 100
    """Steady rate that the API takes before it answers 429; twice as many in a burst."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """More variables for the crews, over those of the manifest's `env`."""
    image: str | None = None
    """URI of a container image in ECR for the functions that load crews, in place of layers."""
    streaming: Streaming = "bootstrap"
    """What sends the answers of functions."""
    adapter_layer: str | None = None
    """ARN of another version of the Lambda Web Adapter's layer."""
    event_bus: events.IEventBus | None = None
    """Who is told of every run, when it begins and how it ends; nobody without one, and then it costs nothing."""
    encryption_key: kms.IKey | None = None
    """What encrypts table, bucket, queues, logs and the functions' variables; keys of AWS's own without one."""
    log_retention: logs.RetentionDays = logs.RetentionDays.ONE_MONTH
    """How long the logs of functions and API are kept."""
    dead_letter_days: int = 14
    """How long messages are kept that came to nothing."""
    removal_policy: RemovalPolicy = RemovalPolicy.RETAIN_ON_UPDATE_OR_DELETE
    """What happens to table, bucket, queues and logs when the stack goes; a first deploy that fails leaves none behind."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """Tags on everything that can have some."""
    alarms_topic: sns.ITopic | None = None
    """Who is told when something needs a person; without it there are no alarms, which cost when idle."""

    def __post_init__(self) -> None:
        """Check every value, before the first construct is made."""
        for name, timeouts in _TIMEOUTS.items():
            size: FunctionSize = getattr(self, name)
            _check(f"{name}.memory_mb", size.memory_mb, *_MEMORY_MB)
            _check(f"{name}.timeout_seconds", size.timeout_seconds, *timeouts)
        _check("max_in_place", self.max_in_place, 1)
        _check("max_followers", self.max_followers, 1)
        _check("max_concurrency", self.max_concurrency, 2, 1_000)  # what an SQS event source takes
        _check("max_intake", self.max_intake, 2, 1_000)
        _check("longest_run_seconds", self.longest_run_seconds, 1)
        _check("requests_per_second", self.requests_per_second, 1)
        _check("dead_letter_days", self.dead_letter_days, *_DEAD_LETTER_DAYS)
        check_names(self.environment)
        self._check_tags()
        if self.stage not in get_args(Stage):
            raise BadDeployment(f"stage is {' or '.join(get_args(Stage))}, not {self.stage!r}.")
        self._check_packaging()

    def _check_tags(self) -> None:
        if len(self.tags) > _MOST_TAGS:
            raise BadDeployment(f"There are {len(self.tags)} tags; at most {_MOST_TAGS} are taken.")
        if bad := sorted(name for name in self.tags if not name or name.lower().startswith("aws:")):
            raise BadDeployment(
                f"tags cannot have {', '.join(map(repr, bad))}: AWS keeps these names for itself."
            )

    def _check_packaging(self) -> None:
        if self.streaming not in ("bootstrap", "web-adapter"):
            raise BadDeployment(f"streaming is 'bootstrap' or 'web-adapter', not {self.streaming!r}.")
        if self.image is not None:
            parse_image(self.image)
            if self.streaming == "web-adapter":
                raise BadDeployment(
                    "An image cannot be streamed by 'web-adapter', which comes as a layer; images have no layers. "
                    "Leave streaming at 'bootstrap', or deploy the crews without image."
                )
        if self.adapter_layer is not None:
            if self.streaming != "web-adapter":
                raise BadDeployment(
                    "adapter_layer is only used with streaming='web-adapter'; set both or none."
                )
            if not _LAYER_ARN.fullmatch(self.adapter_layer):
                raise BadDeployment(
                    f"adapter_layer must be the ARN of a layer's version, not {self.adapter_layer!r}."
                )


def _check(name: str, value: int | None, least: int, most: int | None = None) -> None:
    if value is None or (value >= least and (most is None or value <= most)):
        return
    allowed = f"at least {least:,}" if most is None else f"from {least:,} to {most:,}"
    raise BadDeployment(f"{name} must be {allowed}, not {value:,}.")
