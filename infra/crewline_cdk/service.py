"""`CrewlineService`: everything one deployment of Crewline needs, as one construct."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aws_cdk import Duration, RemovalPolicy
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from aws_cdk import aws_sqs as sqs
from aws_cdk.aws_lambda_event_sources import SqsEventSource
from constructs import Construct

from crewline import locations
from crewline.errors import BadManifest
from crewline.settings import environment
from crewline_cdk.api import make_api
from crewline_cdk.bundles import PROJECT_FOLDER, Architecture, Target
from crewline_cdk.functions import FunctionDefaults, FunctionSize, make_function
from crewline_cdk.layers import Layers, make_layers
from crewline_cdk.queues import make_run_queue, make_webhook_queue
from crewline_cdk.storage import grant_following, grant_items, make_bucket, make_table

_CONTROL: Final = FunctionSize(memory_mb=1024, timeout_seconds=90)
_EXECUTION: Final = FunctionSize(memory_mb=1769, timeout_seconds=900)
_FOLLOWING: Final = FunctionSize(memory_mb=512, timeout_seconds=900)
_SWEEP: Final = FunctionSize(memory_mb=512, timeout_seconds=60)

_MAX_DELIVERIES: Final = 10
"""How many webhooks are delivered at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CrewlineProps:
    """What a team decides about its deployment; the defaults suit a small one."""

    manifest: Path = locations.EXAMPLES / "langgraph.json"
    """The project's langgraph.json; its folder is deployed with it."""
    architecture: Architecture = "arm64"
    """The processor of the functions; arm64 costs a fifth less."""
    tenant: str = "default"
    """The tenant of a caller who names none; `[a-z0-9-]{1,36}`."""
    api: FunctionSize = _CONTROL
    """The control plane; `Prefer: wait` holds a request for up to 60 seconds."""
    crew: FunctionSize = _EXECUTION
    """Runs in the request."""
    tail: FunctionSize = _FOLLOWING
    """Whoever follows a run that executes elsewhere; each holds one sandbox while it listens."""
    max_followers: int | None = None
    """How many may follow at once, reserved for them; without it they share the account's concurrency with
    everything else."""
    worker: FunctionSize = _EXECUTION
    """Background runs."""
    max_concurrency: int = 10
    """How many background runs execute at once; at least 2."""
    requests_per_second: int = 100
    """Steady rate that the API takes before it answers 429; twice as many in a burst."""
    log_retention: logs.RetentionDays = logs.RetentionDays.ONE_MONTH
    """How long the logs of functions and API are kept."""
    removal_policy: RemovalPolicy = RemovalPolicy.RETAIN
    """What happens to table, bucket, queues and logs when the stack goes."""


