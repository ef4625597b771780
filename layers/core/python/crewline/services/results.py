"""What a run answers: from the checkpoint that it left, without LangGraph."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from crewline.checkpoints.projection import INTERRUPT, project_interrupts, project_values
from crewline.checkpoints.records import Snapshot
from crewline.models.runs import Run


def run_values(run: Run, left: Snapshot | None, show: Callable[[Snapshot], Any]) -> Any:
    """Show what a finished run answers: its error, or what it left.

    Args:
        run: The run, finished.
        left: The checkpoint at which it left the thread, if it left one.
        show: `outcome_values` or `joined_values`.

    Raises:
        CorruptRecord: The checkpoint does not decode.
    """
    if run.error:
        return {"__error__": run.error.wire()}
    return show(left) if left else {}


def joined_values(snapshot: Snapshot) -> Any:
    """Show what a run that was joined answers: only its questions, when it stopped at some.

    Raises:
        CorruptRecord: The checkpoint does not decode.
    """
    questions = questions_of(snapshot)
    return {INTERRUPT: questions} if questions else project_values(snapshot.record)


def outcome_values(snapshot: Snapshot) -> Any:
    """Show what a run that was waited for answers: its values, and the questions it stopped at.

    Raises:
        CorruptRecord: The checkpoint does not decode.
    """
    values, questions = project_values(snapshot.record), questions_of(snapshot)
    return {**values, INTERRUPT: questions} if questions and isinstance(values, Mapping) else values


def questions_of(snapshot: Snapshot) -> list[Any]:
    """Show the open questions of a checkpoint.

    Raises:
        CorruptRecord: A question does not decode.
    """
    return [question for asked in project_interrupts(snapshot.writes).values() for question in asked]
