"""What each route does and answers, for whoever describes the API."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import GenericAlias
from typing import Any, Final, cast, get_type_hints

from typing_extensions import TypedDict

from crewline.http.metrics import PROMETHEUS
from crewline.models.answers import (
    AgentCard,
    CommandAnswer,
    CommandRefused,
    CommandRequest,
    EventsRequest,
    Information,
    Okay,
    RpcAnswer,
    RpcCall,
)
from crewline.models.assistants import AssistantVersionWire, AssistantWire, Drawing, Schemas
from crewline.models.batches import BatchWire, FailedItem
from crewline.models.crewship import CrewshipRun, CrewshipRuns, StartedRun, StartedThreadRun
from crewline.models.crewship_threads import CrewshipHistory, CrewshipThread, CrewshipThreads
from crewline.models.crons import CronWire
from crewline.models.runs import RunWire
from crewline.models.searches import FoundThread
from crewline.models.states import EditWire, StateWire
from crewline.models.store_items import FoundItems, FoundNamespaces, ItemWire
from crewline.models.threads import PruneWire, StorageWire, ThreadWire
from crewline.models.vitals import VitalsWire

_KEY: Final = ("Idempotency-Key",)
_KEY_AND_WAIT: Final = ("Idempotency-Key", "Prefer")
_RESUMED: Final = ("Last-Event-ID",)
_METADATA: Final = (
    {
        "name": "metadata",
        "in": "query",
        "description": "`metadata[key]=value`, repeatable: only threads whose metadata has all of these.",
        "style": "deepObject",
        "explode": True,
        "schema": {"type": "object", "additionalProperties": {"type": "string"}},
    },
)
_A_RUN: Final = (400, 404, 409, 413, 429)
_A_STATELESS_RUN: Final = (400, 404, 409, 413)


@dataclass(frozen=True, slots=True)
class Operation:
    """What a route does and answers.

    Args:
        summary: A sentence for the caller.
        answers: Status → type of the body, None when that is empty; nothing when it answers with events.
        errors: Statuses with which it refuses, beside 422 and 503, and those about keys.
        body: Type of its body, where the route reads that itself.
        headers: Those of the request that it minds.
        queries: Parameters of its query that no signature can have, as the document has them.
        text: The media type of its answer as text, where it has both.
    """

    summary: str
    answers: Mapping[int, Any] = field(default_factory=dict)
    errors: tuple[int, ...] = ()
    body: Any = None
    headers: tuple[str, ...] = ()
    queries: tuple[Mapping[str, Any], ...] = ()
    text: str = ""


def _parts(wire: Any, name: str, description: str) -> Any:
    """Make the type of a list of rows of which only some fields are answered."""
    part = cast("Any", TypedDict)(name, get_type_hints(wire, include_extras=True), total=False)
    part.__doc__ = description
    return GenericAlias(list, (part,))


OPERATIONS: Final[Mapping[tuple[str, str], Operation]] = {
    ("GET", "/ok"): Operation(
        "Tell that the service is there; with `check_db` also that its table is.", {200: Okay}, errors=(500,)
    ),
    ("GET", "/info"): Operation("Tell which service this is.", {200: Information}),
    ("GET", "/metrics"): Operation(
        "Count what waits and what is executed, for Prometheus or as JSON.",
        {200: VitalsWire},
        text=PROMETHEUS,
    ),
    # ---- assistants
    ("POST", "/assistants"): Operation(
        "Make an assistant.", {200: AssistantWire}, errors=(400, 404, 409, 413), headers=_KEY
    ),
    ("POST", "/assistants/search"): Operation(
        "List assistants.",
        {200: _parts(AssistantWire, "AssistantPart", "The selected fields of an assistant.")},
        errors=(413,),
    ),
    ("POST", "/assistants/count"): Operation("Count assistants.", {200: int}, errors=(413,)),
    ("GET", "/assistants/{assistant_id}"): Operation(
        "Get an assistant.", {200: AssistantWire}, errors=(404,)
    ),
    ("PATCH", "/assistants/{assistant_id}"): Operation(
        "Change an assistant, which makes a version of it.", {200: AssistantWire}, errors=(400, 404, 409, 413)
    ),
    ("DELETE", "/assistants/{assistant_id}"): Operation(
        "Delete an assistant with its versions.", {204: None}, errors=(404, 409)
    ),
    ("POST", "/assistants/{assistant_id}/versions"): Operation(
        "List the versions of an assistant, the newest first.",
        {200: list[AssistantVersionWire]},
        errors=(404, 413),
    ),
    ("POST", "/assistants/{assistant_id}/latest"): Operation(
        "Make a version the one that the assistant is.", {200: AssistantWire}, errors=(404, 413)
    ),
    ("GET", "/assistants/{assistant_id}/graph"): Operation(
        "Draw an assistant's graph.", {200: Drawing}, errors=(404,)
    ),
    ("GET", "/assistants/{assistant_id}/schemas"): Operation(
        "Get the JSON schemas of an assistant's graph.", {200: Schemas}, errors=(404,)
    ),
    ("GET", "/assistants/{assistant_id}/subgraphs"): Operation(
        "Get the JSON schemas of the subgraphs by namespace.", {200: dict[str, Schemas]}, errors=(404,)
    ),
    ("GET", "/assistants/{assistant_id}/subgraphs/{namespace}"): Operation(
        "Get the JSON schemas of one subgraph.", {200: dict[str, Schemas]}, errors=(404,)
    ),
    # ---- threads
    ("POST", "/threads"): Operation(
        "Make a thread.", {200: ThreadWire}, errors=(400, 404, 409, 413), headers=_KEY
    ),
    ("POST", "/threads/prune"): Operation(
        "Remove threads, or all of them but their newest state.", {200: PruneWire}, errors=(413,)
    ),
    ("POST", "/threads/search"): Operation(
        "Search for threads, or list them.", {200: list[FoundThread]}, errors=(413,)
    ),
    ("POST", "/threads/count"): Operation("Count threads.", {200: int}, errors=(413,)),
    ("GET", "/threads/{thread_id}"): Operation(
        "Get a thread with its values and open questions.", {200: ThreadWire}, errors=(404,)
    ),
    ("PATCH", "/threads/{thread_id}"): Operation(
        "Merge metadata into a thread's.",
        {200: ThreadWire, 204: None},
        errors=(404, 413),
        headers=("Prefer",),
    ),
    ("DELETE", "/threads/{thread_id}"): Operation("Delete a thread.", {204: None}, errors=(404,)),
    ("GET", "/threads/{thread_id}/storage"): Operation(
        "Tell how many bytes a thread's checkpoints take.", {200: StorageWire}, errors=(404,)
    ),
    ("POST", "/threads/{thread_id}/copy"): Operation(
        "Copy a thread: its state, history and open questions.",
        {200: ThreadWire},
        errors=(404, 409),
        headers=_KEY,
    ),
    # ---- state
    ("GET", "/threads/{thread_id}/state"): Operation(
        "Get the newest state.", {200: StateWire}, errors=(404,)
    ),
    ("GET", "/threads/{thread_id}/state/{checkpoint_id}"): Operation(
        "Get the state at a checkpoint.", {200: StateWire}, errors=(404,)
    ),
    ("POST", "/threads/{thread_id}/state/checkpoint"): Operation(
        "Get the state at a checkpoint.", {200: StateWire}, errors=(404, 413)
    ),
    ("POST", "/threads/{thread_id}/state"): Operation(
        "Change the state as if a node had written it.", {200: EditWire}, errors=(400, 404, 409, 413)
    ),
    ("GET", "/threads/{thread_id}/history"): Operation(
        "List states, the newest first.", {200: list[StateWire]}, errors=(404,)
    ),
    ("POST", "/threads/{thread_id}/history"): Operation(
        "List states, the newest first.", {200: list[StateWire]}, errors=(404, 413)
    ),
    # ---- runs
    ("POST", "/threads/{thread_id}/runs"): Operation(
        "Start a run in the background.", {200: RunWire, 202: RunWire}, errors=_A_RUN, headers=_KEY_AND_WAIT
    ),
    ("GET", "/threads/{thread_id}/runs"): Operation(
        "List a thread's runs, the newest first.",
        {200: _parts(RunWire, "RunPart", "The selected fields of a run.")},
        errors=(404,),
    ),
    ("POST", "/threads/{thread_id}/runs/wait"): Operation(
        "Start a run and wait for its values.", {200: Any}, errors=_A_RUN, headers=_KEY
    ),
    ("POST", "/threads/{thread_id}/runs/stream"): Operation(
        "Start a run and stream it.", errors=_A_RUN, headers=_KEY
    ),
    ("GET", "/threads/{thread_id}/runs/{run_id}"): Operation("Get a run.", {200: RunWire}, errors=(404,)),
    ("DELETE", "/threads/{thread_id}/runs/{run_id}"): Operation(
        "Delete a run.", {204: None}, errors=(404, 409)
    ),
    ("POST", "/threads/{thread_id}/runs/{run_id}/cancel"): Operation(
        "Cancel a run.", {200: dict[str, Any], 202: None}, errors=(404,)
    ),
    ("GET", "/threads/{thread_id}/runs/{run_id}/join"): Operation("Wait for a run's values.", {200: Any}),
    ("GET", "/threads/{thread_id}/runs/{run_id}/stream"): Operation("Stream a run.", headers=_RESUMED),
    ("GET", "/threads/{thread_id}/stream"): Operation(
        "Stream all runs of a thread.", errors=(404,), headers=_RESUMED
    ),
    ("POST", "/runs"): Operation(
        "Start a run without a thread in the background.",
        {200: RunWire, 202: RunWire},
        errors=_A_STATELESS_RUN,
        headers=_KEY_AND_WAIT,
    ),
    ("POST", "/runs/batch"): Operation(
        "Start many runs without threads.",
        {200: list[RunWire | FailedItem]},
        errors=_A_STATELESS_RUN,
        headers=_KEY,
    ),
    ("GET", "/runs/batch/{batch_id}"): Operation(
        "Count the runs of a batch by status.", {200: BatchWire}, errors=(404,)
    ),
    ("POST", "/runs/cancel"): Operation("Cancel many runs.", {204: None}, errors=(404, 413)),
    ("POST", "/runs/wait"): Operation(
        "Start a run without a thread and wait for its values.",
        {200: Any},
        errors=_A_STATELESS_RUN,
        headers=_KEY,
    ),
    ("POST", "/runs/stream"): Operation(
        "Start a run without a thread and stream it.", errors=_A_STATELESS_RUN, headers=_KEY
    ),
    # ---- the store
    ("PUT", "/store/items"): Operation(
        "Put an item in the place of what is there.", {204: None}, errors=(413,)
    ),
    ("GET", "/store/items"): Operation("Get an item, or null where there is none.", {200: ItemWire | None}),
    ("DELETE", "/store/items"): Operation("Remove an item, if it is there.", {204: None}, errors=(413,)),
    ("POST", "/store/items/search"): Operation(
        "Search for items under a namespace: the nearest to a text first, or else those put last.",
        {200: FoundItems},
        errors=(413,),
    ),
    ("POST", "/store/namespaces"): Operation(
        "List the namespaces that have items.", {200: FoundNamespaces}, errors=(413,)
    ),
    # ---- crons
    ("POST", "/runs/crons"): Operation(
        "Make a cron: a run of its own each time that a schedule is due.",
        {200: CronWire},
        errors=_A_STATELESS_RUN,
        headers=_KEY,
    ),
    ("POST", "/threads/{thread_id}/runs/crons"): Operation(
        "Make a cron: a run on a thread each time that a schedule is due.",
        {200: CronWire},
        errors=_A_STATELESS_RUN,
        headers=_KEY,
    ),
    ("POST", "/runs/crons/search"): Operation(
        "List crons.",
        {200: _parts(CronWire, "CronPart", "The selected fields of a cron.")},
        errors=(413,),
    ),
    ("POST", "/runs/crons/count"): Operation("Count crons.", {200: int}, errors=(413,)),
    ("GET", "/runs/crons/{cron_id}"): Operation("Get a cron.", {200: CronWire}, errors=(404,)),
    ("PATCH", "/runs/crons/{cron_id}"): Operation("Change a cron.", {200: CronWire}, errors=(400, 404, 413)),
    ("DELETE", "/runs/crons/{cron_id}"): Operation("Delete a cron.", {204: None}, errors=(404,)),
    # ---- protocol v2
    ("POST", "/threads/{thread_id}/commands"): Operation(
        "Tell a thread to do something.",
        {200: CommandAnswer, 400: CommandRefused},
        errors=(409, 413),
        headers=_KEY,
        body=CommandRequest,
    ),
    ("POST", "/threads/{thread_id}/stream/events"): Operation(
        "Stream what happens on a thread.", errors=(400, 413), body=EventsRequest
    ),
    # ---- MCP and A2A
    ("POST", "/mcp"): Operation(
        "Speak MCP: list assistants as tools, and call them.",
        {200: RpcAnswer, 202: None},
        errors=(400, 404, 413),
        body=RpcCall,
        headers=_KEY,
    ),
    ("DELETE", "/mcp"): Operation("End a session; there are none.", {404: RpcAnswer}),
    ("POST", "/a2a/{assistant_id}"): Operation(
        "Speak A2A with an assistant: send messages, follow tasks. A stream has answers of this form as its events.",
        {200: RpcAnswer},
        errors=(400, 404, 413),
        body=RpcCall,
        headers=_KEY,
    ),
    ("GET", "/a2a/{assistant_id}/.well-known/agent-card.json"): Operation(
        "Get an assistant's agent card.", {200: AgentCard}, errors=(404,)
    ),
    ("GET", "/.well-known/agent-card.json"): Operation(
        "Get the agent card of an assistant; of the only one when none is named.",
        {200: AgentCard},
        errors=(404,),
    ),
    # ---- the API of Crewship
    ("POST", "/v1/runs"): Operation("Start a run.", {202: StartedRun}, errors=(404, 409, 413), headers=_KEY),
    ("GET", "/v1/runs"): Operation("List runs, the newest first.", {200: CrewshipRuns}, errors=(404,)),
    ("GET", "/v1/runs/{run_id}"): Operation("Get a run.", {200: CrewshipRun}, errors=(404,)),
    ("GET", "/v1/runs/{run_id}/events"): Operation(
        "Tell what a run does, to its end.", errors=(404,), headers=_RESUMED
    ),
    ("POST", "/v1/runs/{run_id}/cancel"): Operation("Cancel a run.", {202: CrewshipRun}, errors=(404, 409)),
    ("POST", "/v1/threads/{thread_id}/runs"): Operation(
        "Start a run on a thread.", {202: StartedThreadRun}, errors=(404, 409, 413), headers=_KEY
    ),
    ("POST", "/webhooks/runs/{token}"): Operation(
        "Start a run of a webhook's deployment; the body is its input, and the token needs no key beside it.",
        {202: StartedRun},
        errors=(404, 409, 413),
        body=dict[str, Any],
        headers=_KEY,
    ),
    ("POST", "/v1/threads"): Operation(
        "Make a thread.", {201: CrewshipThread}, errors=(404, 409, 413), headers=_KEY
    ),
    ("GET", "/v1/threads"): Operation(
        "List the threads of a deployment, or some of them by their metadata.",
        {200: CrewshipThreads},
        errors=(404,),
        queries=_METADATA,
    ),
    ("GET", "/v1/threads/{thread_id}"): Operation(
        "Get a thread with its values.", {200: CrewshipThread}, errors=(404,)
    ),
    ("PATCH", "/v1/threads/{thread_id}"): Operation(
        "Merge metadata into a thread's.", {200: CrewshipThread}, errors=(404, 413)
    ),
    ("DELETE", "/v1/threads/{thread_id}"): Operation("Delete a thread.", {204: None}, errors=(404,)),
    ("GET", "/v1/threads/{thread_id}/history"): Operation(
        "List what a thread's state has been, a checkpoint for each run, the newest first.",
        {200: CrewshipHistory},
        errors=(404,),
    ),
    ("POST", "/v1/threads/{thread_id}/copy"): Operation(
        "Copy a thread with its history.", {201: CrewshipThread}, errors=(404, 409), headers=_KEY
    ),
    ("POST", "/v1/threads/{thread_id}/rollback"): Operation(
        "Let a thread go on from a checkpoint of its history.",
        {200: CrewshipThread},
        errors=(404, 409, 413),
    ),
}
"""Method and path of every route → what it does."""
