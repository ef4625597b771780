"""Runs by the API of Crewship."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from crewline.http.grants import Asked, Granted, Rule, some, uuid_of
from crewline.http.rules.runs import ask_elsewhere, assistant_of
from crewline.http.rules.threads import public_thread_of
from crewline.http.v1.deployments import naming_deployment
from crewline.models.public_ids import parse_public_id
from crewline.models.users import Sender


def public_run(asked: Asked) -> Granted:
    """Start a run without a thread by `/v1`."""
    fields = asked.fields
    if not isinstance(deployment := fields.get("deployment_id"), str):
        return Granted(body=asked.body)  # refused by the route
    with naming_deployment(deployment) as named:
        sender = ask_elsewhere(asked, some(fields, "input"), named=named)
    return Granted(body=asked.body, senders=(sender,))


def public_run_on_thread(asked: Asked) -> Granted:
    """Start a run on a thread by `/v1`."""
    thread_id, fields = public_thread_of(asked), asked.fields
    deployment = fields.get("deployment_id") or assistant_of(asked, thread_id)
    if not isinstance(deployment, str):
        sees = asked.ask("threads", "create_run", {"thread_id": uuid_of(thread_id), "metadata": {}})
        return Granted(body=asked.body, visible=asked.sees_thread(sees, thread_id))
    with naming_deployment(deployment) as named:
        sender = ask_elsewhere(asked, some(fields, "input"), named=named, thread_id=thread_id)
    visible = asked.sees_thread(sender.sees, thread_id)
    return Granted(body={**fields, "deployment_id": deployment}, senders=(sender,), visible=visible)


def on_public_run(action: str, *, told: Mapping[str, Any] | None = None) -> Rule:
    """Make the rule of a route of `/v1` about one run."""

    def rule(asked: Asked) -> Granted:
        run_id = parse_public_id("run", asked.path["run_id"])
        thread_id = asked.runs.thread_of(asked.tenant, run_id)
        value: dict[str, Any] = {"run_id": uuid_of(run_id), "thread_id": uuid_of(thread_id), **(told or {})}
        sees = asked.ask("threads", action, value)
        visible = thread_id is None or asked.sees_thread(sees, thread_id, [run_id])
        return Granted(body=asked.body, senders=(Sender(sees=sees),), visible=visible)

    return rule
