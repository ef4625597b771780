"""What is told of a run: never its input, its values or the text of its error; and never more than a bus takes."""

from __future__ import annotations

from typing import Any

import pytest

from crewline.models.lifecycles import MOST_BYTES, ending, event_of
from crewline.models.runs import TERMINAL, Run, RunError

RUN = Run(
    run_id="r",
    thread_id="t",
    assistant_id="a",
    graph_id="crew",
    status="error",
    created_at="2026-01-01T00:00:00+00:00",
    updated_at="2026-01-01T00:00:00+00:00",
    kwargs={"input": "a secret", "webhook": "https://example.com/a-secret"},
    metadata={"customer": "c1"},
    error=RunError(error="ValueError", message="a secret"),
)


def with_metadata(metadata: dict[str, Any]) -> Run:
    return Run(**{**{name: getattr(RUN, name) for name in Run.__dataclass_fields__}, "metadata": metadata})


def test_an_event_has_ids_and_facts_and_nothing_that_anybody_said() -> None:
    event = event_of("acme", RUN, "run.failed")
    assert (event.id, event.error, event.metadata) == ("r.failed", "ValueError", {"customer": "c1"})
    assert "secret" not in event.model_dump_json()


@pytest.mark.parametrize("filler", ["x", "\N{SNOWMAN}", '"'])
def test_an_event_that_would_be_too_large_leaves_its_metadata_out_and_says_so(filler: str) -> None:
    event = event_of("acme", with_metadata({"notes": filler * MOST_BYTES}), "run.failed")
    assert (event.metadata, event.metadata_left_out) == ({}, True)
    assert len(event.model_dump_json().encode()) < 1_000


def test_an_event_that_just_fits_is_whole() -> None:
    room = MOST_BYTES - len(event_of("acme", with_metadata({"notes": ""}), "run.failed").model_dump_json())
    whole = event_of("acme", with_metadata({"notes": "x" * room}), "run.failed")
    assert not whole.metadata_left_out
    assert len(whole.model_dump_json()) == MOST_BYTES
    assert event_of("acme", with_metadata({"notes": "x" * (room + 1)}), "run.failed").metadata_left_out


def test_every_end_has_a_name() -> None:
    assert {ending(status, "idle") for status in TERMINAL} == {"run.succeeded", "run.failed", "run.canceled"}
    assert ending("success", "interrupted") == "run.interrupted"
    assert ending("interrupted", "interrupted") == "run.canceled"
