"""The versions of MCP: those with a handshake, and the newer one that says everything with each request.

Imports the official wire models, which take longer than a warm request: so no cold start of another imports this.

Source: https://modelcontextprotocol.io/specification, "Transports" and "Lifecycle" of each version.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from mcp_types import (
    CLIENT_CAPABILITIES_META_KEY,
    DEFAULT_NEGOTIATED_VERSION,
    HEADER_MISMATCH,
    PROTOCOL_VERSION_META_KEY,
    SERVER_INFO_META_KEY,
    UNSUPPORTED_PROTOCOL_VERSION,
    methods,
)
from mcp_types.version import (
    HANDSHAKE_PROTOCOL_VERSIONS,
    KNOWN_PROTOCOL_VERSIONS,
    LATEST_HANDSHAKE_VERSION,
    MODERN_PROTOCOL_VERSIONS,
)
from pydantic import ValidationError

from crewline.http.jsonrpc import INVALID_PARAMS, METHOD_NOT_FOUND, Call, RpcError
from crewline.http.system import version_text
from crewline.models.manifests import describe

_VERSION: Final = "mcp-protocol-version"
_METHOD: Final = "mcp-method"
_NAME: Final = "mcp-name"
_CAPABILITIES: Final = {"tools": {"listChanged": False}}
_INSTRUCTIONS: Final = "Each tool is an assistant of this deployment; a call runs it once, and keeps nothing."


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one request is spoken."""

    version: str

    @property
    def modern(self) -> bool:
        """Whether every request says for itself what a handshake said before."""
        return self.version in MODERN_PROTOCOL_VERSIONS

    def check(self, call: Call) -> None:
        """Let only a request pass that this version has.

        Raises:
            RpcError: It has no such method, or the method other parameters.
        """
        try:
            methods.validate_client_request(call.method, self.version, call.params or None)
        except KeyError:
            raise self.unknown(call.method) from None
        except ValidationError as exc:
            raise self.refusal(f"{describe(exc)}.") from None

    def refusal(self, message: str) -> RpcError:
        """Make the error of a request with wrong parameters."""
        return RpcError(INVALID_PARAMS, message, status=400 if self.modern else 200)

    def unknown(self, method: str) -> RpcError:
        """Make the error of a method that is not served."""
        message = f"There is no method {method[:60]!r} here; tools/list and tools/call are."
        return RpcError(METHOD_NOT_FOUND, message, status=404 if self.modern else 200)

    def spell(self, method: str, result: Mapping[str, Any]) -> dict[str, Any]:
        """Spell a result as this version has it; what it does not know is left out."""
        more: dict[str, Any] = {}
        if self.modern:
            more = {"resultType": "complete", "ttlMs": 0, "cacheScope": "private"}
            more["_meta"] = {SERVER_INFO_META_KEY: _server()}
        return methods.serialize_server_result(method, self.version, {**result, **more})


def read_dialect(call: Call, headers: Mapping[str, str]) -> Dialect:
    """Tell how a request is spoken.

    Args:
        call: The request.
        headers: Those that it came with, by lower-case name.

    Raises:
        RpcError: In a version that nobody here knows, or it contradicts its own headers.
    """
    sent = headers.get(_VERSION)
    if call.method == "initialize":
        wanted = call.params.get("protocolVersion")
        return Dialect(wanted if wanted in HANDSHAKE_PROTOCOL_VERSIONS else LATEST_HANDSHAKE_VERSION)
    meta = call.params.get("_meta")
    enveloped = isinstance(meta, dict) and PROTOCOL_VERSION_META_KEY in meta
    if sent not in MODERN_PROTOCOL_VERSIONS and not enveloped:
        if sent is not None and sent not in HANDSHAKE_PROTOCOL_VERSIONS:
            raise _unsupported(sent)
        return Dialect(sent or DEFAULT_NEGOTIATED_VERSION)
    _check_envelope(call, meta if isinstance(meta, dict) else {}, headers)
    if sent not in MODERN_PROTOCOL_VERSIONS:
        raise _unsupported(str(sent))
    return Dialect(sent)


def initialized(version: Dialect) -> dict[str, Any]:
    """Answer the handshake."""
    return {
        "protocolVersion": version.version,
        "capabilities": _CAPABILITIES,
        "serverInfo": _server(),
        "instructions": _INSTRUCTIONS,
    }


def discovered() -> dict[str, Any]:
    """Answer what a client asks that makes no handshake."""
    return {
        "supportedVersions": list(KNOWN_PROTOCOL_VERSIONS),
        "capabilities": _CAPABILITIES,
        "instructions": _INSTRUCTIONS,
    }


def _check_envelope(call: Call, meta: Mapping[str, Any], headers: Mapping[str, str]) -> None:
    """Let only a request pass whose headers, by which others may route it, say what it says itself."""
    for key in (PROTOCOL_VERSION_META_KEY, CLIENT_CAPABILITIES_META_KEY):
        if key not in meta:
            raise RpcError(INVALID_PARAMS, f"params._meta lacks {key}.", status=400)
    said = {_VERSION: meta[PROTOCOL_VERSION_META_KEY], _METHOD: call.method}
    if call.method == "tools/call":
        said[_NAME] = call.params.get("name")
    for name, value in said.items():
        if headers.get(name) != value:
            message = f"The header {name} does not say what the body says."
            raise RpcError(HEADER_MISMATCH, message, status=400)


def _unsupported(version: str) -> RpcError:
    return RpcError(
        UNSUPPORTED_PROTOCOL_VERSION,
        f"Version {version[:40]!r} of the protocol is not served.",
        data={"supported": list(KNOWN_PROTOCOL_VERSIONS), "requested": version},
        status=400,
    )


def _server() -> dict[str, Any]:
    return {"name": "crewline", "version": version_text()}
