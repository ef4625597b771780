"""What wakes somebody: an alarm for everything that Crewline cannot put right by itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from aws_cdk import Duration
from aws_cdk import aws_apigateway as apigateway
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_events as events
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sqs as sqs
from aws_cdk.aws_cloudwatch_actions import SnsAction
from constructs import Construct

from crewline.store.queues import LONGEST_DELAY_S
from crewline_cdk.queues import dead_letters_of

_FIVE_MINUTES: Final = Duration.minutes(5)
_ONE_MINUTE: Final = Duration.minutes(1)

_FAILED_PERCENT: Final = 5
"""How many of a hundred requests may fail."""

_BROKEN_PERCENT: Final = 20
"""How many of a hundred answers may be broken off: who follows a long run is, at the limit of the function."""

_FAILED_AT_LEAST: Final = 5
"""How many fail before a share of them says anything."""

_ANSWERING: Final = ("api", "crew", "tail")
"""Functions that answer requests."""

_WAITING_MARGIN_S: Final = 600
"""How much longer than it was held back and one whole invocation a run may lie in the queue."""

_OPERATIONS: Final = ("GetItem", "PutItem", "Query", "TransactWriteItems", "UpdateItem")
"""What nearly all that is asked of the table is; each is a metric of two alarms, and costs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """What the alarms look at."""

    table: dynamodb.Table
    run_queue: sqs.Queue
    webhook_queue: sqs.Queue
    intake_queue: sqs.Queue
    event_dead_letters: sqs.IQueue
    functions: Mapping[str, lambda_.Function]
    """By name."""
    sweeper_schedule: events.Rule
    api: apigateway.RestApi
    worker_timeout_seconds: int
    """How long one invocation of the worker may take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Alarm:
    name: str
    metric: cloudwatch.IMetric
    above: float
    """It rings when the metric is higher than this."""
    says: str
    """What it means and what to do."""
    periods: int = 3
    failing: int = 2
    """How many of so many periods must be bad: one unlucky one wakes nobody."""


def make_alarms(scope: Construct, topic: sns.ITopic, watched: Watched) -> None:
    """Make the alarms, which tell the topic when they begin and when they end.

    There are 21, of 33 metrics; CloudWatch charges 0.10 $ a month for each metric of an alarm.

    Args:
        scope: The construct that owns them.
        topic: Who is told.
        watched: What they look at.
    """
    action = SnsAction(topic)
    for alarm in (*_of_queues(watched), *_of_functions(watched), *_of_table(watched), _of_api(watched)):
        made = cloudwatch.Alarm(
            scope,
            alarm.name,
            alarm_description=alarm.says,
            metric=alarm.metric,
            threshold=alarm.above,
            comparison_operator=cloudwatch.ComparisonOperator.GREATER_THAN_THRESHOLD,
            evaluation_periods=alarm.periods,
            datapoints_to_alarm=alarm.failing,
            treat_missing_data=cloudwatch.TreatMissingData.NOT_BREACHING,
        )
        made.add_alarm_action(action)
        made.add_ok_action(action)
    _watch_the_sweeper(scope, action, watched.sweeper_schedule)


def _watch_the_sweeper(scope: Construct, action: SnsAction, schedule: events.Rule) -> None:
    """Ring when no sweep began for five minutes: the one alarm for something that does not happen."""
    alarm = cloudwatch.Alarm(
        scope,
        "SweeperSilentAlarm",
        alarm_description=(
            "The sweeper was not started for five minutes. Runs of workers that died stay where they are, deleted "
            "threads are not purged, and webhooks that were not sent at once wait. See whether the rule of the "
            "sweeper is enabled and may invoke the function."
        ),
        metric=cloudwatch.Metric(
            namespace="AWS/Events",
            metric_name="Invocations",
            dimensions_map={"RuleName": schedule.rule_name},
            period=_ONE_MINUTE,
            statistic="Sum",
        ),
        threshold=1,
        comparison_operator=cloudwatch.ComparisonOperator.LESS_THAN_THRESHOLD,
        evaluation_periods=5,
        treat_missing_data=cloudwatch.TreatMissingData.BREACHING,
    )
    alarm.add_alarm_action(action)
    alarm.add_ok_action(action)


def _of_queues(watched: Watched) -> Iterator[_Alarm]:
    def waiting(queue: sqs.IQueue) -> cloudwatch.Metric:
        return queue.metric_approximate_number_of_messages_visible(period=_FIVE_MINUTES, statistic="Maximum")

    yield _Alarm(
        name="RunDeadLettersAlarm",
        metric=waiting(dead_letters_of(watched.run_queue)),
        above=0,
        periods=1,
        failing=1,
        says=(
            "A background run or a purge was tried five times and came to nothing. The sweeper ends such a run as an "
            "error within a minute; look for its run_id in the worker's log. Messages that stay are ones that the "
            "sweeper cannot read: look at its log too."
        ),
    )
    yield _Alarm(
        name="WebhookDeadLettersAlarm",
        metric=waiting(dead_letters_of(watched.webhook_queue)),
        above=0,
        periods=1,
        failing=1,
        says=(
            "A webhook was tried eight times and not taken. The sweeper's log has the reason. When its receiver is "
            "well again, redrive the dead letters to the webhook queue; receivers know repetitions by webhook-id. Else "
            "purge them: the alarm goes on while there are any."
        ),
    )
    outside = (("Intake", dead_letters_of(watched.intake_queue)), ("Event", watched.event_dead_letters))
    for name, letters in outside:
        yield _Alarm(
            name=f"{name}DeadLettersAlarm",
            metric=waiting(letters),
            above=0,
            periods=1,
            failing=1,
            says=(
                f"A message from outside, or a turn of a cron, became no run: it is in the queue {name}DeadLetters, with the attribute "
                "reason if it never can, and without one if it was tried in vain; then the log of the intake says "
                "why. Put right what it says and send the message to the intake queue again."
            ),
        )
    longest = LONGEST_DELAY_S + watched.worker_timeout_seconds + _WAITING_MARGIN_S
    yield _Alarm(
        name="RunQueueAgeAlarm",
        metric=watched.run_queue.metric_approximate_age_of_oldest_message(
            period=_FIVE_MINUTES, statistic="Maximum"
        ),
        above=longest,
        says=(
            f"A background run has been in the run queue for more than {longest} seconds: all workers are busy, or "
            "none starts. Raise max_concurrency, or see the alarms and the log of the worker."
        ),
    )


def _percent(failed: cloudwatch.IMetric, asked: cloudwatch.IMetric, label: str) -> cloudwatch.MathExpression:
    return cloudwatch.MathExpression(
        expression=f"IF(failed >= {_FAILED_AT_LEAST}, 100 * failed / asked, 0)",
        using_metrics={"failed": failed, "asked": asked},
        period=_FIVE_MINUTES,
        label=label,
    )


def _of_functions(watched: Watched) -> Iterator[_Alarm]:
    for name, function in watched.functions.items():
        errors = function.metric_errors(period=_FIVE_MINUTES)
        share = _percent(
            errors, function.metric_invocations(period=_FIVE_MINUTES), "Invocations that failed, in percent"
        )
        yield _Alarm(
            name=f"{name.capitalize()}ErrorsAlarm",
            metric=share if name in _ANSWERING else errors,
            above=_BROKEN_PERCENT if name in _ANSWERING else 0,
            says=(
                f"Invocations of the function {name} fail: it cannot start, runs out of time or memory, or an error "
                "was not expected. Its log says which; after a deployment, roll back."
            ),
        )
        yield _Alarm(
            name=f"{name.capitalize()}ThrottlesAlarm",
            metric=function.metric_throttles(period=_FIVE_MINUTES),
            above=0,
            says=(
                f"Lambda refuses invocations of the function {name}: the account's concurrency, or what is reserved "
                "for the function, is used up. Ask AWS for a higher quota, or reserve more."
            ),
        )


def _of_table(watched: Watched) -> Iterator[_Alarm]:
    def counted(name: str) -> cloudwatch.MathExpression:
        metrics: dict[str, cloudwatch.IMetric] = {
            operation.lower(): cloudwatch.Metric(
                namespace="AWS/DynamoDB",
                metric_name=name,
                dimensions_map={"TableName": watched.table.table_name, "Operation": operation},
                period=_FIVE_MINUTES,
                statistic="Sum",
            )
            for operation in _OPERATIONS
        }
        # SUM and not +, whose result is missing where any of them is: DynamoDB reports what there was alone.
        return cloudwatch.MathExpression(
            expression=f"SUM([{', '.join(metrics)}])", using_metrics=metrics, period=_FIVE_MINUTES, label=name
        )

    yield _Alarm(
        name="TableThrottlesAlarm",
        metric=counted("ThrottledRequests"),
        above=10,
        says=(
            "DynamoDB refuses requests because one partition or the table gets too many; they are repeated, and runs "
            "become slower. Look for one thread or one tenant that does very much, or raise the table's quota."
        ),
    )
    yield _Alarm(
        name="TableErrorsAlarm",
        metric=counted("SystemErrors"),
        above=10,
        says=(
            "DynamoDB has failures of its own. Runs go on as soon as it answers again: nothing is to be done here; "
            "see the AWS Health Dashboard."
        ),
    )


def _of_api(watched: Watched) -> _Alarm:
    stage = watched.api.deployment_stage
    return _Alarm(
        name="ApiFailuresAlarm",
        metric=_percent(
            stage.metric_server_error(period=_FIVE_MINUTES, statistic="Sum"),
            stage.metric_count(period=_FIVE_MINUTES, statistic="Sum"),
            "Requests that failed, in percent",
        ),
        above=_FAILED_PERCENT,
        says=(
            f"More than {_FAILED_PERCENT} of a hundred requests are answered with a status from 500 on. The access "
            "log has their paths and request ids; the function's log has the reason under the same id."
        ),
    )
