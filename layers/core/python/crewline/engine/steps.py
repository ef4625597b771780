"""The tasks of a run as its log keeps them for those who come later: what each has said, and not what it was given.

What a task is given is the state, so a stream of LangGraph's mode `tasks` says it again and again: kept, a turn would
cost more the longer the conversation is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from langchain_core.messages import AIMessage

from crewline.models.runs import Usage


class Steps:
    """Follows the tasks of one execution."""

    def __init__(self) -> None:
        self._known: dict[str, frozenset[str | None]] = {}

    def take(self, task: Mapping[str, Any]) -> dict[str, Any]:
        """Tell of a task what the log keeps.

        Args:
            task: That it begins, or how it has ended, as LangGraph's mode `tasks` says it.

        Returns:
            When it begins, its id and name; when it has ended also its result, error and questions, the tools that
            its model calls have asked for, and what these have used, as far as its messages say it. A message that it
            was given and gives back is none of its own.
        """
        names = {"id": task["id"], "name": task["name"]}
        if "result" not in task:
            self._known[task["id"]] = frozenset(one.id for one in _messages(task.get("input")) if one.id)
            return names
        known = self._known.pop(task["id"], frozenset())
        said = [one for one in _messages(task["result"]) if one.id not in known]
        ended = {name: task.get(name) for name in ("result", "error", "interrupts")}
        calls = [call for message in said for call in message.tool_calls]
        return {**names, **ended, "tool_calls": calls, "usage": _usage(said)}


def _messages(given: Any) -> Iterator[AIMessage]:
    """Find what models have said in a state, or in a value."""
    parts = given.values() if isinstance(given, Mapping) else getattr(given, "__dict__", {}).values()
    for part in (given, *(() if isinstance(given, AIMessage) else parts)):
        for one in part if isinstance(part, list | tuple) else (part,):
            if isinstance(one, AIMessage):
                yield one


def _usage(messages: Iterable[AIMessage]) -> dict[str, Any] | None:
    """Add up what the model calls have used that gave these messages; None when none of them says so."""
    used = [one.usage_metadata for one in messages if one.usage_metadata]
    if not used:
        return None
    return dict(
        Usage(
            input_tokens=sum(one["input_tokens"] for one in used),
            output_tokens=sum(one["output_tokens"] for one in used),
        ).wire()
    )
