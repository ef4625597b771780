"""`/v1/runs/{run_id}/events`: what a run does, from its beginning or from where a client has left it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

import orjson
from aws_lambda_powertools import Logger
from aws_lambda_powertools.event_handler.api_gateway import Response

from crewline.errors import NotFound
from crewline.http.followers import follow
from crewline.http.resolvers import Router
from crewline.http.sse import Place, is_end, parse_id, spell
from crewline.http.streams import Manner, guarded, sse_response
from crewline.http.v1.runs import find_run
from crewline.http.v1.translations import Translator, ending
from crewline.http.waits import last_moment
from crewline.models.crewship_events import RunEvent, run_event
from crewline.models.events import LAST_EPOCH, START, Frame, Position
from crewline.models.runs import Run
from crewline.services.events import Events
from crewline.services.runs import Runs

HEARTBEAT_S: Final = 15.0
_GONE: Final = Position(LAST_EPOCH, 2)
"""Where the end is of a run that has no log any more."""


def routes(runs: Runs, events: Events, *, logger: Logger) -> Router:
    """Make the route that tells what a run does."""
    router = Router()

    @router.get("/v1/runs/<run_id>/events")
    def tell(run_id: str) -> Response[Any]:
        run = find_run(runs, router.caller.tenant, run_id)
        after = parse_id(router.current_event.headers.get("last-event-id"))
        runs.watch(router.caller.tenant, run)
        tape = Tape(runs, events, router.caller.tenant, run, after)
        until = last_moment(router.lambda_context)
        return sse_response(guarded(tape.play(), logger, until=until, manner=tape.manner), {})

    return router


class Tape:
    """The events of one run, for one connection.

    The log is read from its beginning whatever the client has: what an event says depends on those before.

    Args:
        runs: The runs.
        events: The logs.
        tenant: Whose run.
        run: The run, as it was read.
        after: What the client has already.
    """

    def __init__(self, runs: Runs, events: Events, tenant: str, run: Run, after: Place | None) -> None:
        self._runs = runs
        self._events = events
        self._tenant = tenant
        self._run = run
        self._last: Place = after or (START, 0)
        self._translator = Translator(run)

    async def play(self) -> AsyncIterator[bytes]:
        """Give the events that the client does not have, up to the one that tells how the run has ended.

        Raises:
            Unavailable: DynamoDB or S3 did not answer.
            CorruptRecord: What is stored of the run does not decode.
        """
        try:
            async for frames in follow(self._events, self._runs, self._tenant, self._run, START):
                # Before anything is waited for: what is sent meanwhile, or when that fails, has the last event's id.
                if chunk := b"".join(map(self._spelled, frames)):
                    yield chunk
                if is_end(frames[-1]) and (chunk := await self._ending(frames[-1].position)):
                    yield chunk
        except NotFound:  # it was rolled back, or removed with its thread
            if chunk := self._fresh(_GONE, [run_event("run.canceled", status="canceled")]):
                yield chunk

    @property
    def manner(self) -> Manner:
        """How the connection says that it lives, and that reading the log has failed."""
        return Manner(silence_s=HEARTBEAT_S, heartbeat=self._heartbeat, failure=self._failure)

    def _spelled(self, frame: Frame) -> bytes:
        return self._fresh(frame.position, list(self._translator.translate(frame)))

    async def _ending(self, place: Position) -> bytes:
        if (place, 0) <= self._last:
            return b""
        run = await asyncio.to_thread(self._runs.get, self._tenant, self._run.thread_id, self._run.run_id)
        succeeded = run.status == "success"
        left = await asyncio.to_thread(self._runs.outcome, self._tenant, run) if succeeded else None
        return self._fresh(place, [ending(run, left)])

    def _fresh(self, position: Position, events: list[RunEvent]) -> bytes:
        """Spell those of a frame's events that come after the last one."""
        spelled = []
        for part, event in enumerate(events):
            if (place := (position, part)) > self._last:
                self._last = place
                spelled.append(self._spell(event))
        return b"".join(spelled)

    def _heartbeat(self) -> bytes:
        return self._spell(run_event("heartbeat"))

    def _failure(self, _kind: str, message: str) -> bytes:
        return self._spell(run_event("log", level="error", message=message))

    def _spell(self, event: RunEvent) -> bytes:
        """Spell an event; one that is none of the run's has the id of the last that is."""
        position, part = self._last
        return spell(None, orjson.dumps(event), f"{position}.{part}" if part else str(position))
