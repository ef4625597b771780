"""What a user's request to each route is, in the words of a project's handlers, and where their changes go."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from crewline.errors import Forbidden, InvalidRequest
from crewline.http.authorities import plain
from crewline.http.grants import (
    Asked,
    Granted,
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
from crewline.models.store_items import check_labels, split_namespace
from crewline.models.users import Filters, Sender
from crewline.services.threads import not_found

Rule = Callable[[Asked], Granted]

_KWARGS: Final = (
    "input", "command", "config", "context", "stream_mode", "interrupt_before", "interrupt_after", "webhook",
    "feedback_keys", "durability",
)  # fmt: skip
"""Fields of a run's body that a handler finds under `kwargs`, and may change there."""


# ---------------------------------------------------------------------- threads


def _thread_of(asked: Asked) -> str:
    return parse_id(asked.path["thread_id"], "thread")


def _public_thread_of(asked: Asked) -> str:
    return parse_public_id("thread", asked.path["thread_id"])


def _on_thread(
    action: str, find: Callable[[Asked], str] = _thread_of, *, told: Mapping[str, Any] | None = None
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


def _follow(asked: Asked) -> Granted:
    """Follow a run; whoever stops it by leaving changes it."""
    granted = _on_thread("read")(asked)
    if asked.flag("cancel_on_disconnect") and granted.visible:
        return _on_thread("update", told={"action": "interrupt"})(asked)
    return granted


def _listen(asked: Asked) -> Granted:
    """Wait for what happens on a thread, which may not be there yet: who sees it is asked when it is."""
    sees = asked.ask("threads", "read", {"thread_id": uuid_of(_thread_of(asked))})
    return Granted(body=asked.body, senders=(Sender(sees=sees),))


def _cancel(asked: Asked) -> Granted:
    action = asked.one("action") or "interrupt"
    return _on_thread("update", told={"action": action})(asked)


def _create_thread(asked: Asked) -> Granted:
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


def _update_thread(find: Callable[[Asked], str]) -> Rule:
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


def _copy_thread(find: Callable[[Asked], str]) -> Rule:
    def rule(asked: Asked) -> Granted:
        thread_id = find(asked)
        sees = asked.ask("threads", "read", {"thread_id": uuid_of(thread_id)})
        if not asked.sees_thread(sees, thread_id):
            return Granted(body=asked.body, visible=False)
        value = {"metadata": metadata_of({})}
        made = filled(asked.ask("threads", "create", value), value)
        return Granted(body=asked.body, senders=(Sender(stamps=made, sees=sees),))

    return rule


def _search_threads(asked: Asked) -> Granted:
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


def _list_all(asked: Asked) -> Granted:
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


def _prune(asked: Asked) -> Granted:
    """Prune the threads that the user may delete; the others are passed over, as those that are not there."""
    fields = asked.fields
    ids = fields.get("thread_ids")
    if not isinstance(ids, list) or not all(isinstance(one, str) for one in ids):
        raise InvalidRequest("Invalid request: thread_ids: input should be a list of ids.")
    wanted = list(dict.fromkeys(parse_id(one, "thread") for one in ids))
    sees = {one: asked.ask("threads", "delete", {"thread_id": uuid_of(one)}) for one in wanted}
    rows = asked.threads.rows(asked.tenant, [one for one in wanted if sees[one]])
    hidden = {row.thread_id for row in rows if not sees[row.thread_id].match(row.metadata)}
    return Granted(body={**fields, "thread_ids": [one for one in wanted if one not in hidden]})


# ---------------------------------------------------------------------- runs


def _run(
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
    """
    assistant_id = asked.check_assistant(named) if isinstance(named, str) else None
    kwargs = some(fields, *_KWARGS)
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
    body = {**put_back(fields, told, *_KWARGS), "metadata": metadata}
    return body, Sender(stamps=stamps, sees=sees)


def _run_on_thread(asked: Asked) -> Granted:
    thread_id, fields = _thread_of(asked), asked.fields
    body, sender = _run(asked, fields, named=fields.get("assistant_id"), thread_id=thread_id)
    visible = asked.sees_thread(sender.sees, thread_id)
    if not visible and fields.get("if_not_exists") == "create":
        raise not_found(thread_id)  # it can neither be used nor made
    return Granted(body=body, senders=(sender,), visible=visible)


def _run_alone(asked: Asked) -> Granted:
    fields = asked.fields
    body, sender = _run(asked, fields, named=fields.get("assistant_id"))
    return Granted(body=body, senders=(sender,))


def _run_many(asked: Asked) -> Granted:
    if not isinstance(asked.body, list) or not all(isinstance(one, dict) for one in asked.body):
        raise InvalidRequest("Invalid request: send a list of objects.")
    made = [_run(asked, one, named=one.get("assistant_id")) for one in asked.body]
    if not made:
        return Granted(body=asked.body)
    return Granted(body=[body for body, _ in made], senders=tuple(sender for _, sender in made))


def _find_batch(asked: Asked) -> Granted:
    return Granted(body=asked.body, senders=(Sender(sees=asked.ask("threads", "read", {})),))


def _cancel_many(asked: Asked) -> Granted:
    fields, action = asked.fields, asked.one("action") or "interrupt"
    thread_id, run_ids = fields.get("thread_id"), fields.get("run_ids")
    if not isinstance(thread_id, str):
        sees = asked.ask("threads", "update", {"action": action})
        return Granted(body=asked.body, senders=(Sender(sees=sees),))
    sees = asked.ask("threads", "update", {"thread_id": uuid_of(thread_id), "action": action})
    runs = [one for one in run_ids if isinstance(one, str)] if isinstance(run_ids, list) else []
    return Granted(
        body=asked.body, senders=(Sender(sees=sees),), visible=asked.sees_thread(sees, thread_id, runs)
    )


def _command(asked: Asked) -> Granted:
    """Carry out a command: it starts a run, answers one that asked, or only looks."""
    thread_id, fields = _thread_of(asked), asked.fields
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
        named = _assistant_of(asked, thread_id)
    given, sender = _run(asked, params, named=named, thread_id=thread_id)
    visible = asked.sees_thread(sender.sees, thread_id)
    if not visible and method == "run.start":
        raise not_found(thread_id)
    # What was asked about is what is run, whatever becomes of the thread meanwhile.
    body = {**fields, "params": {**given, **({"assistant_id": named} if named else {})}}
    return Granted(body=body, senders=(sender,), visible=visible)


def _assistant_of(asked: Asked, thread_id: str) -> str | None:
    """Tell what a thread was made for: what its runs execute that name nothing else."""
    rows = asked.threads.rows(asked.tenant, [thread_id])
    named = rows[0].metadata.get("assistant_id") if rows else None
    return named if isinstance(named, str) else None


# ---------------------------------------------------------------------- the API of Crewship


def _public_run(asked: Asked) -> Granted:
    fields = asked.fields
    if not isinstance(deployment := fields.get("deployment_id"), str):
        return Granted(body=asked.body)  # refused by the route
    with naming_deployment(deployment) as named:
        _, sender = _run(asked, some(fields, "input"), named=named)
    return Granted(body=asked.body, senders=(sender,))


def _public_run_on_thread(asked: Asked) -> Granted:
    thread_id, fields = _public_thread_of(asked), asked.fields
    deployment = fields.get("deployment_id") or _assistant_of(asked, thread_id)
    if not isinstance(deployment, str):
        sees = asked.ask("threads", "create_run", {"thread_id": uuid_of(thread_id), "metadata": {}})
        return Granted(body=asked.body, visible=asked.sees_thread(sees, thread_id))
    with naming_deployment(deployment) as named:
        _, sender = _run(asked, some(fields, "input"), named=named, thread_id=thread_id)
    visible = asked.sees_thread(sender.sees, thread_id)
    return Granted(body={**fields, "deployment_id": deployment}, senders=(sender,), visible=visible)


def _on_public_run(action: str, *, told: Mapping[str, Any] | None = None) -> Rule:
    def rule(asked: Asked) -> Granted:
        run_id = parse_public_id("run", asked.path["run_id"])
        thread_id = asked.runs.thread_of(asked.tenant, run_id)
        value: dict[str, Any] = {"run_id": uuid_of(run_id), "thread_id": uuid_of(thread_id), **(told or {})}
        sees = asked.ask("threads", action, value)
        visible = thread_id is None or asked.sees_thread(sees, thread_id, [run_id])
        return Granted(body=asked.body, senders=(Sender(sees=sees),), visible=visible)

    return rule


# ---------------------------------------------------------------------- assistants

_ASSISTANT: Final = ("graph_id", "config", "context", "name", "description")


def _on_assistant(action: str, *names: str) -> Rule:
    """Make the rule of a route about one assistant.

    Args:
        action: What it does.
        names: Fields of its body that handlers are told.
    """

    def rule(asked: Asked) -> Granted:
        fields = asked.fields
        assistant_id = asked.assistants.identify(asked.path["assistant_id"])
        value = {
            **some(fields, *names),
            "assistant_id": uuid_of(assistant_id),
            "metadata": metadata_of(fields if "metadata" in names else {}),
        }
        sees = asked.ask("assistants", action, value)
        asked.check_seen(sees, assistant_id)
        if "metadata" not in names:
            return Granted(body=asked.body, senders=(Sender(sees=sees),))
        kept(sees, value)
        return Granted(body=put_back(fields, value, *names), senders=(Sender(sees=sees),))

    return rule


def _create_assistant(asked: Asked) -> Granted:
    fields = asked.fields
    value = {**some(fields, *_ASSISTANT, "if_exists"), "metadata": metadata_of(fields)}
    if fields.get("assistant_id") is not None:
        value["assistant_id"] = uuid_of(fields["assistant_id"])
    sees = asked.ask("assistants", "create", value)
    body = {**put_back(fields, value, *_ASSISTANT, "if_exists"), "metadata": filled(sees, value)}
    return Granted(body=body, senders=(Sender(sees=sees),))


def _search_assistants(asked: Asked) -> Granted:
    fields = asked.fields
    names = ("graph_id", "limit", "offset")
    value = {**some(fields, *names), "metadata": metadata_of(fields)}
    sees = asked.ask("assistants", "search", value)
    return Granted(body=put_back(fields, value, *names, "metadata"), senders=(Sender(sees=sees),))


def _delete_assistant(asked: Asked) -> Granted:
    granted = _on_assistant("delete")(asked)
    if not asked.flag("delete_threads"):
        return granted
    threads = asked.ask("threads", "delete", {"metadata": {"assistant_id": asked.path["assistant_id"]}})
    return Granted(body=granted.body, senders=(Sender(sees=threads),))


# ---------------------------------------------------------------------- crons


def _create_cron(asked: Asked) -> Granted:
    """Make a cron, and ask as well whether its maker may start its runs."""
    fields = asked.fields
    thread_id = _thread_of(asked) if "thread_id" in asked.path else None
    value = {
        **some(fields, "schedule", "end_time", "enabled", "timezone"),
        "payload": some(fields, *_KWARGS, "assistant_id", "multitask_strategy"),
        "cron_id": None,
        "thread_id": uuid_of(thread_id),
        "user_id": asked.user.identity,
        "metadata": metadata_of(fields),
    }
    sees = asked.ask("crons", "create", value)
    run, sender = _run(asked, fields, named=fields.get("assistant_id"), thread_id=thread_id)
    body = put_back(fields, value, "schedule", "end_time", "enabled", "timezone")
    body |= {name: run[name] for name in _KWARGS if name in run}
    # The cron's metadata is that of its runs.
    metadata = {**filled(sees, value), **sender.stamps}
    if not sees.match(metadata):
        raise Forbidden("The project's authentication wants other metadata of a cron than of its runs.")
    visible = thread_id is None or asked.sees_thread(sender.sees, thread_id)
    return Granted(body={**body, "metadata": metadata}, senders=(sender,), visible=visible)


def _on_cron(action: str) -> Rule:
    """Make the rule of a route about one cron; the service looks whether it is to be seen."""

    def rule(asked: Asked) -> Granted:
        value = {"cron_id": uuid_of(parse_id(asked.path["cron_id"], "cron"))}
        sees = asked.ask("crons", action, value)
        return Granted(body=asked.body, senders=(Sender(sees=sees),))

    return rule


def _update_cron(asked: Asked) -> Granted:
    fields = asked.fields
    value = {
        **some(fields, "schedule", "end_time", "enabled", "timezone"),
        "cron_id": uuid_of(parse_id(asked.path["cron_id"], "cron")),
        "payload": some(fields, *_KWARGS, "multitask_strategy"),
        "metadata": metadata_of(fields),
    }
    sees = asked.ask("crons", "update", value)
    kept(sees, value)
    body = put_back(fields, value, "schedule", "end_time", "enabled", "timezone", "metadata")
    return Granted(body=body, senders=(Sender(sees=sees),))


def _search_crons(asked: Asked) -> Granted:
    fields = asked.fields
    value = {**some(fields, "limit", "offset"), "metadata": metadata_of(fields)}
    for name in ("assistant_id", "thread_id"):
        value[name] = uuid_of(fields.get(name))
    sees = asked.ask("crons", "search", value)
    body = put_back(fields, value, "limit", "offset", "metadata")
    return Granted(body=body, senders=(Sender(sees=sees),))


# ---------------------------------------------------------------------- the store


def _on_store(action: str, named: str, *names: str) -> Rule:
    """Make the rule of a route of the store: the handler says under which namespace it looks.

    Args:
        action: What it does.
        named: The field of the body that has the namespace.
        names: Other fields that handlers are told, and may change.
    """

    def rule(asked: Asked) -> Granted:
        fields = asked.fields
        sent = fields.get(named)
        if sent is not None and not (isinstance(sent, list) and all(isinstance(one, str) for one in sent)):
            raise InvalidRequest(f"Invalid request: {named}: input should be a list of texts.")
        absent = None if action == "list_namespaces" else ()
        value = {
            **dict.fromkeys(names),
            **some(fields, *names),
            "namespace": absent if sent is None else tuple(sent),
        }
        labels = _ask_store(asked, action, value)
        body = put_back(fields, {name: one for name, one in value.items() if one is not None}, *names)
        return Granted(body={**body, named: labels})

    return rule


def _get_item(asked: Asked) -> Granted:
    value = {"namespace": split_namespace(asked.one("namespace") or ""), "key": asked.one("key")}
    labels = _ask_store(asked, "get", value)
    query = {**asked.query, "namespace": [".".join(labels)]}
    return Granted(body=asked.body, query=query)


def _ask_store(asked: Asked, action: str, value: dict[str, Any]) -> list[str]:
    """Ask under which namespace a request looks.

    Raises:
        InvalidRequest: A label of it could be read as two, or is none.
        Forbidden: The handler says no, or says it by metadata, which items do not have.
    """
    if asked.ask("store", action, value):
        raise Forbidden(
            "The project's authentication filters by metadata, which items of the store do not have; "
            "a handler of its own, @auth.on.store, says under which namespace a user looks."
        )
    labels = plain(value["namespace"]) or []
    try:
        check_labels(labels)
    except ValueError as exc:
        raise InvalidRequest(f"namespace: {exc}.") from exc
    return list(labels)


# ---------------------------------------------------------------------- MCP and A2A


@dataclass(frozen=True, slots=True)
class _AgentRights:
    """Asks a project's handlers for the clients of MCP and A2A, as they are asked for those of the other routes."""

    asked: Asked

    def find_assistants(self) -> Filters:
        """Tell which assistants the user may find."""
        value = {"metadata": metadata_of({}), "graph_id": None}
        said = self.asked.ask("assistants", "search", value)
        return Filters({**set_by_handler(value), **said.wanted})

    def use_assistant(self, assistant_id: str) -> None:
        """Let the user pass who may use an assistant."""
        self.asked.check_assistant(assistant_id)

    def start(self, asked: Mapping[str, Any], *, assistant_id: str, thread_id: str | None) -> Sender:
        """Let the user pass who may start a run, and give what goes on with it."""
        _, sender = _run(self.asked, asked, named=assistant_id, thread_id=thread_id)
        if thread_id and not self.asked.sees_thread(sender.sees, thread_id):
            raise not_found(thread_id)
        return replace(sender, user=self.asked.user)

    def reach(self, action: Literal["read", "update"], thread_id: str, run_id: str) -> bool:
        """Tell whether the user may see, or change, a run."""
        value: dict[str, Any] = {"thread_id": uuid_of(thread_id), "run_id": uuid_of(run_id)}
        if action == "update":
            value["action"] = "interrupt"
        sees = self.asked.ask("threads", action, value)
        return self.asked.sees_thread(sees, thread_id, [run_id])


def _as_agents_ask(asked: Asked) -> Granted:
    """Let a call pass to the route, which finds out what it is about, and asks then."""
    return Granted(body=asked.body, rights=_AgentRights(asked))


# ---------------------------------------------------------------------- what is about everybody


def _for_operators(resource: str) -> Rule:
    """Make the rule of what tells of all users: it is for those whom a handler of its own lets pass, unconditionally."""

    def rule(asked: Asked) -> Granted:
        named = asked.authority.has_handler(resource)
        if not named or asked.ask(resource, "read", {}):
            raise Forbidden(
                f"This tells of all users; a handler @auth.on(resources={resource!r}) decides who may read it."
            )
        return Granted(body=asked.body)

    return rule


# ---------------------------------------------------------------------- every route

RULES: Final[Mapping[tuple[str, str], Rule]] = {
    ("GET", "/metrics"): _for_operators("metrics"),
    # ---- assistants
    ("POST", "/assistants"): _create_assistant,
    ("POST", "/assistants/search"): _search_assistants,
    ("POST", "/assistants/count"): _search_assistants,
    ("GET", "/assistants/{assistant_id}"): _on_assistant("read"),
    ("PATCH", "/assistants/{assistant_id}"): _on_assistant("update", *_ASSISTANT, "metadata"),
    ("DELETE", "/assistants/{assistant_id}"): _delete_assistant,
    ("POST", "/assistants/{assistant_id}/versions"): _on_assistant("read"),
    ("POST", "/assistants/{assistant_id}/latest"): _on_assistant("update", "version"),
    ("GET", "/assistants/{assistant_id}/graph"): _on_assistant("read"),
    ("GET", "/assistants/{assistant_id}/schemas"): _on_assistant("read"),
    ("GET", "/assistants/{assistant_id}/subgraphs"): _on_assistant("read"),
    ("GET", "/assistants/{assistant_id}/subgraphs/{namespace}"): _on_assistant("read"),
    # ---- the store
    ("PUT", "/store/items"): _on_store("put", "namespace", "key", "value", "index"),
    ("GET", "/store/items"): _get_item,
    ("DELETE", "/store/items"): _on_store("delete", "namespace", "key"),
    ("POST", "/store/items/search"): _on_store(
        "search", "namespace_prefix", "filter", "limit", "offset", "query"
    ),
    ("POST", "/store/namespaces"): _on_store(
        "list_namespaces", "prefix", "suffix", "max_depth", "limit", "offset"
    ),
    # ---- crons
    ("POST", "/runs/crons"): _create_cron,
    ("POST", "/threads/{thread_id}/runs/crons"): _create_cron,
    ("POST", "/runs/crons/search"): _search_crons,
    ("POST", "/runs/crons/count"): _search_crons,
    ("GET", "/runs/crons/{cron_id}"): _on_cron("read"),
    ("PATCH", "/runs/crons/{cron_id}"): _update_cron,
    ("DELETE", "/runs/crons/{cron_id}"): _on_cron("delete"),
    # ---- threads
    ("POST", "/threads"): _create_thread,
    ("POST", "/threads/prune"): _prune,
    ("POST", "/threads/search"): _search_threads,
    ("POST", "/threads/count"): _search_threads,
    ("GET", "/threads/{thread_id}"): _on_thread("read"),
    ("PATCH", "/threads/{thread_id}"): _update_thread(_thread_of),
    ("DELETE", "/threads/{thread_id}"): _on_thread("delete"),
    ("GET", "/threads/{thread_id}/storage"): _on_thread("read"),
    ("POST", "/threads/{thread_id}/copy"): _copy_thread(_thread_of),
    # ---- state
    ("GET", "/threads/{thread_id}/state"): _on_thread("read"),
    ("GET", "/threads/{thread_id}/state/{checkpoint_id}"): _on_thread("read"),
    ("POST", "/threads/{thread_id}/state/checkpoint"): _on_thread("read"),
    ("POST", "/threads/{thread_id}/state"): _on_thread("update"),
    ("GET", "/threads/{thread_id}/history"): _on_thread("read"),
    ("POST", "/threads/{thread_id}/history"): _on_thread("read"),
    # ---- runs
    ("POST", "/threads/{thread_id}/runs"): _run_on_thread,
    ("GET", "/threads/{thread_id}/runs"): _on_thread("read"),
    ("POST", "/threads/{thread_id}/runs/wait"): _run_on_thread,
    ("POST", "/threads/{thread_id}/runs/stream"): _run_on_thread,
    ("GET", "/threads/{thread_id}/runs/{run_id}"): _on_thread("read"),
    ("DELETE", "/threads/{thread_id}/runs/{run_id}"): _on_thread("delete"),
    ("POST", "/threads/{thread_id}/runs/{run_id}/cancel"): _cancel,
    ("GET", "/threads/{thread_id}/runs/{run_id}/join"): _follow,
    ("GET", "/threads/{thread_id}/runs/{run_id}/stream"): _follow,
    ("GET", "/threads/{thread_id}/stream"): _on_thread("read"),
    ("POST", "/runs"): _run_alone,
    ("POST", "/runs/batch"): _run_many,
    ("GET", "/runs/batch/{batch_id}"): _find_batch,
    ("POST", "/runs/cancel"): _cancel_many,
    ("POST", "/runs/wait"): _run_alone,
    ("POST", "/runs/stream"): _run_alone,
    # ---- MCP and A2A
    ("POST", "/mcp"): _as_agents_ask,
    ("POST", "/a2a/{assistant_id}"): _as_agents_ask,
    ("GET", "/a2a/{assistant_id}/.well-known/agent-card.json"): _as_agents_ask,
    ("GET", "/.well-known/agent-card.json"): _as_agents_ask,
    # ---- protocol v2
    ("POST", "/threads/{thread_id}/commands"): _command,
    ("POST", "/threads/{thread_id}/stream/events"): _listen,
    # ---- the API of Crewship
    ("POST", "/v1/runs"): _public_run,
    ("GET", "/v1/runs"): _list_all,
    ("GET", "/v1/runs/{run_id}"): _on_public_run("read"),
    ("GET", "/v1/runs/{run_id}/events"): _on_public_run("read"),
    ("POST", "/v1/runs/{run_id}/cancel"): _on_public_run("update", told={"action": "interrupt"}),
    ("POST", "/v1/threads/{thread_id}/runs"): _public_run_on_thread,
    ("POST", "/v1/threads"): _create_thread,
    ("GET", "/v1/threads"): _list_all,
    ("GET", "/v1/threads/{thread_id}"): _on_thread("read", _public_thread_of),
    ("PATCH", "/v1/threads/{thread_id}"): _update_thread(_public_thread_of),
    ("DELETE", "/v1/threads/{thread_id}"): _on_thread("delete", _public_thread_of),
    ("GET", "/v1/threads/{thread_id}/history"): _on_thread("read", _public_thread_of),
    ("POST", "/v1/threads/{thread_id}/copy"): _copy_thread(_public_thread_of),
    ("POST", "/v1/threads/{thread_id}/rollback"): _on_thread("update", _public_thread_of),
}
"""Method and path of every route that is for known users → its rule; a route without one is refused."""
