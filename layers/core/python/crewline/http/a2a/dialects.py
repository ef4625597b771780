"""The two versions of A2A in use: 0.3, and 1.0 with other names for the same things.

Source: https://a2a-protocol.org, the specification of each, and its JSON-RPC binding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

from crewline.http.a2a.messages import UNSUPPORTED, VERSION
from crewline.http.jsonrpc import METHOD_NOT_FOUND, RpcError
from crewline.models.runs import Run

State = Literal["submitted", "working", "input-required", "completed", "failed", "canceled"]
Operation = Literal["send", "stream", "get", "cancel", "subscribe"]

VERSIONS: Final = ("0.3", "1.0")
"""Those that are served, the older one first."""
_OPERATIONS: Final[Mapping[str, tuple[Operation, bool]]] = {
    "message/send": ("send", False),
    "message/stream": ("stream", False),
    "tasks/get": ("get", False),
    "tasks/cancel": ("cancel", False),
    "tasks/resubscribe": ("subscribe", False),
    "SendMessage": ("send", True),
    "SendStreamingMessage": ("stream", True),
    "GetTask": ("get", True),
    "CancelTask": ("cancel", True),
    "SubscribeToTask": ("subscribe", True),
}
"""Method → what it does, and whether it is one of the newer version."""
_NOT_SERVED: Final = ("tasks/pushNotificationConfig/", "ListTasks", "GetExtendedAgentCard")


class Part(NamedTuple):
    """A part of what is answered: text, or JSON."""

    text: str | None = None
    data: Any = None


class Artifact(NamedTuple):
    """What a task has made."""

    artifact_id: str
    parts: Sequence[Part]


@dataclass(frozen=True, slots=True)
class Dialect:
    """How what is answered is spelled."""

    newer: bool

    def task(
        self, run: Run, state: State, *, parts: Sequence[Part] = (), artifact: Artifact | None = None
    ) -> dict[str, Any]:
        """Spell a task.

        Args:
            run: Its run.
            state: Where it stands.
            parts: What is said about that.
            artifact: What it has made.
        """
        task: dict[str, Any] = {
            "id": run.run_id,
            "contextId": run.thread_id,
            "status": self._status(run, state, parts),
        }
        if artifact:
            task["artifacts"] = [self._artifact(artifact)]
        return task if self.newer else {"kind": "task", **task}

    def sent(self, task: dict[str, Any]) -> dict[str, Any]:
        """Spell a task as the answer to a message."""
        return {"task": task} if self.newer else task

    def status_update(
        self, run: Run, state: State, *, parts: Sequence[Part] = (), final: bool
    ) -> dict[str, Any]:
        """Spell that a task's state is another one; `final` says that nothing follows."""
        update = {**_whose(run), "status": self._status(run, state, parts)}
        return {"statusUpdate": update} if self.newer else {"kind": "status-update", **update, "final": final}

    def artifact_update(self, run: Run, artifact: Artifact, *, append: bool, last: bool) -> dict[str, Any]:
        """Spell that there is more of an artifact, or another one in its place."""
        update = {
            **_whose(run),
            "artifact": self._artifact(artifact),
            "append": append,
            "lastChunk": last,
        }
        return {"artifactUpdate": update} if self.newer else {"kind": "artifact-update", **update}

    def _status(self, run: Run, state: State, parts: Sequence[Part]) -> dict[str, Any]:
        named = f"TASK_STATE_{state.replace('-', '_').upper()}" if self.newer else state
        status: dict[str, Any] = {"state": named, "timestamp": run.updated_at}
        if parts:
            message = {
                "messageId": f"{run.run_id}-{state}",
                "contextId": run.thread_id,
                "taskId": run.run_id,
                "role": "ROLE_AGENT" if self.newer else "agent",
                "parts": [self._part(part) for part in parts],
            }
            status["message"] = message if self.newer else {"kind": "message", **message}
        return status

    def _artifact(self, artifact: Artifact) -> dict[str, Any]:
        parts = [self._part(part) for part in artifact.parts]
        return {"artifactId": artifact.artifact_id, "name": "output", "parts": parts}

    def _part(self, part: Part) -> dict[str, Any]:
        if part.text is not None:
            return {"text": part.text} if self.newer else {"kind": "text", "text": part.text}
        if self.newer:
            return {"data": part.data}
        if isinstance(part.data, dict):
            return {"kind": "data", "data": part.data}
        # Where data is always an object; as the official library spells what is none.
        return {"kind": "data", "data": {"value": part.data}, "metadata": {"data_part_compat": True}}


def read_method(method: str, version: str | None) -> tuple[Operation, Dialect]:
    """Tell what a call asks for, and how it is to be answered.

    Args:
        method: The method of the call.
        version: That which its header names.

    Raises:
        RpcError: There is no such method, or no such version.
    """
    if version and version.strip() and ".".join(version.strip().split(".")[:2]) not in VERSIONS:
        message = f"Version {version[:40]!r} of A2A is not served; {' and '.join(VERSIONS)} are."
        raise error(VERSION, message, "VERSION_NOT_SUPPORTED")
    if found := _OPERATIONS.get(method):
        operation, newer = found
        return operation, Dialect(newer)
    if method.startswith(_NOT_SERVED) or "PushNotification" in method:
        raise error(UNSUPPORTED, f"{method[:60]} is not served here.", "UNSUPPORTED_OPERATION")
    message = f"There is no method {method[:60]!r} here; {', '.join(_OPERATIONS)} are."
    raise RpcError(METHOD_NOT_FOUND, message)


def error(code: int, message: str, reason: str) -> RpcError:
    """Make an error of A2A's own, with the name that the newer version gives it."""
    info = {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": reason,
        "domain": "a2a-protocol.org",
    }
    return RpcError(code, message, data=[info])


def _whose(run: Run) -> dict[str, Any]:
    return {"taskId": run.run_id, "contextId": run.thread_id}
