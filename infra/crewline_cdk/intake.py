"""How events of EventBridge reach the intake: a rule for each entry of the manifest's `crewline.events`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from crewline.models.intake import EventMapping


def make_rules(
    scope: Construct, mappings: Iterable[EventMapping], intake: lambda_.IFunction, dead_letters: sqs.IQueue
) -> None:
    """Make the rules, on the default bus of the account.

    EventBridge tries for a day to hand an event over, and Lambda then invokes the function three
    times; what came to nothing by then is with the dead letters.

    Args:
        scope: The construct that owns the rules.
        mappings: Which events become runs.
        intake: The function that takes them in.
        dead_letters: Where events go that it was never given.
    """
    for mapping in mappings:
        # Named by what it matches, so that an entry more or less touches no other rule.
        digest = hashlib.sha256(f"{mapping.source}\n{mapping.detail_type}".encode()).hexdigest()[:8]
        events.Rule(
            scope,
            f"EventRule{digest}",
            description="Hands events to the intake, which makes runs of them.",
            event_pattern=events.EventPattern(source=[mapping.source], detail_type=[mapping.detail_type]),
            targets=[targets.LambdaFunction(intake, dead_letter_queue=dead_letters)],
        )
