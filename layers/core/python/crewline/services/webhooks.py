"""Webhooks out: what a client is told when its run has ended."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
from collections.abc import Mapping
from typing import Any, Final, Literal, Protocol

import orjson
from aws_lambda_powertools import Logger

from crewline.errors import InvalidRequest, Unavailable
from crewline.models.clocks import Clock, iso
from crewline.models.lifecycles import ENDS
from crewline.models.runs import Run, RunStatus
from crewline.models.webhooks import Target, WebhookPolicy, check_url
from crewline.observability import UNMEASURED, Measures
from crewline.services.results import outcome_values
from crewline.store import runs, secrets
from crewline.store.blobs import Blobs
from crewline.store.queues import WebhookJob, parse_webhook
from crewline.store.records import Records
from crewline.store.table import Table

_PREFIX: Final = "whsec_"
_LENGTH: Final = 32
_GONE: Final = 410


class Sender(Protocol):
    """What posts to a URL that a client chose."""

    def post(self, target: Target, body: bytes, headers: Mapping[str, str]) -> int:
        """Send one request and return the status of its answer.

        Raises:
            InvalidRequest: The host has no address that may be reached.
            Unavailable: There was no answer in time.
        """


def signing_secret(table: Table, tenant: str) -> str:
    """Tell the secret that signs a tenant's webhooks; made when it is first asked for.

    Args:
        table: The table.
        tenant: Whose secret.

    Raises:
        InvalidRequest: The tenant is misspelled.
        Unavailable: DynamoDB did not answer.
    """
    fresh = _PREFIX + base64.b64encode(os.urandom(_LENGTH)).decode()
    return secrets.webhook_secret(table, tenant, fresh)


class Webhooks:
    """Delivers the messages of the webhook queue; safe for many threads.

    Args:
        table: The table.
        blobs: The bucket for large values.
        records: The checkpoints.
        clock: The time.
        policy: The project's policy.
        headers: What the project sends along, names in lower case and variables put in.
        sender: What posts.
        logger: The log. It names hosts, never URLs: those may hold secrets.
        measures: Where attempts are counted.
    """

    def __init__(
        self,
        table: Table,
        blobs: Blobs,
        records: Records,
        clock: Clock,
        *,
        policy: WebhookPolicy,
        headers: Mapping[str, str],
        sender: Sender,
        logger: Logger,
        measures: Measures = UNMEASURED,
    ) -> None:
        self._table = table
        self._blobs = blobs
        self._records = records
        self._clock = clock
        self._policy = policy
        self._headers = headers
        self._sender = sender
        self._logger = logger
        self._measures = measures

    def deliver(self, body: str) -> None:
        """Send the webhook that a message is about.

        It is dropped, with a line in the log, when the run is gone or nobody listens to it, when the
        policy or the address rules refuse its URL, and when the receiver says that it is gone (410).

        Args:
            body: The body of an SQS message.

        Raises:
            pydantic.ValidationError: It is not one of ours; the dead-letter queue takes it.
            Unavailable: The receiver did not answer with 2xx, or DynamoDB or S3 did not answer; the
                message comes again.
            CorruptRecord: What the run left does not decode.
        """
        job = parse_webhook(body)
        with self._logger.append_context_keys(**job.model_dump(exclude={"kind"})):
            try:
                self._measures.webhook(self._deliver(job))
            except Exception:
                self._measures.webhook("failed")
                raise

    def _deliver(self, job: WebhookJob) -> Literal["delivered", "dropped"]:
        """Send a webhook, or drop it with a line in the log."""
        run = runs.get(self._table, self._blobs, job.tenant, job.thread_id, job.run_id)
        if run is None or not run.kwargs.get("webhook"):
            self._logger.info("webhook dropped", reason="the run is gone, or nobody listens to it")
            return "dropped"
        try:
            target = check_url(run.kwargs["webhook"], self._policy)
            status = self._post(target, job, run)
        except InvalidRequest as exc:
            self._logger.warning("webhook dropped", reason=exc.message)
            return "dropped"
        if status == _GONE:
            self._logger.warning("webhook dropped", reason="the receiver is gone", host=target.host)
            return "dropped"
        # Redirects too: where they lead was not checked, and the receiver can be told to move.
        if not 200 <= status < 300:  # noqa: PLR2004 (what HTTP calls success)
            raise Unavailable(f"The host {target.host} answered a webhook with {status}.")
        self._logger.info("webhook delivered", host=target.host, answer=status)
        return "delivered"

    def secret(self, tenant: str) -> str:
        """Tell the secret that signs a tenant's webhooks; made when it is first asked for.

        Raises:
            Unavailable: DynamoDB did not answer.
        """
        return signing_secret(self._table, tenant)

    def _post(self, target: Target, job: WebhookJob, run: Run) -> int:
        now = self._clock()
        values = self._values(job.tenant, run)
        body = orjson.dumps(
            payload(run, job.status, values, sent_at=iso(now)), option=orjson.OPT_NON_STR_KEYS
        )
        message_id, timestamp = f"msg_{run.run_id.replace('-', '')}_{job.status}", str(now // 1000)
        signature = sign(self.secret(job.tenant), message_id, timestamp, body)
        headers = {
            "user-agent": "crewline",
            **self._headers,
            "content-type": "application/json",
            "webhook-id": message_id,
            "webhook-timestamp": timestamp,
            "webhook-signature": signature,
            "x-crewship-event": ENDS.get(job.status, f"run.{job.status}"),
            "x-crewship-delivery": message_id,
            "x-crewship-timestamp": timestamp,
            "x-crewship-signature": signature,
        }
        return self._sender.post(target, body, headers)

    def _values(self, tenant: str, run: Run) -> Any:
        snapshot = self._records.get(tenant, run.thread_id, "", run.head) if run.head else None
        return outcome_values(snapshot) if snapshot else None


def payload(run: Run, status: RunStatus, values: Any, *, sent_at: str) -> dict[str, Any]:
    """Spell what a webhook says: the run row, its times, and the state that it left.

    Args:
        run: The run.
        status: How it ended; the row may have changed since.
        values: The state at its head, with the questions it stopped at; None when it left none.
        sent_at: The time of this attempt.
    """
    return {
        **run.wire(),
        "status": status,
        "run_started_at": run.started_at,
        "run_ended_at": run.ended_at,
        "webhook_sent_at": sent_at,
        "values": values,
    }


def sign(secret: str, message_id: str, timestamp: str, body: bytes) -> str:
    """Sign a message as the Standard Webhooks specification says.

    Args:
        secret: `whsec_` and base64.
        message_id: The same for every attempt.
        timestamp: Seconds since the epoch, of this attempt.
        body: The body as it is sent.

    Returns:
        `v1,` and base64.
    """
    key = base64.b64decode(secret.removeprefix(_PREFIX))
    digest = hmac.new(key, f"{message_id}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"
