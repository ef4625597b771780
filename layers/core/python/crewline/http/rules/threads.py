"""Threads: made, found, changed, followed, copied, pruned."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from crewline.errors import InvalidRequest
from crewline.http.grants import (
    Asked,
    Granted,
    Rule,
    filled,
    kept,
    metadata_of,
    put_back,
    set_by_handler,
    some,
    uuid_of,
)
from crewline.http.v1.deployments import naming_deployment
from crewline.models.clocks import parse_id
from crewline.models.public_ids import parse_public_id
from crewline.models.threads import LARGEST_PRUNE
from crewline.models.users import Filters, Sender


def thread_of(asked: Asked) -> str:
    """Give the thread that a path names."""
    return parse_id(asked.path["thread_id"], "thread")


def public_thread_of(asked: Asked) -> str:
    """Give the thread that a path of `/v1` names."""
    return parse_public_id("thread", asked.path["thread_id"])


def on_thread(
    action: str, find: Callable[[Asked], str] = thread_of, *, told: Mapping[str, Any] | None = None
) -> Rule:
    """Make the rule of a route about one thread, or one run on it."""

    def rule(asked: Asked) -> Granted:
        thread_id, run_id = find(asked), asked.path.get("run_id")
        value = {"thread_id": uuid_of(thread_id), **(told or {})}
        if run_id is not None:
            value["run_id"] = uuid_of(parse_id(run_id, "run"))
        sees = asked.ask("threads", action, value)
        visible = asked.sees_thread(sees, thread_id, [run_id] if run_id else ())
        return Granted(body=asked.body, senders=(Sender(sees=sees),), visible=visible)

    return rule


def follow_run(asked: Asked) -> Granted:
    """Follow a run; whoever stops it by leaving changes it."""
    granted = on_thread("read")(asked)
    if asked.flag("cancel_on_disconnect") and granted.visible:
        return on_thread("update", told={"action": "interrupt"})(asked)
    return granted


def listen(asked: Asked) -> Granted:
    """Wait for what happens on a thread, which may not be there yet: who sees it is asked when it is."""
    sees = asked.ask("threads", "read", {"thread_id": uuid_of(thread_of(asked))})
    return Granted(body=asked.body, senders=(Sender(sees=sees),))


def cancel_run(asked: Asked) -> Granted:
    """Stop a run."""
    action = asked.one("action") or "interrupt"
    return on_thread("update", told={"action": action})(asked)


def create_thread(asked: Asked) -> Granted:
    """Make a thread."""
    fields = asked.fields
    value = {**some(fields, "if_exists", "ttl"), "metadata": metadata_of(fields)}
    if isinstance(deployment := fields.get("deployment_id"), str):
        with naming_deployment(deployment) as named:
            asked.check_assistant(named)
    if fields.get("thread_id") is not None:
        value["thread_id"] = uuid_of(fields["thread_id"])
    sees = asked.ask("threads", "create", value)
    body = {**put_back(fields, value, "if_exists", "ttl"), "metadata": filled(sees, value)}
    return Granted(body=body, senders=(Sender(sees=sees),))


def update_thread(find: Callable[[Asked], str]) -> Rule:
    """Make the rule of a route that changes the metadata of a thread."""

    def rule(asked: Asked) -> Granted:
        fields, thread_id = asked.fields, find(asked)
        value = {"thread_id": uuid_of(thread_id), "metadata": metadata_of(fields)}
        sees = asked.ask("threads", "update", value)
        visible = asked.sees_thread(sees, thread_id)
        if visible:
            kept(sees, value)
        return Granted(
            body=put_back(fields, value, "metadata"), senders=(Sender(sees=sees),), visible=visible
        )

    return rule


def copy_thread(find: Callable[[Asked], str]) -> Rule:
    """Make the rule of a route that copies a thread: the copy belongs to whoever makes it."""

    def rule(asked: Asked) -> Granted:
        thread_id = find(asked)
        sees = asked.ask("threads", "read", {"thread_id": uuid_of(thread_id)})
        if not asked.sees_thread(sees, thread_id):
            return Granted(body=asked.body, visible=False)
        value = {"metadata": metadata_of({})}
        made = filled(asked.ask("threads", "create", value), value)
        return Granted(body=asked.body, senders=(Sender(stamps=made, sees=sees),))

    return rule


def search_threads(asked: Asked) -> Granted:
    """Search for threads, or count them."""
    fields = asked.fields
    names = ("values", "status", "limit", "offset", "sort_by", "sort_order")
    value = {**some(fields, *names), "metadata": metadata_of(fields)}
    if isinstance(fields.get("ids"), list):
        value["ids"] = [uuid_of(one) for one in fields["ids"]]
    sees = asked.ask("threads", "search", value)
    body = put_back(fields, value, *names, "metadata", "ids")
    narrowed = sees.narrow(body.get("metadata") or {})
    # What nothing can have that the user may see, is looked for among no threads.
    body = {**body, "metadata": narrowed} if narrowed is not None else {**body, "ids": []}
    return Granted(body=body, senders=(Sender(sees=sees),))


def list_all(asked: Asked) -> Granted:
    """List threads, or runs, as a query says."""
    value: dict[str, Any] = {"metadata": metadata_of({})}
    for name in ("limit", "offset", "status"):
        if text := asked.one(name):
            value[name] = int(text) if text.isascii() and text.isdigit() else text
    if (named := asked.one("deployment_id")) and "thread_id" not in asked.query:
        with naming_deployment(named) as core_id:
            asked.check_assistant(core_id)
    said = asked.ask("threads", "search", value)
    sees = Filters({**set_by_handler(value), **said.wanted})
    thread_id = asked.one("thread_id")
    visible = thread_id is None or asked.sees_thread(sees, parse_public_id("thread", thread_id))
    return Granted(body=asked.body, senders=(Sender(sees=sees),), visible=visible)


def prune_threads(asked: Asked) -> Granted:
    """Prune the threads that the user may delete; the others are passed over, as those that are not there."""
    fields = asked.fields
    ids = fields.get("thread_ids")
    if not isinstance(ids, list) or not all(isinstance(one, str) for one in ids):
        raise InvalidRequest("Invalid request: thread_ids: input should be a list of ids.")
    if len(ids) > LARGEST_PRUNE:
        return Granted(body=asked.body)  # refused by the route, before anybody is asked so often
    wanted = list(dict.fromkeys(parse_id(one, "thread") for one in ids))
    sees = {one: asked.ask("threads", "delete", {"thread_id": uuid_of(one)}) for one in wanted}
    rows = asked.threads.rows(asked.tenant, [one for one in wanted if sees[one]])
    hidden = {row.thread_id for row in rows if not sees[row.thread_id].match(row.metadata)}
    return Granted(body={**fields, "thread_ids": [one for one in wanted if one not in hidden]})
