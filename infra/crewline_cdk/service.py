"""`CrewlineService`: everything one deployment of Crewline needs, as one construct."""

from __future__ import annotations

from typing import Final

from aws_cdk import Annotations, Duration, Stack, Tags
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from aws_cdk.aws_lambda_event_sources import SqsEventSource
from constructs import Construct

from crewline.errors import BadDeployment
from crewline.http.resources import FunctionName
from crewline.models.cors import CorsPolicy
from crewline.models.manifests import Manifest, read_manifest
from crewline.settings import environment
from crewline_cdk import adapters
from crewline_cdk.alarms import Watched, make_alarms
from crewline_cdk.api import Answering, make_api
from crewline_cdk.bundles import PROJECT_FOLDER, START, STREAMING_FOLDER, Target
from crewline_cdk.encryption import let_events_use, let_logs_use
from crewline_cdk.environments import ProjectEnvironment, read_environment
from crewline_cdk.functions import FunctionDefaults, make_function
from crewline_cdk.images import parse_image
from crewline_cdk.intake import make_rules
from crewline_cdk.layers import Layers, make_layers
from crewline_cdk.props import CrewlineProps
from crewline_cdk.queues import (
    QueueDefaults,
    dead_letters_of,
    make_dead_letters,
    make_intake_queue,
    make_run_queue,
    make_webhook_queue,
)
from crewline_cdk.schedules import make_firing
from crewline_cdk.storage import grant_following, grant_items, make_bucket, make_table
from crewline_cdk.versions import publish
from crewline_cdk.workflow import check_stack_name, make_workflow, workflow_arn

_BOOTSTRAP: Final = {"AWS_LAMBDA_EXEC_WRAPPER": f"/opt/{STREAMING_FOLDER}/{START}"}
"""Starts the runtime of functions that stream."""

_ANSWERING: Final[tuple[FunctionName, ...]] = ("api", "crew", "tail")
"""The functions behind the API."""

_MAX_DELIVERIES: Final = 10
"""How many webhooks are delivered at once."""


