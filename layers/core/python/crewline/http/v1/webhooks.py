"""`/webhooks/runs/{token}`: a run for whoever knows the URL."""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools.event_handler.api_gateway import Response

from crewline.errors import BadRequest
from crewline.http.apps import json_response
from crewline.http.resolvers import Router
from crewline.models.crewship import RunRequest, started_run
from crewline.services.runs import RETENTION_S, Runs
from crewline.services.versions import Versions
from crewline.services.webhook_tokens import WebhookTokens


def routes(tokens: WebhookTokens, runs: Runs, versions: Versions) -> Router:
    """Make the route of incoming webhooks; the token in its path is a secret, so nothing here tells or logs it.

    Args:
        tokens: Who may start runs, and of what.
        runs: Start them.
        versions: Numbers what is deployed.
    """
    router = Router()

    @router.post("/webhooks/runs/<token>")
    def create(token: str) -> Response[Any]:
        found, body = tokens.find(token), router.current_event.json_body
        if body is None:
            raise BadRequest("The body is the input of the run: send a JSON object.")
        key = router.once(f"POST /webhooks/runs/{found.token_id}", body)
        versions.number(runs.build)  # known before the run is there, or its answer could still fail
        request = RunRequest(deployment_id=found.deployment, input=body)
        run = runs.create_stateless(found.tenant, request.core, once=key, keep_s=RETENTION_S)
        return json_response(started_run(run, versions.number(run.build)), 202)

    return router
