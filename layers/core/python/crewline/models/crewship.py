"""The words and shapes of `/v1`: what a request says to the core, and how it shows what the core has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, Self

from pydantic import ConfigDict, Field, model_validator
from typing_extensions import TypedDict

from crewline.errors import NotFound
from crewline.models.public_ids import parse_deployment, public_id
from crewline.models.runs import Command, Run, RunCreate, RunStatus, StreamMode, UsageWire
from crewline.models.threads import OrDefault, Wire
from crewline.settings import Stage

CrewshipStatus = Literal["pending", "running", "succeeded", "failed", "canceled"]
STATUSES: Final[Mapping[RunStatus, CrewshipStatus]] = {
    "pending": "pending",
    "running": "running",
    "success": "succeeded",
    "error": "failed",
    "timeout": "failed",
    "interrupted": "canceled",
}
"""Status of the core → what it is called here."""
EVENT_MODES: Final[tuple[StreamMode, ...]] = ("steps", "custom")
"""What the log of a run has to hold so that its events can be told to whoever comes later; no tokens, for no event has them."""


EnvironmentName = Annotated[str, Field(min_length=1, max_length=60)]
"""What a stack is for. One that no stack can be is as much not there as one that this stack is not."""


class RunRequest(Wire):
    """Body of `POST /v1/runs`."""

    deployment_id: str
    """The id of a deployment, or the name of a crew."""
    input: OrDefault[dict[str, Any]] = Field(default_factory=dict)
    """What the crew is to work on."""
    environment: EnvironmentName | None = None
    """Which of the team's stacks is meant, `production` or `staging`; this one, whatever it is, when absent."""

    @property
    def core(self) -> RunCreate:
        """The same as the core asks for it.

        Raises:
            BadRequest: The deployment's id is the id of something else.
        """
        return _told(parse_deployment(self.deployment_id), input=self.input)


class ThreadRunRequest(Wire):
    """Body of `POST /v1/threads/{thread_id}/runs`."""

    model_config = ConfigDict(
        json_schema_extra={
            "not": {"properties": {"input": {"type": "object"}}, "required": ["input", "resume"]}
        }
    )

    deployment_id: str | None = None
    """The id of a deployment, or the name of a crew; the thread's own when absent."""
    input: dict[str, Any] | None = None
    """What the crew is to work on; when absent, it goes on from where the thread stopped."""
    resume: Any = None
    """Instead of an input: the answer to the question that the thread has stopped at."""
    environment: EnvironmentName | None = None
    """Which of the team's stacks is meant, `production` or `staging`; this one, whatever it is, when absent."""

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if self.resumes and self.input is not None:
            raise ValueError("give resume to answer the open question, or input to replace it, and not both")
        return self

    @property
    def resumes(self) -> bool:
        """Whether it answers a question; the answer may be null."""
        return "resume" in self.model_fields_set

    @property
    def says_something(self) -> bool:
        """Whether the crew gets anything, and does not just go on."""
        return self.resumes or self.input is not None

    def core(self, assistant_id: str) -> RunCreate:
        """Spell the same as the core asks for it.

        Args:
            assistant_id: The id of the assistant, or the name of its crew.
        """
        command = Command(resume=self.resume) if self.resumes else None
        return _told(assistant_id, input=self.input, command=command, multitask_strategy="reject")


class StartedRun(TypedDict):
    """A run that was accepted."""

    run_id: str
    version_id: str
    version_number: int
    status: CrewshipStatus
    """Running, also before anybody executes it; what it is when the request is a repeated one and it has ended."""


class StartedThreadRun(StartedRun):
    """A run that was accepted on a thread."""

    thread_id: str


class CrewshipRun(TypedDict):
    """A run as `/v1` shows it."""

    id: str
    version_id: str
    """The version that accepted it."""
    deployment_id: str
    thread_id: str | None
    """Null for a run without a thread."""
    status: CrewshipStatus
    input: Any
    output: Any
    """The values that it left; null unless it has succeeded."""
    error_message: str | None
    """Null unless it has failed."""
    usage: UsageWire | None
    created_at: str
    started_at: str | None
    completed_at: str | None


class CrewshipRuns(TypedDict):
    """A page of runs, the newest first."""

    runs: list[CrewshipRun]
    next_cursor: str | None
    """What to send as `cursor` for the next page; null when there is none."""


class ErrorSaid(TypedDict):
    """What went wrong: a sentence for a person, a word for a program."""

    message: str
    code: str


class CrewshipError(TypedDict):
    """What went wrong."""

    error: ErrorSaid


def started_run(run: Run, version_number: int) -> StartedRun:
    """Show a run that was just accepted, or that an earlier sending of the request has started."""
    return {
        "run_id": public_id("run", run.run_id),
        "version_id": public_id("version", run.build),
        "version_number": version_number,
        "status": STATUSES[run.status] if run.finished else "running",
    }


def show_run(run: Run, output: Any) -> CrewshipRun:
    """Show a run.

    Args:
        run: The run.
        output: The values that it left, if it has succeeded.
    """
    return {
        "id": public_id("run", run.run_id),
        "version_id": public_id("version", run.build),
        "deployment_id": public_id("deployment", run.assistant_id),
        "thread_id": None if run.kwargs.get("temporary") else public_id("thread", run.thread_id),
        "status": STATUSES[run.status],
        "input": run.kwargs.get("input"),
        "output": output if run.status == "success" else None,
        "error_message": run.error.message if run.error else None,
        "usage": run.usage.wire() if run.usage else None,
        "created_at": zulu(run.created_at),
        "started_at": zulu(run.started_at) if run.started_at else None,
        "completed_at": zulu(run.ended_at) if run.ended_at else None,
    }


def core_statuses(status: CrewshipStatus) -> frozenset[RunStatus]:
    """Tell which statuses of the core are called so."""
    return frozenset(core for core, shown in STATUSES.items() if shown == status)


def zulu(time: str) -> str:
    """Spell a time of the core with `Z`, which stands for an offset of nothing."""
    return time.replace("+00:00", "Z")


def check_environment(asked: str | None, stage: Stage) -> None:
    """Let a request pass that is for this deployment: one stack is one environment, which its URL names already.

    Raises:
        NotFound: It is for another.
    """
    if asked not in (None, stage):
        raise NotFound(f"No running version found for {asked} environment")


def _told(assistant_id: str, **said: Any) -> RunCreate:
    """Ask for a run whose log can be told as events."""
    return RunCreate(assistant_id=assistant_id, stream_mode=list(EVENT_MODES), stream_subgraphs=True, **said)
