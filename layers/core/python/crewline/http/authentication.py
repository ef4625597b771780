"""Who sends a request, and what it needs to be allowed: API keys in headers, a scope for every route."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Final

from crewline.errors import Forbidden, Unauthenticated
from crewline.http.replies import close
from crewline.models.api_keys import SCOPES, Caller, Scope
from crewline.models.cors import LOOPBACK, CorsPolicy
from crewline.services.api_keys import ApiKeys, Verified

API_KEY: Final = "x-api-key"
AUTHORIZATION: Final = "authorization"
HEADERS: Final = (API_KEY, AUTHORIZATION)
"""Where a key is looked for, in lower case."""

NEEDED: Final[Mapping[tuple[str, str], Scope | None]] = {
    ("GET", "/ok"): None,
    ("GET", "/info"): None,
    ("GET", "/openapi.json"): None,
    ("GET", "/docs"): None,
    ("GET", "/metrics"): "read",
    # ---- assistants
    ("POST", "/assistants"): "admin",
    ("POST", "/assistants/search"): "read",
    ("POST", "/assistants/count"): "read",
    ("GET", "/assistants/{assistant_id}"): "read",
    ("PATCH", "/assistants/{assistant_id}"): "admin",
    ("DELETE", "/assistants/{assistant_id}"): "admin",
    ("POST", "/assistants/{assistant_id}/versions"): "read",
    ("POST", "/assistants/{assistant_id}/latest"): "admin",
    ("GET", "/assistants/{assistant_id}/graph"): "read",
    ("GET", "/assistants/{assistant_id}/schemas"): "read",
    ("GET", "/assistants/{assistant_id}/subgraphs"): "read",
    ("GET", "/assistants/{assistant_id}/subgraphs/{namespace}"): "read",
    # ---- threads
    ("POST", "/threads"): "run",
    ("POST", "/threads/prune"): "admin",
    ("POST", "/threads/search"): "read",
    ("POST", "/threads/count"): "read",
    ("GET", "/threads/{thread_id}"): "read",
    ("PATCH", "/threads/{thread_id}"): "run",
    ("DELETE", "/threads/{thread_id}"): "run",
    ("GET", "/threads/{thread_id}/storage"): "read",
    ("POST", "/threads/{thread_id}/copy"): "run",
    # ---- state
    ("GET", "/threads/{thread_id}/state"): "read",
    ("GET", "/threads/{thread_id}/state/{checkpoint_id}"): "read",
    ("POST", "/threads/{thread_id}/state/checkpoint"): "read",
    ("POST", "/threads/{thread_id}/state"): "run",
    ("GET", "/threads/{thread_id}/history"): "read",
    ("POST", "/threads/{thread_id}/history"): "read",
    # ---- runs
    ("POST", "/threads/{thread_id}/runs"): "run",
    ("GET", "/threads/{thread_id}/runs"): "read",
    ("POST", "/threads/{thread_id}/runs/wait"): "run",
    ("POST", "/threads/{thread_id}/runs/stream"): "run",
    ("GET", "/threads/{thread_id}/runs/{run_id}"): "read",
    ("DELETE", "/threads/{thread_id}/runs/{run_id}"): "run",
    ("POST", "/threads/{thread_id}/runs/{run_id}/cancel"): "run",
    ("GET", "/threads/{thread_id}/runs/{run_id}/join"): "read",
    ("GET", "/threads/{thread_id}/runs/{run_id}/stream"): "read",
    ("GET", "/threads/{thread_id}/stream"): "read",
    ("POST", "/runs"): "run",
    ("POST", "/runs/batch"): "run",
    ("GET", "/runs/batch/{batch_id}"): "read",
    ("POST", "/runs/cancel"): "run",
    ("POST", "/runs/wait"): "run",
    ("POST", "/runs/stream"): "run",
    # ---- the store
    ("PUT", "/store/items"): "run",
    ("GET", "/store/items"): "read",
    ("DELETE", "/store/items"): "run",
    ("POST", "/store/items/search"): "read",
    ("POST", "/store/namespaces"): "read",
    # ---- crons
    ("POST", "/runs/crons"): "run",
    ("POST", "/threads/{thread_id}/runs/crons"): "run",
    ("POST", "/runs/crons/search"): "read",
    ("POST", "/runs/crons/count"): "read",
    ("GET", "/runs/crons/{cron_id}"): "read",
    ("PATCH", "/runs/crons/{cron_id}"): "run",
    ("DELETE", "/runs/crons/{cron_id}"): "run",
    # ---- protocol v2
    ("POST", "/threads/{thread_id}/commands"): "run",
    ("POST", "/threads/{thread_id}/stream/events"): "read",
    # ---- MCP and A2A: to read needs the scope for that, too
    ("POST", "/mcp"): "run",
    ("DELETE", "/mcp"): None,  # there is nothing that it could end
    ("POST", "/a2a/{assistant_id}"): "run",
    ("GET", "/a2a/{assistant_id}/.well-known/agent-card.json"): "read",
    ("GET", "/.well-known/agent-card.json"): "read",
    # ---- the API of Crewship
    ("POST", "/v1/runs"): "run",
    ("GET", "/v1/runs"): "read",
    ("GET", "/v1/runs/{run_id}"): "read",
    ("GET", "/v1/runs/{run_id}/events"): "read",
    ("POST", "/v1/runs/{run_id}/cancel"): "run",
    ("POST", "/v1/threads/{thread_id}/runs"): "run",
    ("POST", "/webhooks/runs/{token}"): None,  # which is the credential
    ("POST", "/v1/threads"): "run",
    ("GET", "/v1/threads"): "read",
    ("GET", "/v1/threads/{thread_id}"): "read",
    ("PATCH", "/v1/threads/{thread_id}"): "run",
    ("DELETE", "/v1/threads/{thread_id}"): "run",
    ("GET", "/v1/threads/{thread_id}/history"): "read",
    ("POST", "/v1/threads/{thread_id}/copy"): "run",
    ("POST", "/v1/threads/{thread_id}/rollback"): "run",
}
"""Method and path of every route → the scope that it needs; None: not even a key. One that is not here needs admin."""

_HOW: Final = (
    "Send one as `x-api-key: crewline_…` or as `Authorization: Bearer crewline_…`; "
    "`crewline keys create` makes one."
)


class Authentication:
    """Tells who sends a request.

    Args:
        keys: The API keys; None where every caller may do everything.
        tenant: Whose data it is then.
        pages: Which web pages may send requests then, beside those of this machine.
    """

    def __init__(self, keys: ApiKeys | None, tenant: str, *, pages: CorsPolicy = LOOPBACK) -> None:
        self._keys = keys
        self._pages = pages
        self._anybody = Verified(Caller(tenant=tenant, scopes=frozenset(SCOPES)), None)

    def verify(self, headers: Mapping[str, str]) -> Verified:
        """Tell who sends a request.

        Args:
            headers: Those of the request, by lower-case name.

        Raises:
            Unauthenticated: It comes without a key that is good.
            Forbidden: Nobody is asked for one, and it comes from a page of elsewhere, or by another machine's name.
            Unavailable: DynamoDB did not answer.
        """
        if self._keys is None:
            self._check_page(headers.get("origin"))
            self._check_name(headers.get("host"))
            return self._anybody
        try:
            return self._keys.authenticate(_sent(headers))
        except Unauthenticated as exc:
            raise Unauthenticated(f"{exc.message} {_HOW}") from exc

    def _check_page(self, origin: str | None) -> None:
        # A browser keeps the answer from such a page, but it sends what a form could send without asking before.
        if origin and not self._allows(origin):
            raise Forbidden(
                f"This asks nobody for a key, so pages of {origin[:100]!r} may not call it; "
                "http.cors of the manifest can allow them."
            )

    def _check_name(self, host: str | None) -> None:
        # A page of elsewhere whose name was made to mean this machine sends no origin with what it reads.
        if host and not any(self._allows(f"{scheme}://{host}") for scheme in ("http", "https")):
            raise Forbidden(
                f"This asks nobody for a key, so it answers to the names of this machine and not to {host[:100]!r}; "
                "call it by http://localhost, or let http.cors of the manifest allow the other name."
            )

    def _allows(self, origin: str) -> bool:
        return self._pages.allows(origin) or LOOPBACK.allows(origin)

    def watched(
        self, chunks: AsyncIterator[bytes], verified: Verified, headers: Mapping[str, str]
    ) -> AsyncIterator[bytes]:
        """Break a stream off when the key that it was asked for with is good no more.

        Args:
            chunks: The stream; it is closed as when its client leaves.
            verified: Who asked for it.
            headers: Those of the request.

        Returns:
            The chunks, each given within a minute of the key having been found good.

        Raises:
            Unauthenticated: The key was revoked; whoever sends what comes breaks the connection, so that
                nobody takes what there is for the whole.
            Unavailable: DynamoDB did not answer, likewise.
        """
        return chunks if self._keys is None else self._watched(self._keys, chunks, verified, headers)

    async def _watched(
        self, keys: ApiKeys, chunks: AsyncIterator[bytes], verified: Verified, headers: Mapping[str, str]
    ) -> AsyncIterator[bytes]:
        try:
            async for chunk in chunks:
                if not keys.is_fresh(verified):
                    verified = await asyncio.to_thread(self.verify, headers)
                yield chunk
        finally:
            await close(chunks)


def _sent(headers: Mapping[str, str]) -> str:
    """Find the key among the headers."""
    scheme, _, token = headers.get(AUTHORIZATION, "").strip().partition(" ")
    given = {headers.get(API_KEY, "").strip(), token.strip() if scheme.lower() == "bearer" else ""} - {""}
    if not given:
        raise Unauthenticated("This needs an API key.")
    if len(given) > 1:
        raise Unauthenticated("The headers x-api-key and Authorization have different keys.")
    return given.pop()