class CrewlineService(Construct):
    """Table, bucket, queues, functions, schedule and HTTP API of one deployment.

    Args:
        scope: The stack, or a construct in it.
        construct_id: Name within the scope.
        props: What the team decided.

    Raises:
        BadManifest: The manifest is not a file.
    """

    def __init__(self, scope: Construct, construct_id: str, *, props: CrewlineProps | None = None) -> None:
        super().__init__(scope, construct_id)
        props = props or CrewlineProps()
        if not props.manifest.is_file():
            raise BadManifest(
                f"There is no manifest at {props.manifest}; pass the path of the project's langgraph.json."
            )
        self.table = make_table(self, removal_policy=props.removal_policy)
        self.bucket = make_bucket(self, removal_policy=props.removal_policy)
        self.run_queue = make_run_queue(
            self, worker_timeout_seconds=props.worker.timeout_seconds, removal_policy=props.removal_policy
        )
        self.webhook_queue = make_webhook_queue(self, removal_policy=props.removal_policy)
        target = Target(architecture=props.architecture)
        layers = make_layers(self, project=props.manifest.resolve().parent, target=target)
        self.layers = layers.all
        self.functions = self._make_functions(props, layers, target)
        self.api = make_api(
            self,
            {"api": self.functions["api"], "crew": self.functions["crew"], "tail": self.functions["tail"]},
            requests_per_second=props.requests_per_second,
            log_retention=props.log_retention,
            removal_policy=props.removal_policy,
        )

    def _make_functions(
        self,
        props: CrewlineProps,
        layers: Layers,
        target: Target,
    ) -> dict[str, lambda_.Function]:
        """Make the functions, and allow each what it needs of table, bucket and queues."""
        dead_letters = _dead_letters(self.run_queue)
        defaults = FunctionDefaults(
            environment={
                **environment(
                    table=self.table.table_name,
                    bucket=self.bucket.bucket_name,
                    run_queue_url=self.run_queue.queue_url,
                    dead_letter_url=dead_letters.queue_url,
                    webhook_queue_url=self.webhook_queue.queue_url,
                    manifest=f"/opt/{PROJECT_FOLDER}/{props.manifest.name}",
                    tenant=props.tenant,
                    leaving_seen=False,  # API Gateway does not tell a function that its client has left
                ),
                # Read when langgraph is imported; lax deserialisation has been remote code execution.
                "LANGGRAPH_STRICT_MSGPACK": "true",
            },
            target=target,
            layers=layers,
            log_retention=props.log_retention,
            removal_policy=props.removal_policy,
        )
        functions = {
            "api": make_function(self, "api", size=props.api, defaults=defaults, streams=True),
            "crew": make_function(
                self, "crew", size=props.crew, defaults=defaults, streams=True, executes=True
            ),
            "tail": make_function(
                self,
                "tail",
                size=props.tail,
                defaults=defaults,
                streams=True,
                concurrency=props.max_followers,
            ),
            # The worker hands a thread's next run over through the queue that feeds it: a loop by
            # design, which Lambda would take for a runaway one after some 16 queued runs.
            "worker": make_function(
                self,
                "worker",
                size=props.worker,
                defaults=defaults,
                recursive_loop=lambda_.RecursiveLoop.ALLOW,
                executes=True,
            ),
            "sweeper": make_function(self, "sweeper", size=_SWEEP, defaults=defaults),
        }
        functions["worker"].add_event_source(
            SqsEventSource(
                self.run_queue,
                batch_size=1,
                max_concurrency=props.max_concurrency,
                report_batch_item_failures=True,
            )
        )
        functions["sweeper"].add_event_source(
            # One at a time: an endpoint that does not answer holds up no other.
            SqsEventSource(
                self.webhook_queue,
                batch_size=1,
                max_concurrency=_MAX_DELIVERIES,
                report_batch_item_failures=True,
            )
        )
        self._sweep_every_minute(functions["sweeper"])
        for name, value in environment(crew_function=functions["crew"].function_name).items():
            functions["api"].add_environment(name, value)
        functions["crew"].grant_invoke_latest_version(functions["api"])
        grant_following(self.table, functions["tail"])
        self.bucket.grant_read(functions["tail"])
        for name, function in functions.items():
            if name == "tail":
                continue
            grant_items(self.table, function)
            self.run_queue.grant_send_messages(function)
            self.webhook_queue.grant_send_messages(function)
            if name == "sweeper":
                # A webhook says what its run left, and a run that is given up may leave nothing.
                self.bucket.grant_read(function)
                self.bucket.grant_delete(function)
            else:
                self.bucket.grant_read_write(function)
        dead_letters.grant(functions["sweeper"], "sqs:ReceiveMessage", "sqs:DeleteMessage")
        return functions

    def _sweep_every_minute(self, sweeper: lambda_.Function) -> None:
        # A sweep that failed is not repeated: the next one comes before Lambda would try again.
        sweeper.configure_async_invoke(retry_attempts=0, max_event_age=Duration.minutes(1))
        events.Rule(
            self,
            "SweeperSchedule",
            description="Finds runs, purges and events that were left lying.",
            schedule=events.Schedule.rate(Duration.minutes(1)),
            targets=[targets.LambdaFunction(sweeper)],
        )


def _dead_letters(queue: sqs.Queue) -> sqs.IQueue:
    if queue.dead_letter_queue is None:
        raise AssertionError(f"{queue.node.path} has no dead-letter queue.")
    return queue.dead_letter_queue.queue
