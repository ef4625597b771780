"""Tokens of incoming webhooks: made, listed, rotated, revoked, and what a request's token starts runs of."""

from __future__ import annotations

import hmac
from dataclasses import replace
from typing import Final

from crewline.errors import InvalidRequest, NotFound
from crewline.models.api_keys import Credential
from crewline.models.clocks import Clock, iso
from crewline.models.public_ids import parse_deployment
from crewline.models.webhook_tokens import PREFIX, WebhookToken
from crewline.services.credentials import check_label, draw
from crewline.store import webhook_tokens
from crewline.store.table import Refused, Table
from crewline.store.webhook_tokens import Row

LONGEST_NAME: Final = 255
"""Characters of a deployment's id or name."""


class WebhookTokens:
    """The tokens of all tenants; safe for many threads.

    Args:
        table: The table.
        clock: Tells the time.
    """

    def __init__(self, table: Table, clock: Clock) -> None:
        self._table = table
        self._clock = clock

    def create(self, tenant: str, deployment: str, label: str = "") -> tuple[WebhookToken, str]:
        """Make a token.

        Args:
            tenant: Whose runs it starts.
            deployment: Of what: a deployment's id in any spelling, or the name of a crew. Whether it is there
                is looked at when a run is started.
            label: What its maker calls it.

        Returns:
            What is kept of it, and its text, which is kept nowhere and can never be shown again.

        Raises:
            BadRequest: The deployment's id is the id of something else.
            InvalidRequest: The tenant is misspelled, or a text is empty or too long.
            Unavailable: DynamoDB did not answer.
        """
        if not 0 < len(deployment) <= LONGEST_NAME:
            raise InvalidRequest(f"Name a deployment with 1 to {LONGEST_NAME} characters.")
        check_label(label)
        made = WebhookToken(
            tenant=tenant,
            token_id="",
            deployment=parse_deployment(deployment),
            label=label,
            created_at=iso(self._clock()),
        )

        def keep(drawn: Credential) -> WebhookToken:
            token = replace(made, token_id=drawn.key_id)
            self._table.write(webhook_tokens.put(Row(token=token, digest=drawn.digest)))
            return token

        return draw(tenant, keep, prefix=PREFIX)

    def list(self, tenant: str) -> list[WebhookToken]:
        """List the tokens of a tenant, the newest first, revoked ones too.

        Raises:
            InvalidRequest: The tenant is misspelled.
            Unavailable: DynamoDB did not answer.
        """
        found = webhook_tokens.listed(self._table, tenant)
        return sorted(found, key=lambda token: (token.created_at, token.token_id), reverse=True)

    def rotate(self, tenant: str, token_id: str) -> tuple[WebhookToken, str]:
        """Give a token another text; the one before starts nothing any more, from now on.

        Returns:
            What is kept of it, and its new text, which can never be shown again.

        Raises:
            InvalidRequest: The tenant is misspelled.
            NotFound: The tenant has no such token, or it was revoked.
            Unavailable: DynamoDB did not answer; which text is the good one is open, so rotate it again.
        """
        drawn = Credential.draw(tenant, prefix=PREFIX, key_id=token_id)
        now = iso(self._clock())
        try:
            item = self._table.write(webhook_tokens.rotate(tenant, token_id, drawn.digest, now))
        except Refused as exc:
            if exc.items.get(0):
                raise NotFound(
                    f"Webhook {token_id} of tenant {tenant} was revoked; make another with `crewline webhooks create`."
                ) from exc
            raise _not_found(tenant, token_id) from exc
        return webhook_tokens.from_item(tenant, item), drawn.spell()

    def revoke(self, tenant: str, token_id: str) -> WebhookToken:
        """Let a token start nothing any more, from now on.

        Returns:
            The token, with the time at which it was first revoked.

        Raises:
            InvalidRequest: The tenant is misspelled.
            NotFound: The tenant has no such token.
            Unavailable: DynamoDB did not answer.
        """
        try:
            item = self._table.write(webhook_tokens.revoke(tenant, token_id, iso(self._clock())))
        except Refused as exc:
            raise _not_found(tenant, token_id) from exc
        return webhook_tokens.from_item(tenant, item)

    def find(self, text: str) -> WebhookToken:
        """Tell what a request's token starts runs of.

        Args:
            text: What the client sent.

        Raises:
            NotFound: It is no token, or one that was rotated or revoked; nobody is told which.
            Unavailable: DynamoDB did not answer.
        """
        sent = Credential.parse(text, prefix=PREFIX)
        row = webhook_tokens.get(self._table, sent.tenant, sent.key_id) if sent else None
        if (
            sent is None
            or row is None
            or not hmac.compare_digest(row.digest, sent.digest)
            or row.token.revoked_at
        ):
            raise NotFound("There is no such webhook.")
        return row.token


def _not_found(tenant: str, token_id: str) -> NotFound:
    return NotFound(
        f"Tenant {tenant} has no webhook {token_id[:20]!r}; "
        f"`crewline webhooks list --tenant {tenant}` shows those it has."
    )
