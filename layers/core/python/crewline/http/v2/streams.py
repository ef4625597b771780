"""`/threads/{thread_id}/stream/events`: everything that happens on a thread, from its first run on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

from aws_lambda_powertools import Logger
from aws_lambda_powertools.event_handler.api_gateway import Response

from crewline.errors import NotFound
from crewline.http.followers import Arrivals, follow
from crewline.http.resolvers import Router
from crewline.http.sse import HEARTBEAT
from crewline.http.streams import IDLE_S, guarded, sse_response
from crewline.http.v2.events import Event, Subscription
from crewline.http.v2.translations import Translator
from crewline.http.waits import last_moment
from crewline.models.clocks import parse_id, system_clock
from crewline.models.events import START
from crewline.models.runs import Run
from crewline.services.events import Events
from crewline.services.runs import Runs
from crewline.services.threads import Threads

POLL_S: Final = 0.5
"""How often a thread at rest is asked for its next run: a client keeps its connection between them."""


def routes(runs: Runs, threads: Threads, events: Events, *, logger: Logger) -> Router:
    """Make the route that streams a thread."""
    router = Router()

    @router.post("/threads/<thread_id>/stream/events")
    def stream(thread_id: str) -> Response[Any]:
        wanted = Subscription.read(router.current_event.json_body)
        arrivals = Arrivals(
            runs,
            threads,
            router.caller.tenant,
            parse_id(thread_id, "thread"),
            router.caller.sender.sees,
        )
        tape = Tape(runs, events, router.caller.tenant, arrivals)
        until = last_moment(router.lambda_context)
        return sse_response(guarded(_spelled(tape, wanted), logger, until=until), {})

    return router


class Tape:
    """All events of a thread, in order, for one connection."""

    def __init__(self, runs: Runs, events: Events, tenant: str, arrivals: Arrivals) -> None:
        self._runs = runs
        self._events = events
        self._tenant = tenant
        self._arrivals = arrivals

    async def play(self) -> AsyncIterator[list[Event]]:
        """Give the events of every run, one run after the other, until nothing happens for a minute.

        A thread that does not exist is one on which nothing happens yet.
        """
        quiet = 0.0
        while quiet < IDLE_S:
            fresh = await asyncio.to_thread(self._arrivals.fresh)
            for run in fresh:
                async for events in self._play_run(run):
                    yield events
                quiet = 0.0
            if not fresh:
                await asyncio.sleep(POLL_S)
                quiet += POLL_S

    async def _play_run(self, run: Run) -> AsyncIterator[list[Event]]:
        translator, first = Translator(run), True
        try:
            async for frames in follow(self._events, self._runs, self._tenant, run, START):
                if first:  # by now it executes, and can be told that somebody follows
                    await asyncio.to_thread(self._runs.watch, self._tenant, run)
                first = False
                yield translator.translate(frames)
                if not run.finished:
                    translator.move_to(system_clock())  # what is in the log next is said after this
        except NotFound:
            yield translator.vanish()


async def _spelled(tape: Tape, wanted: Subscription) -> AsyncIterator[bytes]:
    yield HEARTBEAT  # the headers go out with the first byte, and clients wait for them
    async for events in tape.play():
        if chunk := b"".join(event.spell() for event in events if wanted.wants(event)):
            yield chunk
    yield b"retry: 1000\r\n\r\n"
