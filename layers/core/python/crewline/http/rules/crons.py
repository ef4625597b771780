"""Crons: who makes one starts its runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from crewline.errors import Forbidden
from crewline.http.grants import Asked, Granted, Rule, filled, kept, metadata_of, put_back, some, uuid_of
from crewline.http.rules.runs import KWARGS, ask_run
from crewline.http.rules.threads import thread_of
from crewline.models.clocks import parse_id
from crewline.models.users import Sender

_TIMES: Final = ("schedule", "end_time", "enabled", "timezone")


def create_cron(asked: Asked) -> Granted:
    """Make a cron, and ask as well whether its maker may start its runs."""
    fields = asked.fields
    thread_id = thread_of(asked) if "thread_id" in asked.path else None
    value = {
        **some(fields, *_TIMES),
        "payload": some(fields, *KWARGS, "assistant_id", "multitask_strategy"),
        "cron_id": None,
        "thread_id": uuid_of(thread_id),
        "user_id": asked.user.identity,
        "metadata": metadata_of(fields),
    }
    sees = asked.ask("crons", "create", value)
    body = _with_payload(put_back(fields, value, *_TIMES), value)
    body, sender = ask_run(asked, body, named=fields.get("assistant_id"), thread_id=thread_id)
    # The cron's metadata is that of its runs.
    metadata = {**filled(sees, value), **sender.stamps}
    if not sees.match(metadata):
        raise Forbidden("The project's authentication wants other metadata of a cron than of its runs.")
    visible = thread_id is None or asked.sees_thread(sender.sees, thread_id)
    return Granted(body={**body, "metadata": metadata}, senders=(sender,), visible=visible)


def _with_payload(fields: Mapping[str, Any], value: Mapping[str, Any]) -> dict[str, Any]:
    """Give the body of a cron with what a handler has made of what its runs are asked for."""
    payload = value["payload"] if isinstance(value["payload"], Mapping) else {}
    return put_back(fields, payload, *KWARGS, "multitask_strategy")


def on_cron(action: str) -> Rule:
    """Make the rule of a route about one cron; the service looks whether it is to be seen."""

    def rule(asked: Asked) -> Granted:
        value = {"cron_id": uuid_of(parse_id(asked.path["cron_id"], "cron"))}
        sees = asked.ask("crons", action, value)
        return Granted(body=asked.body, senders=(Sender(sees=sees),))

    return rule


def update_cron(asked: Asked) -> Granted:
    """Change a cron; whoever changes what its runs are asked for is asked as for a run."""
    fields = asked.fields
    value = {
        **some(fields, *_TIMES),
        "cron_id": uuid_of(parse_id(asked.path["cron_id"], "cron")),
        "payload": some(fields, *KWARGS, "multitask_strategy"),
        "metadata": metadata_of(fields),
    }
    sees = asked.ask("crons", "update", value)
    kept(sees, value)
    body = _with_payload(put_back(fields, value, *_TIMES, "metadata"), value)
    if named := {name for name in KWARGS if name in body}:
        run, _ = ask_run(asked, some(body, *named, "multitask_strategy"), named=None)
        # A new context takes the place of what config says, and the other way round.
        body = put_back(body, run, *named, *({"config", "context"} if named & {"config", "context"} else ()))
    return Granted(body=body, senders=(Sender(sees=sees),))


def search_crons(asked: Asked) -> Granted:
    """Search for crons, or count them."""
    fields = asked.fields
    value = {**some(fields, "limit", "offset"), "metadata": metadata_of(fields)}
    for name in ("assistant_id", "thread_id"):
        value[name] = uuid_of(fields.get(name))
    sees = asked.ask("crons", "search", value)
    body = put_back(fields, value, "limit", "offset", "metadata")
    return Granted(body=body, senders=(Sender(sees=sees),))
