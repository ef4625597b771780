"""What a user's request to each route is, in the words of a project's handlers, and where their changes go."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from crewline.errors import Forbidden
from crewline.http.grants import Asked, Granted, Rule
from crewline.http.rules.agents import let_ask_later
from crewline.http.rules.assistants import (
    FIELDS,
    create_assistant,
    delete_assistant,
    on_assistant,
    search_assistants,
)
from crewline.http.rules.crewship import on_public_run, public_run, public_run_on_thread
from crewline.http.rules.crons import create_cron, on_cron, search_crons, update_cron
from crewline.http.rules.runs import cancel_many, command, find_batch, run_alone, run_many, run_on_thread
from crewline.http.rules.store_items import get_item, on_store
from crewline.http.rules.threads import (
    cancel_run,
    copy_thread,
    create_thread,
    follow_run,
    list_all,
    listen,
    on_thread,
    prune_threads,
    public_thread_of,
    search_threads,
    thread_of,
    update_thread,
)


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


RULES: Final[Mapping[tuple[str, str], Rule]] = {
    ("GET", "/metrics"): _for_operators("metrics"),
    # ---- assistants
    ("POST", "/assistants"): create_assistant,
    ("POST", "/assistants/search"): search_assistants,
    ("POST", "/assistants/count"): search_assistants,
    ("GET", "/assistants/{assistant_id}"): on_assistant("read"),
    ("PATCH", "/assistants/{assistant_id}"): on_assistant("update", *FIELDS, "metadata"),
    ("DELETE", "/assistants/{assistant_id}"): delete_assistant,
    ("POST", "/assistants/{assistant_id}/versions"): on_assistant("read"),
    ("POST", "/assistants/{assistant_id}/latest"): on_assistant("update", "version"),
    ("GET", "/assistants/{assistant_id}/graph"): on_assistant("read"),
    ("GET", "/assistants/{assistant_id}/schemas"): on_assistant("read"),
    ("GET", "/assistants/{assistant_id}/subgraphs"): on_assistant("read"),
    ("GET", "/assistants/{assistant_id}/subgraphs/{namespace}"): on_assistant("read"),
    # ---- the store
    ("PUT", "/store/items"): on_store("put", "namespace", "key", "value", "index"),
    ("GET", "/store/items"): get_item,
    ("DELETE", "/store/items"): on_store("delete", "namespace", "key"),
    ("POST", "/store/items/search"): on_store(
        "search", "namespace_prefix", "filter", "limit", "offset", "query"
    ),
    ("POST", "/store/namespaces"): on_store(
        "list_namespaces", "prefix", "suffix", "max_depth", "limit", "offset"
    ),
    # ---- crons
    ("POST", "/runs/crons"): create_cron,
    ("POST", "/threads/{thread_id}/runs/crons"): create_cron,
    ("POST", "/runs/crons/search"): search_crons,
    ("POST", "/runs/crons/count"): search_crons,
    ("GET", "/runs/crons/{cron_id}"): on_cron("read"),
    ("PATCH", "/runs/crons/{cron_id}"): update_cron,
    ("DELETE", "/runs/crons/{cron_id}"): on_cron("delete"),
    # ---- threads
    ("POST", "/threads"): create_thread,
    ("POST", "/threads/prune"): prune_threads,
    ("POST", "/threads/search"): search_threads,
    ("POST", "/threads/count"): search_threads,
    ("GET", "/threads/{thread_id}"): on_thread("read"),
    ("PATCH", "/threads/{thread_id}"): update_thread(thread_of),
    ("DELETE", "/threads/{thread_id}"): on_thread("delete"),
    ("GET", "/threads/{thread_id}/storage"): on_thread("read"),
    ("POST", "/threads/{thread_id}/copy"): copy_thread(thread_of),
    # ---- state
    ("GET", "/threads/{thread_id}/state"): on_thread("read"),
    ("GET", "/threads/{thread_id}/state/{checkpoint_id}"): on_thread("read"),
    ("POST", "/threads/{thread_id}/state/checkpoint"): on_thread("read"),
    ("POST", "/threads/{thread_id}/state"): on_thread("update"),
    ("GET", "/threads/{thread_id}/history"): on_thread("read"),
    ("POST", "/threads/{thread_id}/history"): on_thread("read"),
    # ---- runs
    ("POST", "/threads/{thread_id}/runs"): run_on_thread,
    ("GET", "/threads/{thread_id}/runs"): on_thread("read"),
    ("POST", "/threads/{thread_id}/runs/wait"): run_on_thread,
    ("POST", "/threads/{thread_id}/runs/stream"): run_on_thread,
    ("GET", "/threads/{thread_id}/runs/{run_id}"): on_thread("read"),
    ("DELETE", "/threads/{thread_id}/runs/{run_id}"): on_thread("delete"),
    ("POST", "/threads/{thread_id}/runs/{run_id}/cancel"): cancel_run,
    ("GET", "/threads/{thread_id}/runs/{run_id}/join"): follow_run,
    ("GET", "/threads/{thread_id}/runs/{run_id}/stream"): follow_run,
    ("GET", "/threads/{thread_id}/stream"): on_thread("read"),
    ("POST", "/runs"): run_alone,
    ("POST", "/runs/batch"): run_many,
    ("GET", "/runs/batch/{batch_id}"): find_batch,
    ("POST", "/runs/cancel"): cancel_many,
    ("POST", "/runs/wait"): run_alone,
    ("POST", "/runs/stream"): run_alone,
    # ---- MCP and A2A
    ("POST", "/mcp"): let_ask_later,
    ("POST", "/a2a/{assistant_id}"): let_ask_later,
    ("GET", "/a2a/{assistant_id}/.well-known/agent-card.json"): let_ask_later,
    ("GET", "/.well-known/agent-card.json"): let_ask_later,
    # ---- protocol v2
    ("POST", "/threads/{thread_id}/commands"): command,
    ("POST", "/threads/{thread_id}/stream/events"): listen,
    # ---- the API of Crewship
    ("POST", "/v1/runs"): public_run,
    ("GET", "/v1/runs"): list_all,
    ("GET", "/v1/runs/{run_id}"): on_public_run("read"),
    ("GET", "/v1/runs/{run_id}/events"): on_public_run("read"),
    ("POST", "/v1/runs/{run_id}/cancel"): on_public_run("update", told={"action": "interrupt"}),
    ("POST", "/v1/threads/{thread_id}/runs"): public_run_on_thread,
    ("POST", "/v1/threads"): create_thread,
    ("GET", "/v1/threads"): list_all,
    ("GET", "/v1/threads/{thread_id}"): on_thread("read", public_thread_of),
    ("PATCH", "/v1/threads/{thread_id}"): update_thread(public_thread_of),
    ("DELETE", "/v1/threads/{thread_id}"): on_thread("delete", public_thread_of),
    ("GET", "/v1/threads/{thread_id}/history"): on_thread("read", public_thread_of),
    ("POST", "/v1/threads/{thread_id}/copy"): copy_thread(public_thread_of),
    ("POST", "/v1/threads/{thread_id}/rollback"): on_thread("update", public_thread_of),
}
"""Method and path of every route that is for known users → its rule; a route without one is refused."""
