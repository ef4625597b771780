"""HTTP requests as a REST API hands them to a function: proxy events, format 1.0.

Source: "Lambda proxy integrations in API Gateway", Amazon API Gateway developer guide.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote

from crewline.http.asgi import Scope


def request_path(scope: Scope) -> str:
    """Read the path of a request as it was sent: percent-encoded, without the query."""
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    return raw.decode("latin-1")


def read_headers(scope: Scope) -> dict[str, list[str]]:
    """Read the headers of a request: lower-case name → every value, in order."""
    return _grouped((name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"])


def proxy_event(
    scope: Scope, body: bytes, headers: Mapping[str, list[str]], context: Mapping[str, Any]
) -> dict[str, Any]:
    """Spell a request as a REST API proxy event.

    Args:
        scope: The request, by ASGI.
        body: Its whole body; base64 in the event if it is not UTF-8 text.
        headers: Those that the function is to see, as `read_headers` gives them.
        context: What the API says of the request, `resourcePath` among it.

    Returns:
        The event.
    """
    path, resource = request_path(scope), str(context["resourcePath"])
    query = _grouped(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
    text, encoded = _body(body)
    return {
        "resource": resource,
        "path": path,
        "httpMethod": scope["method"],
        "headers": last(headers),
        "multiValueHeaders": dict(headers),
        "queryStringParameters": last(query) or None,
        "multiValueQueryStringParameters": query or None,
        "pathParameters": _path_parameters(resource, path) or None,
        "stageVariables": None,
        "requestContext": dict(context),
        "body": text,
        "isBase64Encoded": encoded,
    }


def _grouped(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for name, value in pairs:
        groups.setdefault(name, []).append(value)
    return groups


def last(groups: Mapping[str, list[str]]) -> dict[str, str]:
    """Give the last value of each name."""
    return {name: values[-1] for name, values in groups.items()}


def _body(body: bytes) -> tuple[str | None, bool]:
    if not body:
        return None, False
    try:
        return body.decode(), False
    except UnicodeDecodeError:
        return base64.b64encode(body).decode(), True


def _path_parameters(resource: str, path: str) -> dict[str, str]:
    parts = path.strip("/").split("/")
    parameters = {}
    for position, name in enumerate(resource.strip("/").split("/")):
        if name.endswith("+}"):
            parameters[name[1:-2]] = unquote("/".join(parts[position:]))
        elif name.startswith("{"):
            parameters[name[1:-1]] = unquote(parts[position])
    return {name: value for name, value in parameters.items() if value}
