"""Server-sent events: runs that execute here, and runs and threads that are followed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Final
from uuid import uuid4

import orjson
from aws_lambda_powertools import Logger
from aws_lambda_powertools.event_handler.api_gateway import Response
from aws_lambda_powertools.event_handler.openapi.params import Query

from crewline.errors import CrewlineError, NotFound
from crewline.http.apps import JSON, to_json
from crewline.http.followers import Arrivals, FellBehind, follow
from crewline.http.replies import close
from crewline.http.resolvers import Router
from crewline.http.runs import canceller, followed, location, waiting_headers
from crewline.http.sse import CONTENT_TYPE, HEADERS, HEARTBEAT, Place, Renderer, is_end, parse_id, spell
from crewline.http.waits import OutOfTime, keep_alive, last_moment, patience, spelled
from crewline.models.events import START, Frame
from crewline.models.runs import Run
from crewline.services.cancellations import Cancellations
from crewline.services.events import Events
from crewline.services.runs import Runs
from crewline.services.threads import Threads

HEARTBEAT_S: Final = 5.0
IDLE_S: Final = 60.0
"""How long a thread is followed after its last run: an open tab holds a function."""
ARRIVALS_S: Final = 1.0
"""How often a thread at rest is asked for its next run."""


def routes(
    runs: Runs,
    threads: Threads,
    events: Events,
    cancellations: Cancellations | None,
    *,
    logger: Logger,
) -> Router:
    """Make the routes that follow runs which execute elsewhere.

    Args:
        runs: The runs.
        threads: The threads.
        events: The logs.
        cancellations: Stop a run whose follower leaves; None where no leaving is seen.
        logger: Where failures are logged.
    """
    router = Router()

    def leaving(run: Run) -> Callable[[], None] | None:
        router.caller.require("run")  # leaving cancels, and who only reads must not
        return canceller(cancellations, router.caller.tenant, run, logger) if cancellations else None

    @router.get("/threads/<thread_id>/runs/<run_id>/join")
    def join(
        thread_id: str, run_id: str, cancel_on_disconnect: Annotated[bool, Query()] = False
    ) -> Response[Any]:
        try:
            run = runs.get(router.caller.tenant, thread_id, run_id)
        except NotFound as exc:  # as the LangGraph API answers: the SDKs read it there
            return Response(200, JSON, to_json({"__error__": _error(exc)}))
        left = leaving(run) if cancel_on_disconnect else None
        work = spelled(followed(runs, router.caller.tenant, run, runs.result))
        until = last_moment(router.lambda_context)
        return Response(200, JSON, keep_alive(work, logger, until=until, left=left), waiting_headers(run))

    @router.get("/threads/<thread_id>/runs/<run_id>/stream")
    def stream(
        thread_id: str,
        run_id: str,
        cancel_on_disconnect: Annotated[bool, Query()] = False,
        stream_mode: Annotated[list[str] | None, Query()] = None,
    ) -> Response[Any]:
        try:
            run = runs.get(router.caller.tenant, thread_id, run_id)
        except NotFound as exc:
            return sse_response(_once(spell("error", orjson.dumps(_error(exc)))), {})
        after = parse_id(router.current_event.headers.get("last-event-id"))
        left = leaving(run) if cancel_on_disconnect else None
        runs.watch(router.caller.tenant, run)
        chunks = followed_stream(
            events, runs, router.caller.tenant, run, stream_mode=stream_mode, after=after
        )
        until = last_moment(router.lambda_context)
        return sse_response(guarded(chunks, logger, until=until, left=left), stream_headers(run))

    @router.get("/threads/<thread_id>/stream")
    def stream_thread(
        thread_id: str,
        stream_modes: Annotated[list[str] | None, Query()] = None,
        stream_mode: Annotated[list[str] | None, Query()] = None,
    ) -> Response[Any]:
        threads.read(router.caller.tenant, thread_id)
        after = parse_id(router.current_event.headers.get("last-event-id"))
        wanted = wanted_modes(stream_modes or stream_mode) or {"run_modes"}
        arrivals = Arrivals(runs, threads, router.caller.tenant, thread_id, router.caller.sender.sees)
        chunks = _followed_thread(arrivals, events, runs, router.caller.tenant, wanted, after)
        return sse_response(guarded(chunks, logger, until=last_moment(router.lambda_context)), {})

    return router


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How a stream says what is no event of a run."""

    silence_s: float
    """After how long it says that it is still there."""
    heartbeat: Callable[[], bytes]
    failure: Callable[[str, str], bytes]
    """Spells what kind of error has ended it, and a sentence about it."""


def sse_response(chunks: AsyncIterator[bytes], headers: dict[str, str]) -> Response[Any]:
    """Answer with a stream of events."""
    return Response(200, CONTENT_TYPE, chunks, {**HEADERS, **headers})


def stream_headers(run: Run, *, stateless: bool = False) -> dict[str, str]:
    """Name a run, and where its stream goes on when the line drops."""
    here = f"/runs/{run.run_id}" if stateless else location(run)
    return {"content-location": here, "location": f"{location(run)}/stream"}


