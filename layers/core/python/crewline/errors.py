"""The one exception tree of Crewline.

Every error that a caller can do something about is a `CrewlineError`. It is raised where the
fact is known, translated to HTTP once (`http/errors.py`) and logged once, at the edge. Messages
are sentences that carry the id concerned and the way out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar


class CrewlineError(Exception):
    """Base of every error that Crewline raises on purpose.

    Args:
        message: A sentence for the caller: what happened, to which id, and what to do about it.
        details: Machine-readable facts beside the sentence; JSON values only.
    """

    code: ClassVar[str] = "internal"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.details = dict(details or {})


class BadRequest(CrewlineError):
    """The request contradicts itself or misses something that no schema can express."""

    code = "bad_request"


class InvalidRequest(CrewlineError):
    """A field of the request has a wrong type, form or value."""

    code = "invalid_request"


class UnknownCrew(InvalidRequest):
    """No crew of the deployment has this name."""

    code = "unknown_crew"


class NotFound(CrewlineError):
    """What the request names does not exist, or not for this tenant."""

    code = "not_found"


class RunEnded(NotFound):
    """The run has ended, so that there is nothing left to cancel."""

    code = "run_ended"


class Conflict(CrewlineError):
    """The request is sound, but the state of what it names does not allow it now."""

    code = "conflict"


class ThreadBusy(Conflict):
    """Another run is in flight on the thread."""

    code = "thread_busy"


class ThreadExists(Conflict):
    """A thread with this id exists already."""

    code = "thread_exists"


class KeyReused(Conflict):
    """An idempotency key came before, with another request."""

    code = "key_reused"


class StaleOwner(Conflict):
    """The lease of the thread belongs to another owner: this worker's time is over.

    The attribute is what LangGraph's loop looks for to stop without writing anything more
    (write ownership, langgraph issue 8796).
    """

    code = "stale_owner"
    is_stale_write_owner_error: ClassVar[bool] = True


class RunCancelled(Conflict):
    """A commit was refused because somebody cancelled the run."""

    code = "run_cancelled"


class Withdrawn(Conflict):
    """What asked for a run has changed or gone before the run could start."""

    code = "withdrawn"


class BadMessage(CrewlineError):
    """A message or an event from outside that can never become a run.

    Its sentence is sent to the dead letters, where others may read it than those who may read the
    message: it repeats nothing of what that says.
    """

    code = "bad_message"


class Unauthenticated(CrewlineError):
    """The request carries no valid credential."""

    code = "unauthenticated"


class Forbidden(CrewlineError):
    """The credential does not allow this."""

    code = "forbidden"


class TooLarge(CrewlineError):
    """A body or value is over a limit; the message says which and how large it was."""

    code = "too_large"


class LimitExceeded(CrewlineError):
    """A rate or a quota is used up."""

    code = "limit_exceeded"
    retryable = True


class Unavailable(CrewlineError):
    """A service that Crewline needs did not answer; the same request may succeed in a moment."""

    code = "unavailable"
    retryable = True

    def __init__(
        self, message: str, *, retry_after: int = 1, details: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(message, details=details)
        self.retry_after = retry_after


class Unhealthy(CrewlineError):
    """The service is there, and something that it cannot be without is not."""

    code = "unhealthy"


class BadManifest(CrewlineError):
    """The project's manifest cannot be read or names something that is not there."""

    code = "bad_manifest"


class BadDeployment(CrewlineError):
    """What a team wants deployed contradicts itself, or is over a limit of AWS."""

    code = "bad_deployment"


class CrewFailedToLoad(CrewlineError):
    """The code of a crew raised while it was imported, or is not a graph."""

    code = "crew_failed_to_load"


class CorruptRecord(CrewlineError):
    """A stored checkpoint does not decode, or a blob it points at is missing or altered."""

    code = "corrupt_record"
