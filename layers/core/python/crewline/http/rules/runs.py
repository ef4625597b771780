"""Runs: asked about before they start, one or many; stopped; and commands, which are both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from crewline.errors import InvalidRequest
from crewline.http.authorities import plain
from crewline.http.grants import Asked, Granted, filled, metadata_of, put_back, set_by_handler, some, uuid_of
from crewline.http.rules.threads import thread_of
from crewline.models.runs import LARGEST_BATCH
from crewline.models.users import Sender
from crewline.services.threads import not_found

KWARGS: Final = (
    "input", "command", "config", "context", "stream_mode", "interrupt_before", "interrupt_after", "webhook",
    "feedback_keys", "durability",
)  # fmt: skip
"""Fields of a run's body that a handler finds under `kwargs`, and may change there."""


def ask_run(
    asked: Asked, fields: Mapping[str, Any], *, named: Any, thread_id: str | None = None
) -> tuple[dict[str, Any], Sender]:
    """Ask whether a user may start a run.

    Args:
        asked: The request.
        fields: What the run is asked for with.
        named: The id of its assistant, or the name of its crew; the route refuses what is none.
        thread_id: Its thread, if it has one.

    Returns:
        What it is asked for with then, and what goes on with it.

    Raises:
        InvalidRequest: Its assistant is neither a UUID nor a crew of this deployment, or its metadata is no object.
        Forbidden: The project's handler says no, or its metadata has another value where the user has to have one.
        NotFound: The user may not see its assistant.
        Unavailable: The project's code, or DynamoDB, did not answer.
    """
    assistant_id = asked.check_assistant(named) if isinstance(named, str) else None
    kwargs = some(fields, *KWARGS)
    value = {
        **some(fields, "multitask_strategy", "if_not_exists", "after_seconds"),
        "assistant_id": uuid_of(assistant_id),
        "thread_id": uuid_of(thread_id),
        "run_id": None,
        "status": "pending",
        "prevent_insert_if_inflight": fields.get("multitask_strategy") == "reject",
        "metadata": metadata_of(fields),
        "kwargs": kwargs,
    }
    sees = asked.ask("threads", "create_run", value)
    metadata = filled(sees, value)
    names = (*set_by_handler(value), *sees.wanted)
    stamps = {name: metadata[name] for name in names}
    told = value["kwargs"] if isinstance(value["kwargs"], Mapping) else {}
    body = {**put_back(fields, told, *KWARGS), "metadata": metadata}
    return body, Sender(stamps=stamps, sees=sees)


def ask_elsewhere(
    asked: Asked, fields: Mapping[str, Any], *, named: Any, thread_id: str | None = None
) -> Sender:
    """Ask whether a user may start a run by a route that says less of it: what the handler changes goes with its sender.

    The arguments and errors are those of `ask_run`.
    """
    was = plain(some(fields, *KWARGS))
    body, sender = ask_run(asked, fields, named=named, thread_id=thread_id)
    changes = {name: body.get(name) for name in KWARGS if body.get(name) != was.get(name)}
    return replace(sender, changes=changes)


def run_on_thread(asked: Asked) -> Granted:
    """Start a run on a thread."""
    thread_id, fields = thread_of(asked), asked.fields
    body, sender = ask_run(asked, fields, named=fields.get("assistant_id"), thread_id=thread_id)
    visible = asked.sees_thread(sender.sees, thread_id)
    if not visible and fields.get("if_not_exists") == "create":
        raise not_found(thread_id)  # it can neither be used nor made
    return Granted(body=body, senders=(sender,), visible=visible)


def run_alone(asked: Asked) -> Granted:
    """Start a run without a thread."""
    fields = asked.fields
    body, sender = ask_run(asked, fields, named=fields.get("assistant_id"))
    return Granted(body=body, senders=(sender,))


def run_many(asked: Asked) -> Granted:
    """Start many runs, each of which is asked about."""
    if not isinstance(asked.body, list) or not all(isinstance(one, dict) for one in asked.body):
        raise InvalidRequest("Invalid request: send a list of objects.")
    if len(asked.body) > LARGEST_BATCH:
        return Granted(body=asked.body)  # refused by the route, before anybody is asked so often
    made = [ask_run(asked, one, named=one.get("assistant_id")) for one in asked.body]
    if not made:
        return Granted(body=asked.body)
    return Granted(body=[body for body, _ in made], senders=tuple(sender for _, sender in made))


def find_batch(asked: Asked) -> Granted:
    """Count the runs of a batch."""
    return Granted(body=asked.body, senders=(Sender(sees=asked.ask("threads", "read", {})),))


def cancel_many(asked: Asked) -> Granted:
    """Stop some runs of a thread, or all that the user may change."""
    fields, action = asked.fields, asked.one("action") or "interrupt"
    thread_id, run_ids = fields.get("thread_id"), fields.get("run_ids")
    if not isinstance(thread_id, str):
        sees = asked.ask("threads", "update", {"action": action})
        return Granted(body=asked.body, senders=(Sender(sees=sees),))
    sees = asked.ask("threads", "update", {"thread_id": uuid_of(thread_id), "action": action})
    runs = [one for one in run_ids if isinstance(one, str)] if isinstance(run_ids, list) else []
    if len(runs) > LARGEST_BATCH:
        raise InvalidRequest(
            f"Invalid request: run_ids: at most {LARGEST_BATCH:,} are looked at; send several lists."
        )
    return Granted(
        body=asked.body, senders=(Sender(sees=sees),), visible=asked.sees_thread(sees, thread_id, runs)
    )


def command(asked: Asked) -> Granted:
    """Carry out a command: it starts a run, answers one that asked, or only looks."""
    thread_id, fields = thread_of(asked), asked.fields
    params = fields.get("params") or {}
    if not isinstance(params, dict):
        return Granted(body=asked.body)  # refused by the route, whatever the thread
    method = fields.get("method")
    if method not in ("run.start", "input.respond"):
        run_id = params.get("run_id")
        value = {"thread_id": uuid_of(thread_id), **({"run_id": uuid_of(run_id)} if run_id else {})}
        sees = asked.ask("threads", "read", value)
        runs = [run_id] if isinstance(run_id, str) else []
        return Granted(body=asked.body, visible=asked.sees_thread(sees, thread_id, runs))
    named = params.get("assistant_id")
    if named is None and method == "input.respond":
        named = assistant_of(asked, thread_id)
    if method == "input.respond":  # which says itself what its run is to go on with
        given, sender = params, ask_elsewhere(asked, params, named=named, thread_id=thread_id)
        changes = {name: one for name, one in sender.changes.items() if name not in ("input", "command")}
        sender = replace(sender, changes=changes)
    else:
        given, sender = ask_run(asked, params, named=named, thread_id=thread_id)
    visible = asked.sees_thread(sender.sees, thread_id)
    if not visible and method == "run.start":
        raise not_found(thread_id)
    # What was asked about is what is run, whatever becomes of the thread meanwhile.
    body = {**fields, "params": {**given, **({"assistant_id": named} if named else {})}}
    return Granted(body=body, senders=(sender,), visible=visible)


def assistant_of(asked: Asked, thread_id: str) -> str | None:
    """Tell what a thread was made for: what its runs execute that name nothing else."""
    rows = asked.threads.rows(asked.tenant, [thread_id])
    named = rows[0].metadata.get("assistant_id") if rows else None
    return named if isinstance(named, str) else None
