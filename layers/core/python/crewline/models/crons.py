"""Crons: runs that are asked for once and start again and again, each time that a schedule is due."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field
from typing_extensions import TypedDict

from crewline.models.clocks import Id, iso, milliseconds
from crewline.models.runs import RunCreate, RunFields
from crewline.models.threads import WHOLE, OrDefault, Wire
from crewline.models.timetables import check_schedule, check_zone, is_due, next_due
from crewline.models.users import NOBODY, Sender

CRON_ID: Final = "cron_id"
"""The key in the metadata of a run, and of a thread of its own, that says which cron has started it."""
CronSort = Literal[
    "cron_id", "assistant_id", "thread_id", "created_at", "updated_at", "next_run_date", "end_time"
]
CronField = Literal[
    "cron_id",
    "assistant_id",
    "thread_id",
    "end_time",
    "schedule",
    "timezone",
    "created_at",
    "updated_at",
    "user_id",
    "payload",
    "next_run_date",
    "metadata",
    "now",
    "on_run_completed",
    "enabled",
]
"""Fields that a search can select; `now` is one to the SDKs, and no row has it."""
Completion = Literal["delete", "keep"]


def _moment(text: str) -> str:
    try:
        moment = datetime.fromisoformat(text)
        return iso(round(moment.replace(tzinfo=moment.tzinfo or UTC).timestamp() * 1000))
    except (ValueError, OverflowError):
        raise ValueError(f"{text[:60]!r} is no time; give one like 2026-12-31T23:59:00+01:00") from None


Moment = Annotated[str, AfterValidator(_moment), Field(json_schema_extra={"format": "date-time"})]
"""A time in a body; without an offset it is UTC."""
Schedule = Annotated[str, AfterValidator(check_schedule), Field(max_length=1_000)]
Zone = Annotated[str, AfterValidator(check_zone)]


class CronPatch(RunFields):
    """Body of `PATCH /runs/crons/{cron_id}`: what is absent stays as it is.

    Metadata is merged key by key; everything else is replaced.
    """

    schedule: Schedule | None = None
    """Minute, hour, day of the month, month and day of the week, as cron has them."""
    timezone: Zone | None = None
    """The time zone of the schedule, by its name in the IANA's database; UTC when null."""
    end_time: Moment | None = None
    """From when on no run is started any more; null for never."""
    on_run_completed: Completion | None = None
    """What becomes of the thread of a run that has ended, where each run has one of its own."""
    enabled: bool | None = None
    """Whether runs are started at all."""

    @property
    def payload(self) -> dict[str, Any]:
        """What was sent of what the runs are asked for, apart from their metadata."""
        sent = self.model_dump(exclude_unset=True, exclude_none=False)
        return {name: sent[name] for name in RunFields.model_fields if name in sent and name != "metadata"}


class CronCreate(CronPatch):
    """Body of `POST /runs/crons` and of `POST /threads/{thread_id}/runs/crons`."""

    assistant_id: str
    """The id of an assistant, or the name of a crew."""
    schedule: Schedule
    """Minute, hour, day of the month, month and day of the week, as cron has them."""


class CronCount(Wire):
    """Body of `POST /runs/crons/count`."""

    assistant_id: str | None = None
    """The id of an assistant, or the name of a crew."""
    thread_id: Id | None = None
    enabled: bool | None = None
    metadata: dict[str, Any] | None = None
    """What the cron's metadata contains."""


class CronSearch(CronCount):
    """Body of `POST /runs/crons/search`."""

    limit: OrDefault[Annotated[int, Field(ge=1, le=1000), WHOLE]] = 10
    offset: OrDefault[Annotated[int, Field(ge=0), WHOLE]] = 0
    sort_by: OrDefault[CronSort] = "created_at"
    sort_order: OrDefault[Literal["asc", "desc"]] = "desc"
    select: list[CronField] | None = None
    """The fields to answer with; all of them when absent."""


class CronWire(TypedDict):
    """A cron as the API answers it."""

    cron_id: str
    assistant_id: str
    thread_id: str | None
    """The thread on which its runs are; None when each has one of its own."""
    user_id: str | None
    schedule: str
    timezone: str | None
    end_time: str | None
    enabled: bool
    payload: dict[str, Any]
    """What its runs are asked for."""
    metadata: dict[str, Any]
    on_run_completed: Completion | None
    next_run_date: str | None
    """When it is due next; None when it is not any more, or is not enabled."""
    created_at: str
    updated_at: str


class Firing(BaseModel):
    """What EventBridge Scheduler says when a schedule is due."""

    model_config = ConfigDict(frozen=True)

    tenant: str
    cron_id: str
    revision: int
    """Of the cron that the schedule was made for."""
    part: int
    """Which of that cron's schedules."""
    due: AwareDatetime
    """The minute."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cron:
    """One cron."""

    cron_id: str
    assistant_id: str
    schedule: str
    created_at: str
    updated_at: str
    thread_id: str | None = None
    timezone: str | None = None
    end_time: str | None = None
    enabled: bool = True
    payload: Mapping[str, Any] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    on_run_completed: Completion | None = None
    sender: Sender = NOBODY
    """Who has made it, and whom its runs execute for; never shown."""

    @property
    def zone(self) -> str:
        """The time zone of its schedule."""
        return self.timezone or "UTC"

    @property
    def starter(self) -> Sender:
        """Whom its runs execute for; they, and threads that they make, say which cron has started them."""
        return replace(self.sender, stamps={**self.sender.stamps, CRON_ID: self.cron_id})

    @property
    def end_ms(self) -> int | None:
        """When it ends, in milliseconds since the epoch; None for never."""
        return milliseconds(self.end_time) if self.end_time else None

    def is_on(self, due: datetime) -> bool:
        """Tell whether it starts runs at all at a time."""
        return self.enabled and (self.end_ms is None or due.timestamp() * 1000 < self.end_ms)

    def is_due(self, due: datetime) -> bool:
        """Tell whether it starts a run at a minute."""
        return self.is_on(due) and is_due(self.schedule, self.zone, due)

    def next_due(self, now_ms: int) -> datetime | None:
        """Tell when it starts its next run; None when it starts none any more."""
        if not self.enabled:
            return None
        due = next_due(self.schedule, self.zone, datetime.fromtimestamp(now_ms / 1000, UTC))
        return due if due and (self.end_ms is None or due.timestamp() * 1000 < self.end_ms) else None

    def run(self) -> RunCreate:
        """Give the run that it starts."""
        return RunCreate.model_validate(
            {
                **self.payload,
                "assistant_id": self.assistant_id,
                "metadata": self.metadata,
                "on_completion": self.on_run_completed or "delete",
            }
        )

    def wire(self, now_ms: int) -> CronWire:
        """Spell the cron as the API answers it."""
        due = self.next_due(now_ms)
        return {
            "cron_id": self.cron_id,
            "assistant_id": self.assistant_id,
            "thread_id": self.thread_id,
            "user_id": None,
            "schedule": self.schedule,
            "timezone": self.timezone,
            "end_time": self.end_time,
            "enabled": self.enabled,
            "payload": {
                "assistant_id": self.assistant_id,
                **self.payload,
                "metadata": dict(self.metadata),
            },
            "metadata": dict(self.metadata),
            "on_run_completed": self.on_run_completed,
            "next_run_date": iso(round(due.timestamp() * 1000)) if due else None,
            "created_at": self.created_at,
            "updated_at": self.updated_at,
        }
