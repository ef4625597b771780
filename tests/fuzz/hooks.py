"""What no schema can say, told to schemathesis: which crews there are, and what a request may ask of the state there is.

schemathesis checks data that a hook has changed against the schema once more, so bad data is still
to be refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import orjson
import schemathesis
from schemathesis import Case, HookContext, Response
from schemathesis.core.failures import AcceptedNegativeData, Failure
from schemathesis.openapi.checks import RejectedPositiveData

_MANIFEST: Final = Path(__file__).with_name("project") / "langgraph.json"
_CREWS: Final = list(orjson.loads(_MANIFEST.read_bytes())["graphs"])
_NODES: Final = ["node"]
_SCHEDULES: Final = ["0 3 1 1 *", "*/5 9-17 * * MON-FRI", "0 0 1,15 * 7"]
_ZONES: Final = ["UTC", "Europe/Berlin"]
_NAMES: Final = (
    ("RunCreate", "assistant_id", _CREWS),
    ("AssistantCreate", "graph_id", _CREWS),
    ("AssistantPatch", "graph_id", _CREWS),
    ("ThreadBegin", "graph_id", _CREWS),
    ("CronCreate", "assistant_id", _CREWS),
    ("CronCreate", "schedule", _SCHEDULES),
    ("CronCreate", "timezone", _ZONES),
    ("CronPatch", "schedule", _SCHEDULES),
    ("CronPatch", "timezone", _ZONES),
    ("CronCount", "assistant_id", _CREWS),
    ("CronSearch", "assistant_id", _CREWS),
    ("StateEdit", "as_node", _NODES),
    ("StateUpdate", "as_node", _NODES),
    ("RunRequest", "deployment_id", _CREWS),
    ("ThreadRequest", "deployment_id", _CREWS),
    ("ThreadRunRequest", "deployment_id", _CREWS),
)
"""Model and field → the names that the field may have here."""
_COMMANDS: Final = ["run.start", "input.respond", "agent.getTree", "subscription.subscribe"]
_SMALLEST, _LARGEST = -(2**63), 2**64 - 1
_EXCUSES: Final = re.compile(
    "The graph refuses the update|has nothing to resume|has no crew|has no checkpoint|No running version found"
    "|The crew's state has no|has nothing to go on from|is no run's id|There are several assistants"
)
"""What a refusal says that the state explains, or the graph, and not the request alone."""
_ANY_TEXT: Final = re.compile("parameter `stream_modes?` in query")
"""Lists of text that is not checked further: whatever was generated for one is text in the query."""


@schemathesis.hook
def before_load_schema(_: HookContext, raw_schema: dict[str, Any]) -> None:
    """Name the crews of this project, and their node, where the API takes such a name, and the commands there are.

    A service on a laptop asks nobody for a key, so the document must not say so.
    """
    del raw_schema["components"]["securitySchemes"]
    models = raw_schema["components"]["schemas"]
    models["CommandRequest"]["properties"]["method"] = {"anyOf": [{"enum": _COMMANDS}, {"type": "string"}]}
    for model, name, known in _NAMES:
        field = models[model]["properties"][name]
        for form in field.get("anyOf", [field]):
            if form["type"] == "string":
                form["enum"] = known
    for methods in raw_schema["paths"].values():
        for described in methods.values():
            del described["security"]
            for parameter in described.get("parameters", []):
                named = parameter["name"] in ("assistant_id", "deployment_id")
                if named and "format" not in parameter["schema"]:
                    parameter["schema"]["enum"] = _CREWS


@schemathesis.hook
def before_call(_: HookContext, case: Case[Any], kwargs: dict[str, Any]) -> None:
    """Keep a request to what this deployment can do, and ends soon."""
    if (storable := _storable(case.body)) != case.body:  # else schemathesis would check it again for nothing
        case.body = storable
    if isinstance(case.body, dict):
        _name_a_crew(case.path, case.body)
    for run in _runs(case):
        _bound(run)
        if case.path.startswith("/runs") or "/runs/crons" in case.path:
            _detach(run)


def _name_a_crew(path: str, body: dict[str, Any]) -> None:
    """Say which crew a thread that begins with a state, or a command's run, is of."""
    if path == "/threads" and body.get("supersteps"):
        body["graph_id"] = body.get("graph_id") or _CREWS[0]
    if body.get("method") == "run.start" and isinstance(body.get("params"), dict):
        body["params"].setdefault("assistant_id", _CREWS[0])


def _storable(value: Any) -> Any:
    """Spell numbers that do not fit 64 bits as text: nothing could store them."""
    if isinstance(value, dict):
        return {name: _storable(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_storable(one) for one in value]
    return str(value) if isinstance(value, int) and not _SMALLEST <= value <= _LARGEST else value


def _runs(case: Case[Any]) -> Iterator[dict[str, Any]]:
    """Find what a request's body says of the runs it starts."""
    if case.method in ("POST", "PATCH") and re.search(
        "/runs(/wait|/stream|/batch|/crons(/[^/]+)?)?$", case.path
    ):
        for run in case.body if isinstance(case.body, list) else [case.body]:
            if isinstance(run, dict):
                yield run


def _bound(run: dict[str, Any]) -> None:
    run.pop("webhook", None)  # which addresses are allowed is the manifest's to say
    if isinstance(run.get("after_seconds"), int | float):
        run["after_seconds"] = min(run["after_seconds"], 0)  # others on its thread wait behind it


def _detach(run: dict[str, Any]) -> None:
    """Take away what only a single run on a thread can have."""
    config = run.get("config")
    configurable = config.get("configurable") if isinstance(config, dict) else None
    for place in (run, run.get("checkpoint"), configurable, run.get("command")):
        if isinstance(place, dict):
            place.pop("checkpoint_id", None)
            place.pop("resume", None)


@schemathesis.hook
def filter_failure(_: HookContext, failure: Failure, case: Case[Any], response: Response) -> bool:
    """Excuse what the state explains, and data that is wrong until it is spelled in a query."""
    if isinstance(failure, RejectedPositiveData):
        return not _EXCUSES.search(response.text)
    return not (isinstance(failure, AcceptedNegativeData) and _ANY_TEXT.search(failure.message))
