"""Agent cards: what an assistant is, and where it is called."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from crewline.http.a2a.dialects import VERSIONS
from crewline.http.a2a.messages import takes_text
from crewline.models.answers import AgentCard
from crewline.models.assistants import Assistant

WELL_KNOWN: Final = "/.well-known/agent-card.json"
_TEXT: Final = "text/plain"
_JSON: Final = "application/json"


def card(assistant: Assistant, schemas: Mapping[str, Any], *, root: str, asks_for_key: bool) -> AgentCard:
    """Describe an assistant as an agent, to clients of both versions at once.

    Args:
        assistant: The assistant.
        schemas: Those of its graph.
        root: The address of the service, without a slash at its end.
        asks_for_key: Whether a caller needs an API key.
    """
    url, described = f"{root}/a2a/{assistant.assistant_id}", assistant.description or assistant.name
    takes = [_TEXT, _JSON] if takes_text(schemas["input_schema"]) else [_JSON]
    gives = [_TEXT, _JSON] if takes_text(schemas["output_schema"]) else [_JSON]
    older, newer = VERSIONS
    made: AgentCard = {
        "name": assistant.name,
        "description": described,
        "version": str(assistant.version),
        "protocolVersion": f"{older}.0",
        "url": url,
        "preferredTransport": "JSONRPC",
        "supportedInterfaces": [
            {"url": url, "protocolBinding": "JSONRPC", "protocolVersion": version}
            for version in (newer, older)
        ],
        "capabilities": {"streaming": True, "pushNotifications": False},
        "defaultInputModes": takes,
        "defaultOutputModes": gives,
        "skills": [
            {
                "id": assistant.graph_id,
                "name": assistant.name,
                "description": described,
                "tags": [assistant.graph_id],
            }
        ],
    }
    if asks_for_key:
        made["securitySchemes"] = {"apiKey": _KEY}
        made["security"] = [{"apiKey": []}]
        made["securityRequirements"] = [{"schemes": {"apiKey": {"list": []}}}]
    return made


_HEADER: Final = "x-api-key"
_KEY: Final = {
    "type": "apiKey",
    "in": "header",
    "name": _HEADER,
    "apiKeySecurityScheme": {"location": "header", "name": _HEADER},
}
"""As the older version has it, and within as the newer one does."""


def root_of(event: Mapping[str, Any], headers: Mapping[str, str]) -> str:
    """Tell under which address a client has reached the service.

    Args:
        event: The request.
        headers: Those that it came with, by lower-case name.

    Returns:
        Scheme, host and the path before the service's own: the stage of a REST API, or what its domain maps to it.
    """
    scheme = headers.get("x-forwarded-proto") or "https"
    if forwarded := headers.get(
        "x-forwarded-host"
    ):  # somebody is in front of the API, who alone knows the path
        return f"{scheme}://{forwarded}{headers.get('x-forwarded-prefix', '').rstrip('/')}"
    path, whole = str(event["path"]), str(event["requestContext"].get("path") or event["path"])
    before = whole.removesuffix(path) if whole.endswith(path) else ""
    return f"{scheme}://{headers.get('host', '')}{before.rstrip('/')}"
