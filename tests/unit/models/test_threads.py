"""Bodies about threads: metadata has limits, unknown fields do not matter."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from crewline.models.states import HistoryRequest
from crewline.models.threads import Thread, ThreadCreate, ThreadPatch

ID = "1f0c9a4e-0000-6000-8000-00000000000a"


def test_an_empty_body_makes_a_thread_with_defaults() -> None:
    create = ThreadCreate.model_validate({})
    assert (create.thread_id, create.metadata, create.if_exists, create.graph_id) == (
        None,
        None,
        "raise",
        None,
    )


def test_an_unknown_field_is_ignored() -> None:
    assert ThreadCreate.model_validate({"supersteps_of_tomorrow": []}) == ThreadCreate()


@pytest.mark.parametrize(
    "metadata",
    [{"": 1}, {"k" * 256: 1}, {f"k{count}": 1 for count in range(49)}, [], "text", {1: "number"}],
)
def test_metadata_over_its_limits_is_refused(metadata: Any) -> None:
    with pytest.raises(ValidationError):
        ThreadCreate.model_validate({"metadata": metadata})
    with pytest.raises(ValidationError):
        ThreadPatch.model_validate({"metadata": metadata})


def test_metadata_at_its_limits_is_taken() -> None:
    metadata = {f"{count:0255}": {"nested": [None]} for count in range(48)}
    assert ThreadPatch.model_validate({"metadata": metadata}).metadata == metadata


@pytest.mark.parametrize("wrong", [{"if_exists": "bogus"}, {"thread_id": 5}, {"graph_id": []}])
def test_a_wrong_value_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ThreadCreate.model_validate(wrong)


@pytest.mark.parametrize("limit", [0, 1001, "ten", None, 1.5])
def test_a_history_lists_from_1_to_1000_states(limit: Any) -> None:
    with pytest.raises(ValidationError):
        HistoryRequest.model_validate({"limit": limit})


def test_a_number_without_a_fraction_is_an_integer() -> None:
    limit = HistoryRequest.model_validate({"limit": 10.0}).limit
    assert (limit, type(limit)) == (10, int)


@pytest.mark.parametrize("given", [{"configurable": {"checkpoint_id": ID}}, {"checkpoint_id": ID}])
def test_before_is_a_config_or_a_checkpoint_and_no_text(given: Any) -> None:
    with pytest.raises(ValidationError):
        HistoryRequest.model_validate({"before": "1f0f"})
    before = HistoryRequest.model_validate({"before": given}).before
    assert before is not None
    assert before.checkpoint.checkpoint_id == ID


def test_a_thread_row_has_the_names_of_the_wire() -> None:
    thread = Thread(thread_id="t", created_at="c", updated_at="u", state_updated_at="s", status="idle")
    assert thread.wire({"n": 1}, {"task": [{"value": "?", "id": "i"}]}) == {
        "thread_id": "t",
        "created_at": "c",
        "updated_at": "u",
        "state_updated_at": "s",
        "metadata": {},
        "status": "idle",
        "config": {},
        "error": None,
        "values": {"n": 1},
        "interrupts": {"task": [{"value": "?", "id": "i"}]},
    }
