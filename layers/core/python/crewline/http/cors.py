"""Cross-origin requests: what a browser asks before, and what it needs with every answer.

The Fetch standard, https://fetch.spec.whatwg.org/#http-cors-protocol.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from crewline.http import authentication
from crewline.http.replies import Reply
from crewline.models.cors import CorsPolicy

_OURS: Final = ("content-location", "location", "x-pagination-next", "x-pagination-total", "x-tokens-used")
"""What the SDKs read; the JavaScript ones resume a stream only where they can read `location`."""


class Cors:
    """Answers preflight requests and marks replies, by a policy."""

    def __init__(self, policy: CorsPolicy) -> None:
        self._policy = policy
        self._exposed = ", ".join(dict.fromkeys((*_OURS, *map(str.lower, policy.expose_headers))))

    def preflight(self, headers: Mapping[str, str]) -> Reply:
        """Answer what a browser asks before it sends a request.

        Args:
            headers: Those of the question, by lower-case name.
        """
        allowed = self._allowed(headers.get("origin"))
        if not allowed:
            return Reply(204, self._varying({}))
        policy = self._policy
        asked = headers.get("access-control-request-headers", "")
        ours = dict.fromkeys((*map(str.lower, policy.allow_headers), *authentication.HEADERS))
        named = asked if "*" in policy.allow_headers else ", ".join(ours)
        answer = {
            **allowed,
            "access-control-allow-methods": ", ".join(policy.allow_methods),
            "access-control-max-age": str(policy.max_age),
            **({"access-control-allow-headers": named} if named else {}),
        }
        if headers.get("access-control-request-private-network") == "true":
            answer["access-control-allow-private-network"] = "true"
        return Reply(200, self._varying(answer))

    def mark(self, reply: Reply, origin: str | None) -> Reply:
        """Let the page that asked read a reply."""
        allowed = self._allowed(origin)
        if allowed:
            allowed["access-control-expose-headers"] = self._exposed
        return replace(reply, headers=self._varying({**reply.headers, **allowed}))

    def _allowed(self, origin: str | None) -> dict[str, str]:
        if not origin or not self._policy.allows(origin):
            return {}
        if self._policy.allow_credentials:
            return {"access-control-allow-origin": origin, "access-control-allow-credentials": "true"}
        return {"access-control-allow-origin": "*" if "*" in self._policy.allow_origins else origin}

    def _varying(self, headers: dict[str, str]) -> dict[str, str]:
        """Tell caches that the answer depends on who asks."""
        return headers if "*" in self._policy.allow_origins else {**headers, "vary": "origin"}
