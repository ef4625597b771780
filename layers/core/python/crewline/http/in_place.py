"""Runs that execute in the process that was asked for them, and go on elsewhere when they must."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from aws_lambda_powertools import Logger

from crewline.errors import StaleOwner
from crewline.http.followers import Live, follow, live_frames
from crewline.http.runs import canceller, followed
from crewline.models.clocks import ending
from crewline.models.events import START, Frame, Listener, Telling
from crewline.models.leases import Claim, Continues
from crewline.models.runs import Run
from crewline.services.cancellations import Cancellations
from crewline.services.events import Events
from crewline.services.runs import Admitted, Runs


class Executor(Protocol):
    """The engine as it is used here."""

    def execute(self, run: Run, claim: Claim, telling: Telling, *, ends: float | None) -> Future[Any]:
        """Execute a claimed run; the future gives its answer, or how it continues."""

    def stop(self, run_id: str) -> None:
        """End a run that executes in this process, and that was cancelled."""


@dataclass(frozen=True, slots=True)
class InPlace:
    """Executes runs that this process has started, and waits for those that it may not execute.

    Args:
        runs: The runs.
        cancellations: Stop a run whose client leaves.
        events: The logs.
        executor: The engine.
        logger: Where failures are logged.
    """

    runs: Runs
    cancellations: Cancellations
    events: Events
    executor: Executor
    logger: Logger

    def outcome(self, tenant: str, admitted: Admitted, context: Any) -> Awaitable[Any]:
        """Begin to execute a run, and give what it answers to those who wait for it.

        Args:
            tenant: Whose run.
            admitted: The run.
            context: The Lambda context.

        Raises:
            NotFound: The run was rolled back or deleted meanwhile.
            Unavailable: DynamoDB or S3 did not answer.
        """
        run = admitted.run
        elsewhere = partial(followed, self.runs, tenant, run, self.runs.outcome)
        if admitted.claim is None:
            return elsewhere()
        telling = _telling(run, admitted.claim)
        future = self.executor.execute(run, admitted.claim, telling, ends=ending(context))
        return _executed(future, elsewhere)

    def frames(self, tenant: str, admitted: Admitted, context: Any) -> AsyncIterator[list[Frame]]:
        """Begin to execute a run, and give all that it says, to its end.

        The arguments are those of `outcome`.

        Raises:
            FellBehind: They came faster than they were taken.
            NotFound: The run was rolled back or deleted meanwhile.
            Unavailable: DynamoDB or S3 did not answer.
        """
        run = admitted.run
        if admitted.claim is None:
            return follow(self.events, self.runs, tenant, run, START)
        live = Live()
        telling = _telling(run, admitted.claim, live.put)
        future = self.executor.execute(run, admitted.claim, telling, ends=ending(context))
        future.add_done_callback(lambda _: live.close())
        return live_frames(live, self.events, self.runs, tenant, run)

    def leaving(self, tenant: str, run: Run) -> Callable[[], None] | None:
        """Make what stops a run whose client leaves, at once if it executes here; None if it is to go on."""
        if run.kwargs.get("on_disconnect") != "cancel":
            return None
        cancel = canceller(self.cancellations, tenant, run, self.logger)

        def leave() -> None:
            cancel()
            self.executor.stop(run.run_id)

        return leave


def _telling(run: Run, claim: Claim, listener: Listener | None = None) -> Telling:
    """Decide to whom a run that executes in place tells what it does."""
    return Telling(
        listener=listener,
        logged=not claim.lease.private or claim.lease.keep_s > 0,
        tokens=bool(run.kwargs["resumable"]),
    )


async def _executed(future: Future[Any], elsewhere: Callable[[], Awaitable[Any]]) -> Any:
    """Wait for the answer of a run that executes here; and elsewhere, once it goes on or was taken over there."""
    try:
        answer = await asyncio.shield(asyncio.wrap_future(future))
    except StaleOwner:
        return await elsewhere()
    return await elsewhere() if isinstance(answer, Continues) else answer
