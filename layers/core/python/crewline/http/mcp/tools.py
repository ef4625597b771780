"""Assistants as tools: their names, what they take, what a call has come to."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from crewline.http.apps import to_json
from crewline.models.assistants import Assistant, default_assistant_id

LONGEST_NAME: Final = 128
"""Characters of a tool's name."""
_FOREIGN: Final = re.compile(r"[^A-Za-z0-9_.-]")
"""What a tool's name may not have; source: https://modelcontextprotocol.io/specification, "Tool Names"."""


def name_tools(assistants: Iterable[Assistant]) -> dict[str, Assistant]:
    """Name every assistant as a tool.

    A crew's default assistant is called as the crew is, whatever it was renamed to. Every other one has its
    own name, with `_` for what a tool's name may not have; of several with one name the oldest has it, and the
    others have the beginning of their ids behind it.

    Returns:
        Name → assistant, crews first, and in the order of their creation.
    """
    named: dict[str, Assistant] = {}
    for assistant in sorted(assistants, key=_age):
        name = _spelled(assistant.graph_id if _is_default(assistant) else assistant.name)
        if name in named:
            name = f"{name[: LONGEST_NAME - 37]}-{assistant.assistant_id[:8]}"
        if name in named:
            name = f"{name[: LONGEST_NAME - 37]}-{assistant.assistant_id}"
        named[name] = assistant
    return named


def describe(name: str, assistant: Assistant, schemas: Mapping[str, Any]) -> dict[str, Any]:
    """Describe an assistant as a tool.

    Args:
        name: The tool's.
        assistant: The assistant.
        schemas: Those of its graph.
    """
    given = schemas["input_schema"]
    # What is no object, or cannot be said, is still called with an object: the protocol has nothing else.
    takes = given if given and given.get("type") == "object" else {"type": "object"}
    described = {"name": name, "title": assistant.name, "inputSchema": takes}
    return {**described, "description": assistant.description} if assistant.description else described


def answer(outcome: Any, *, objects: bool) -> dict[str, Any]:
    """Tell what a call has come to.

    Args:
        outcome: What the run answers to those who wait for it.
        objects: Whether structured content has to be an object.
    """
    if isinstance(outcome, dict) and "__error__" in outcome:
        error = outcome["__error__"]
        return _said(f"{error['error']}: {error['message']}", is_error=True)
    structured = {"structuredContent": outcome} if isinstance(outcome, dict) or not objects else {}
    told = {**_said(to_json(outcome).decode()), **structured}
    if isinstance(outcome, dict) and "__interrupt__" in outcome:
        why = "The crew asks for an answer, which no tool call can give; run it on a thread instead."
        return {**told, "content": [_text(why), *told["content"]], "isError": True}
    return told


def _said(text: str, *, is_error: bool = False) -> dict[str, Any]:
    return {"content": [_text(text)], "isError": is_error}


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def _is_default(assistant: Assistant) -> bool:
    return assistant.assistant_id == default_assistant_id(assistant.graph_id)


def _age(assistant: Assistant) -> tuple[bool, str, str, str]:
    return (not _is_default(assistant), assistant.created_at, assistant.name, assistant.assistant_id)


def _spelled(name: str) -> str:
    return _FOREIGN.sub("_", name)[:LONGEST_NAME]
