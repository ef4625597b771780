"""MCP and A2A: the route finds out what a call is about, and asks then."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from crewline.http.grants import Asked, Granted, metadata_of, set_by_handler, uuid_of
from crewline.http.rules.runs import ask_elsewhere
from crewline.models.users import Filters, Sender
from crewline.services.threads import not_found


@dataclass(frozen=True, slots=True)
class AgentRights:
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
        sender = ask_elsewhere(self.asked, asked, named=assistant_id, thread_id=thread_id)
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


def let_ask_later(asked: Asked) -> Granted:
    """Let a call pass to the route, which finds out what it is about, and asks then."""
    return Granted(body=asked.body, rights=AgentRights(asked))
