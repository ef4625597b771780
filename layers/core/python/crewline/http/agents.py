"""Assistants as other agents see them: listed, described, called. What MCP and A2A have in common.

All that their clients read and start passes here, so this is where it is decided what a caller may.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from crewline.errors import NotFound
from crewline.models.api_keys import Caller
from crewline.models.assistants import Assistant, AssistantSearch
from crewline.models.runs import Run, RunCreate
from crewline.models.users import EVERYTHING, NOBODY, Sender
from crewline.services.assistants import Assistants
from crewline.services.cancellations import Cancellations
from crewline.services.runs import Admitted, Runs
from crewline.services.threads import Threads
from crewline.store.idempotency import Once

_PAGE: Final = 1_000


class Describer(Protocol):
    """The engine as it is used here."""

    def schemas(self, assistant: Assistant) -> dict[str, Any]:
        """Give the schemas of an assistant's graph."""


@dataclass(frozen=True, slots=True)
class Asking:
    """What a request says beside its call."""

    caller: Caller
    """Who sends it."""
    headers: Mapping[str, str]
    """By lower-case name."""
    context: Any
    """The Lambda context."""
    once: Once | None
    """Names the call, so that a repetition has no second effect."""


@dataclass(frozen=True, slots=True)
class Agents:
    """The assistants of a deployment and their runs, for the clients of MCP and A2A.

    Args:
        assistants: The assistants.
        threads: The threads.
        runs: The runs.
        cancellations: Stops runs.
        describer: The engine.
        crews: The names of the crews.
    """

    assistants: Assistants
    threads: Threads
    runs: Runs
    cancellations: Cancellations
    describer: Describer
    crews: frozenset[str]

    def every(self, caller: Caller) -> Sequence[Assistant]:
        """List the assistants that a caller may see.

        Raises:
            Forbidden: The caller may not read.
            InvalidRequest: There are too many to look at.
            Unavailable: DynamoDB did not answer.
        """
        caller.require("read")
        sees = caller.rights.find_assistants() if caller.rights else EVERYTHING
        found: list[Assistant] = []
        more = True
        while more:
            query = AssistantSearch(limit=_PAGE, offset=len(found))
            page, more = self.assistants.search(caller.tenant, query, sees=sees)
            found += page
        # One whose crew was deployed once is still there, and runs nothing.
        return [assistant for assistant in found if assistant.graph_id in self.crews]

    def one(self, caller: Caller, id_or_graph: str) -> Assistant:
        """Find the assistant that a caller names by its id, or by its crew.

        Raises:
            InvalidRequest: It is neither a UUID nor a crew of this deployment, or its crew is not.
            NotFound: There is no such assistant, or none that the caller may use.
            Unavailable: DynamoDB did not answer.
        """
        found = self.assistants.resolve(caller.tenant, id_or_graph)
        if caller.rights:
            caller.rights.use_assistant(found.assistant_id)
        return found

    def schemas(self, assistant: Assistant) -> dict[str, Any]:
        """Give the JSON schemas of an assistant's graph.

        Raises:
            InvalidRequest: The assistant's crew is not in this deployment.
            CrewFailedToLoad: What the crew's factory gave is no graph.
        """
        return self.describer.schemas(assistant)

    def start(
        self, caller: Caller, body: RunCreate, *, thread_id: str | None = None, once: Once | None = None
    ) -> Admitted:
        """Start a run to execute it in place: on a thread, or on a private one.

        Raises:
            Forbidden: The caller may not run.
            CrewlineError: What `Runs.start` and `Runs.start_stateless` raise.
        """
        sender = _sender(caller, body, thread_id)
        if thread_id is None:
            return self.runs.start_stateless(caller.tenant, body, once=once, sender=sender)
        return self.runs.start(caller.tenant, thread_id, body, once=once, sender=sender)

    def create(self, caller: Caller, body: RunCreate, thread_id: str, *, once: Once | None = None) -> Run:
        """Start a run on a thread that a worker executes.

        Raises:
            Forbidden: The caller may not run.
            CrewlineError: What `Runs.create` raises.
        """
        sender = _sender(caller, body, thread_id)
        return self.runs.create(caller.tenant, thread_id, body, once=once, sender=sender)

    def find(self, caller: Caller, assistant: Assistant, run_id: str) -> Run:
        """Find a run of an assistant.

        Raises:
            Forbidden: The caller may not read.
            InvalidRequest: The id is no UUID.
            NotFound: The assistant has no such run.
            Unavailable: DynamoDB did not answer.
        """
        caller.require("read")
        run = self.runs.find(caller.tenant, run_id, whole=False)
        hidden = caller.rights and not caller.rights.reach("read", run.thread_id, run.run_id)
        if hidden or run.assistant_id != assistant.assistant_id:
            raise NotFound(f"Run with ID {run_id} not found.")
        return run

    def asks(self, caller: Caller, run: Run) -> bool:
        """Tell whether the thread of a run waits for an answer.

        Raises:
            NotFound: There is no such thread.
            Unavailable: DynamoDB did not answer.
        """
        thread, _ = self.threads.read(caller.tenant, run.thread_id)
        return thread.status == "interrupted"

    def cancel(self, caller: Caller, run: Run) -> None:
        """Ask a run to stop.

        Raises:
            Forbidden: The caller may not run.
            NotFound: The caller may not change it.
            RunEnded: It has ended.
            Unavailable: DynamoDB did not answer.
        """
        caller.require("run")
        if caller.rights and not caller.rights.reach("update", run.thread_id, run.run_id):
            raise NotFound(f"Run with ID {run.run_id} not found.")
        self.cancellations.cancel(caller.tenant, run.thread_id, run.run_id)


def _sender(caller: Caller, body: RunCreate, thread_id: str | None) -> Sender:
    """Let a caller pass who may start a run, and give what goes on with it."""
    caller.require("run")
    if caller.rights is None:
        return NOBODY
    asked = body.model_dump(mode="json", exclude_unset=True)
    return caller.rights.start(asked, assistant_id=body.assistant_id, thread_id=thread_id)
