"""API keys: made, listed, revoked, and what a request's key says of who sends it."""

from __future__ import annotations

import hashlib
import hmac
import threading
from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from crewline.errors import InvalidRequest, NotFound, Unauthenticated
from crewline.models.api_keys import SCOPES, ApiKey, Caller, Credential, Scope
from crewline.models.clocks import Clock, iso
from crewline.services.credentials import check_label, draw
from crewline.store import api_keys
from crewline.store.api_keys import Row
from crewline.store.table import Refused, Table

FRESH_MS: Final = 60_000
"""How long a process takes a key for good without asking again: a revocation acts within this time."""
_MOST: Final = 1_024
"""How many keys a process knows at once."""


@dataclass(frozen=True, slots=True)
class Verified:
    """Who a key belongs to, as the table had it a moment ago."""

    caller: Caller
    until: int | None
    """When it has to be asked for again, in milliseconds since the epoch; None where nobody is asked for a key."""


class ApiKeys:
    """The API keys of all tenants; safe for many threads.

    Args:
        table: The table.
        clock: Tells the time.
    """

    def __init__(self, table: Table, clock: Clock) -> None:
        self._table = table
        self._clock = clock
        self._lock = threading.Lock()
        self._known: OrderedDict[bytes, Verified] = OrderedDict()

    def create(self, tenant: str, scopes: Collection[Scope], label: str = "") -> tuple[ApiKey, str]:
        """Make a key.

        Args:
            tenant: Whose data it opens.
            scopes: What it allows, each by its own name.
            label: What its maker calls it.

        Returns:
            What is kept of it, and its text, which is kept nowhere and can never be shown again.

        Raises:
            InvalidRequest: The tenant is misspelled, there is no scope, or the label is too long.
            Unavailable: DynamoDB did not answer.
        """
        if not scopes:
            raise InvalidRequest(f"A key needs at least one scope: {', '.join(SCOPES)}.")
        check_label(label)

        def keep(drawn: Credential) -> ApiKey:
            made = ApiKey(
                tenant=tenant,
                key_id=drawn.key_id,
                scopes=frozenset(scopes),
                label=label,
                created_at=iso(self._clock()),
            )
            self._table.write(api_keys.put(Row(api_key=made, digest=drawn.digest)))
            return made

        return draw(tenant, keep)

    def list(self, tenant: str) -> list[ApiKey]:
        """List the keys of a tenant, the newest first, revoked ones too.

        Raises:
            InvalidRequest: The tenant is misspelled.
            Unavailable: DynamoDB did not answer.
        """
        found = api_keys.listed(self._table, tenant)
        return sorted(found, key=lambda key: (key.created_at, key.key_id), reverse=True)

    def revoke(self, tenant: str, key_id: str) -> ApiKey:
        """Let a key open nothing any more; every process has noticed a minute later.

        Returns:
            The key, with the time at which it was first revoked.

        Raises:
            InvalidRequest: The tenant is misspelled.
            NotFound: The tenant has no such key.
            Unavailable: DynamoDB did not answer.
        """
        try:
            item = self._table.write(api_keys.revoke(tenant, key_id, iso(self._clock())))
        except Refused as exc:
            raise NotFound(
                f"Tenant {tenant} has no API key {key_id[:20]!r}; "
                f"`crewline keys list --tenant {tenant}` shows those it has."
            ) from exc
        return api_keys.from_item(tenant, item)

    def authenticate(self, text: str) -> Verified:
        """Tell who sends a request with a key.

        A key that was found good is good for a minute in this process; every other is looked up each
        time, so that a new one works at once.

        Args:
            text: What the client sent.

        Raises:
            Unauthenticated: It is no key, or one that was revoked.
            Unavailable: DynamoDB did not answer.
        """
        sent = Credential.parse(text)
        if sent is None:
            raise Unauthenticated("What was sent is not spelled like an API key.")
        name = hashlib.sha256(text.encode()).digest()  # nothing that lives long holds a key itself
        now = self._clock()  # before the read: what is revoked meanwhile acts within a minute from here
        with self._lock:
            known = self._known.get(name)
            if known and self._is_fresh(known, now):
                self._known.move_to_end(name)
                return known
        verified = Verified(self._look_up(sent), now + FRESH_MS)
        with self._lock:
            self._known[name] = verified
            self._known.move_to_end(name)
            while len(self._known) > _MOST:
                self._known.popitem(last=False)
        return verified

    def is_fresh(self, verified: Verified) -> bool:
        """Tell whether what a key said need not be asked for again yet."""
        return self._is_fresh(verified, self._clock())

    @staticmethod
    def _is_fresh(verified: Verified, now: int) -> bool:
        # Not yet asked either, by a clock that was put back: that makes nothing last longer.
        return verified.until is None or verified.until - FRESH_MS <= now < verified.until

    def _look_up(self, sent: Credential) -> Caller:
        row = api_keys.get(self._table, sent.tenant, sent.key_id)
        if row is None or not hmac.compare_digest(row.digest, sent.digest):
            raise Unauthenticated("There is no such API key.")
        if row.api_key.revoked_at:
            raise Unauthenticated(f"API key {sent.key_id} was revoked at {row.api_key.revoked_at}.")
        return row.api_key.caller