async def rendered(told: AsyncIterator[list[Frame]], run: Run) -> AsyncIterator[bytes]:
    """Spell what a run says, in the modes that it was asked for."""
    renderer = Renderer(modes_of(run))
    async for frames in told:
        if chunk := b"".join(map(renderer.render, frames)):
            yield chunk


async def followed_stream(
    events: Events,
    runs: Runs,
    tenant: str,
    run: Run,
    *,
    stream_mode: Iterable[str] | None = None,
    after: Place | None = None,
) -> AsyncIterator[bytes]:
    """Spell the events of a run from its log.

    A run that has ended says nothing more to a client that asks for no position.
    """
    chosen = wanted_modes(stream_mode)
    renderer = Renderer(chosen or modes_of(run), filtered=bool(chosen), after=after)
    if after is None and run.finished:
        return
    begin = START if renderer.accumulates else renderer.last
    async for frames in follow(events, runs, tenant, run, begin):
        if chunk := b"".join(map(renderer.render, frames)):
            yield chunk


async def guarded(
    chunks: AsyncIterator[bytes],
    logger: Logger,
    *,
    until: float,
    left: Callable[[], None] | None = None,
    manner: Manner | None = None,
) -> AsyncIterator[bytes]:
    """Keep a stream's line open with heartbeats, and end it with an event if reading it fails.

    Args:
        chunks: The events.
        logger: Where a failure of ours is logged.
        until: When the function's time is up, of `last_moment`.
        left: Called in a thread when the client leaves before the end.
        manner: How it says both; as the LangGraph API does when absent.

    Yields:
        Events and heartbeats.

    Raises:
        FellBehind: The client reads too slowly. A line that breaks is resumed by the SDKs; one that
            ends with an event is over.
        OutOfTime: The function's time is up. The same holds.
    """
    following = asyncio.ensure_future(anext(chunks, None))
    manner = manner or Manner(silence_s=HEARTBEAT_S, heartbeat=lambda: HEARTBEAT, failure=_failure)
    ended = False
    try:
        while True:
            await asyncio.wait((following,), timeout=patience(manner.silence_s, until))
            if not following.done():
                yield manner.heartbeat()
                continue
            chunk = following.result()
            if chunk is None:
                ended = True
                return
            following = asyncio.ensure_future(anext(chunks, None))
            yield chunk
    except (FellBehind, OutOfTime):
        ended = True  # we leave, not the client: whoever comes back with Last-Event-ID finds its run
        raise
    except CrewlineError as exc:
        ended = True
        yield manner.failure(type(exc).__name__, exc.message)
    except Exception:
        ended = True
        incident = uuid4().hex
        logger.exception("stream failed", incident=incident)
        yield manner.failure("InternalError", f"Internal error; look for incident {incident} in the logs.")
    finally:
        if left and not ended:
            asyncio.get_running_loop().run_in_executor(None, left)
        following.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await following
        await close(chunks)


def modes_of(run: Run) -> list[str]:
    """Tell which modes a run was asked for."""
    return list(run.kwargs["stream_mode"])


def wanted_modes(given: Iterable[str] | None) -> set[str]:
    """Read a follower's choice of modes; an empty one is how the SDKs spell none."""
    return set(filter(None, given or ()))


async def _followed_thread(
    arrivals: Arrivals, events: Events, runs: Runs, tenant: str, wanted: set[str], after: Place | None
) -> AsyncIterator[bytes]:
    """Spell the events of every run of a thread, one after the other, until nothing happens for a minute."""
    replay = after is not None
    quiet = 0.0
    while quiet < IDLE_S:
        fresh = await asyncio.to_thread(arrivals.fresh)
        for run in fresh:
            if run.finished and not replay:
                continue
            quiet = 0.0
            async for chunk in _run_of_thread(events, runs, tenant, run, wanted, after):
                yield chunk
        replay = True
        if not fresh:
            await asyncio.sleep(ARRIVALS_S)
            quiet += ARRIVALS_S
    yield b"retry: 1000\r\n\r\n"


async def _run_of_thread(
    events: Events, runs: Runs, tenant: str, run: Run, wanted: set[str], after: Place | None
) -> AsyncIterator[bytes]:
    modes = modes_of(run) if "run_modes" in wanted else []
    renderer = Renderer(modes, filtered=not modes, after=after)
    begin = START if renderer.accumulates else renderer.last
    async for frames in follow(events, runs, tenant, run, begin):
        told = [frame for frame in frames if not is_end(frame)]
        if chunk := b"".join(map(renderer.render, told)):
            yield chunk
        if is_end(frames[-1]) and (frames[-1].position, 0) > (after or (START, 0)):
            yield _done(run, frames[-1])


def _done(run: Run, end: Frame) -> bytes:
    data = orjson.dumps({"status": "run_done", "run_id": run.run_id})
    return spell("metadata", data, str(end.position))


def _failure(error: str, message: str) -> bytes:
    return spell("error", orjson.dumps({"error": error, "message": message}))


async def _once(chunk: bytes) -> AsyncIterator[bytes]:
    yield chunk


def _error(error: CrewlineError) -> dict[str, str]:
    return {"error": type(error).__name__, "message": error.message}