class CrewlineService(Construct):
    """Table, bucket, queues, functions, schedule and HTTP API of one deployment.

    Args:
        scope: The stack, or a construct in it.
        construct_id: Name within the scope.
        props: What the team decided.

    Raises:
        BadManifest: The manifest cannot be read, or names something that is not there.
        BadDeployment: What it sets for its crews, or the image, cannot be deployed, the image is to serve a project that
            has its own authentication, or the stack's name is too long.
    """

    def __init__(self, scope: Construct, construct_id: str, *, props: CrewlineProps | None = None) -> None:
        super().__init__(scope, construct_id)
        check_stack_name(self)
        props = props or CrewlineProps()
        manifest = read_manifest(props.manifest)
        if manifest.auth and props.image:
            raise BadDeployment(
                f"auth.path of {manifest.path} runs in the functions api and tail as well, and an image has packages for "
                "crews alone. Leave out image, and let the project's requirements be installed, or leave out auth.path."
            )
        of_project = read_environment(manifest, props.environment)
        if of_project.left_out:
            Annotations.of(self).add_warning_v2(
                "crewline:environment",
                f"{', '.join(of_project.left_out)} of the manifest's env are not deployed: Lambda and Crewline give these "
                "variables their values.",
            )
        key = props.encryption_key
        if key:
            let_logs_use(key, self)
        self.table = make_table(self, encryption_key=key, removal_policy=props.removal_policy)
        self.bucket = make_bucket(self, encryption_key=key, removal_policy=props.removal_policy)
        queues = QueueDefaults(
            encryption_key=key, dead_letter_days=props.dead_letter_days, removal_policy=props.removal_policy
        )
        self.run_queue = make_run_queue(
            self, worker_timeout_seconds=props.worker.timeout_seconds, defaults=queues
        )
        self.webhook_queue = make_webhook_queue(self, defaults=queues)
        self.intake_queue = make_intake_queue(
            self, intake_timeout_seconds=props.intake.timeout_seconds, defaults=queues
        )
        self.event_dead_letters = make_dead_letters(self, "EventDeadLetters", defaults=queues)
        target = Target(architecture=props.architecture)
        adapted = props.streaming == "web-adapter"
        layers = make_layers(
            self,
            manifest=manifest,
            target=target,
            crews=props.image is None,
            adapter=adapters.adapter_layer(self, target, props.adapter_layer) if adapted else None,
        )
        self.layers = layers.all
        defaults = self._defaults(props, manifest, layers, target)
        self.functions = self._make_functions(
            props, of_project, defaults, authenticates=manifest.auth is not None
        )
        self.aliases = publish(self, self.functions)
        self.firing = make_firing(self, self.aliases["intake"], self.event_dead_letters)
        self._feed_functions(props)
        self._tell_functions(layers)
        self._allow_functions(props)
        self.workflow = make_workflow(self, self.aliases["worker"])
        schedule = self._sweep_every_minute(self.aliases["sweeper"])
        if key and manifest.events:
            let_events_use(key, self)
        make_rules(self, manifest.events, self.aliases["intake"], self.event_dead_letters)
        self.api = make_api(
            self,
            {name: Answering(self.aliases[name], self.functions[name].timeout) for name in _ANSWERING},
            requests_per_second=props.requests_per_second,
            cors=manifest.cors or CorsPolicy(),
            access_log=logs.LogGroup(
                self,
                "AccessLog",
                retention=props.log_retention,
                encryption_key=key,
                removal_policy=props.removal_policy,
            ),
        )
        if props.alarms_topic:
            watched = Watched(
                table=self.table,
                run_queue=self.run_queue,
                webhook_queue=self.webhook_queue,
                intake_queue=self.intake_queue,
                event_dead_letters=self.event_dead_letters,
                functions=self.functions,
                sweeper_schedule=schedule,
                api=self.api,
                worker_timeout_seconds=props.worker.timeout_seconds,
            )
            make_alarms(self, props.alarms_topic, watched)
        for name, value in props.tags.items():
            Tags.of(self).add(name, value)

    def _defaults(
        self, props: CrewlineProps, manifest: Manifest, layers: Layers, target: Target
    ) -> FunctionDefaults:
        """Put together what all functions have in common."""
        return FunctionDefaults(
            environment={
                **environment(
                    table=self.table.table_name,
                    bucket=self.bucket.bucket_name,
                    run_queue_url=self.run_queue.queue_url,
                    dead_letter_url=dead_letters_of(self.run_queue).queue_url,
                    webhook_queue_url=self.webhook_queue.queue_url,
                    workflow_arn=workflow_arn(self),
                    longest_run_s=props.longest_run_seconds,
                    manifest=f"/opt/{PROJECT_FOLDER}/{manifest.path.name}",
                    stage=props.stage,
                    deployment=Stack.of(self).stack_name,
                    leaving_seen=False,  # API Gateway does not tell a function that its client has left
                ),
                **(environment(event_bus=props.event_bus.event_bus_arn) if props.event_bus else {}),
                # Read when langgraph is imported; lax deserialisation has been remote code execution.
                "LANGGRAPH_STRICT_MSGPACK": "true",
            },
            target=target,
            layers=layers,
            streaming=adapters.VARIABLES if layers.adapter else _BOOTSTRAP,
            image=parse_image(props.image) if props.image else None,
            encryption_key=props.encryption_key,
            log_retention=props.log_retention,
            removal_policy=props.removal_policy,
        )

    def _make_functions(
        self,
        props: CrewlineProps,
        of_project: ProjectEnvironment,
        defaults: FunctionDefaults,
        *,
        authenticates: bool,
    ) -> dict[str, lambda_.Function]:
        """Make the functions, which can do nothing yet."""
        return {
            "api": make_function(
                self,
                "api",
                size=props.api,
                defaults=defaults,
                of_project=of_project.crews if authenticates else None,
                streams=True,
                authenticates=authenticates,
            ),
            "crew": make_function(
                self,
                "crew",
                size=props.crew,
                defaults=defaults,
                of_project=of_project.crews,
                streams=True,
                concurrency=props.max_in_place,
                executes=True,
            ),
            "tail": make_function(
                self,
                "tail",
                size=props.tail,
                defaults=defaults,
                of_project=of_project.crews if authenticates else None,
                streams=True,
                authenticates=authenticates,
                concurrency=props.max_followers,
            ),
            # The worker hands a thread's next run over through the queue that feeds it: a loop by
            # design, which Lambda would take for a runaway one after some 16 queued runs.
            "worker": make_function(
                self,
                "worker",
                size=props.worker,
                defaults=defaults,
                of_project=of_project.crews,
                recursive_loop=lambda_.RecursiveLoop.ALLOW,
                executes=True,
            ),
            "sweeper": make_function(
                self,
                "sweeper",
                size=props.sweeper,
                defaults=defaults,
                of_project=of_project.webhooks,
            ),
            "intake": make_function(
                self,
                "intake",
                size=props.intake,
                defaults=defaults,
                dead_letters=self.event_dead_letters,
            ),
        }

    def _feed_functions(self, props: CrewlineProps) -> None:
        """Let each queue invoke the function that takes its messages, so many at a time, in so many sandboxes."""
        for name, queue, batch, concurrency in (
            ("worker", self.run_queue, 1, props.max_concurrency),
            # One at a time: an endpoint that does not answer holds up no other.
            ("sweeper", self.webhook_queue, 1, _MAX_DELIVERIES),
            ("intake", self.intake_queue, 10, props.max_intake),  # the most of a FIFO queue
        ):
            source = SqsEventSource(
                queue, batch_size=batch, max_concurrency=concurrency, report_batch_item_failures=True
            )
            self.aliases[name].add_event_source(source)

    def _tell_functions(self, layers: Layers) -> None:
        """Say to single functions what they alone must know of the others."""
        firing = self.firing
        group = environment(schedule_group=firing.group.ref)
        schedules = group | environment(
            schedule_role=firing.role.role_arn,
            schedule_function=firing.function.function_arn,
            schedule_dead_letters=firing.dead_letters.queue_arn,
        )
        for name, own in {
            "api": schedules
            | environment(
                crew_function=self.aliases["crew"].function_name,
                **({"langgraph": layers.langgraph} if layers.langgraph else {}),
            ),
            "sweeper": schedules,
            "intake": group
            | environment(
                intake_dead_letter_url=dead_letters_of(self.intake_queue).queue_url,
                event_dead_letter_url=self.event_dead_letters.queue_url,
            ),
        }.items():
            for variable, value in own.items():
                self.functions[name].add_environment(variable, value)

    def _allow_functions(self, props: CrewlineProps) -> None:
        """Allow each function what it needs of table, bucket, queues and the others, and no more."""
        functions = self.functions
        self.aliases["crew"].grant_invoke(functions["api"])
        self.firing.grant_making((functions["api"], functions["sweeper"]))
        self.firing.grant_deleting(functions["intake"])
        for name in ("crew", "worker", "sweeper"):
            functions[name].add_to_role_policy(
                iam.PolicyStatement(actions=["states:StartExecution"], resources=[workflow_arn(self)])
            )
        grant_following(self.table, functions["tail"])
        self.bucket.grant_read(functions["tail"])
        for name, function in functions.items():
            if name == "tail":
                continue
            grant_items(self.table, function)
            self.run_queue.grant_send_messages(function)
            self.webhook_queue.grant_send_messages(function)
            if props.event_bus:
                props.event_bus.grant_put_events_to(function)
            if name == "sweeper":
                # A webhook says what its run left, and a run that is given up may leave nothing.
                self.bucket.grant_read(function)
                self.bucket.grant_delete(function)
            else:
                self.bucket.grant_read_write(function)
        dead_letters_of(self.run_queue).grant(functions["sweeper"], "sqs:ReceiveMessage", "sqs:DeleteMessage")
        dead_letters_of(self.intake_queue).grant(functions["intake"], "sqs:SendMessage")

    def _sweep_every_minute(self, sweeper: lambda_.IFunction) -> events.Rule:
        # A sweep that failed is not repeated: the next one comes before Lambda would try again.
        sweeper.configure_async_invoke(retry_attempts=0, max_event_age=Duration.minutes(1))
        return events.Rule(
            self,
            "SweeperSchedule",
            description="Finds runs, purges and events that were left lying.",
            schedule=events.Schedule.rate(Duration.minutes(1)),
            targets=[targets.LambdaFunction(sweeper)],
        )
