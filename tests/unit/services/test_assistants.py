"""Every crew has a default assistant, found by its id and by the crew's name."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from crewline.errors import InvalidRequest, NotFound
from crewline.models.assistants import AssistantSearch
from crewline.models.manifests import Manifest
from crewline.services.assistants import Assistants
from tests.unit.store.worlds import ECHO

CREWS = [
    "approval",
    "chat",
    "echo",
    "failing",
    "flood",
    "interview",
    "large",
    "metered",
    "slow",
    "steps",
    "story",
    "tooled",
    "typed",
]


@pytest.fixture(scope="module")
def assistants(basic_manifest: Manifest) -> Assistants:
    return Assistants(basic_manifest)


def names(assistants: Assistants, **query: Any) -> list[str]:
    return [one.graph_id for one in assistants.search(AssistantSearch(**{"limit": 100, **query}))]


def test_an_assistant_has_the_names_of_the_wire(assistants: Assistants) -> None:
    row = assistants.get(ECHO).wire()
    assert row["created_at"] == row["updated_at"]
    assert {name: value for name, value in row.items() if not name.endswith("_at")} == {
        "assistant_id": ECHO,
        "graph_id": "echo",
        "name": "echo",
        "description": "Answers with what was said",
        "config": {},
        "context": {},
        "metadata": {"created_by": "system"},
        "version": 1,
    }


def test_an_assistant_is_got_by_its_id_alone(assistants: Assistants) -> None:
    assert assistants.get(ECHO.upper()).graph_id == "echo"
    with pytest.raises(InvalidRequest, match="Invalid assistant ID: must be a UUID"):
        assistants.get("echo")
    with pytest.raises(NotFound):
        assistants.get(str(uuid4()))


def test_a_run_may_name_a_crew_or_an_assistant(assistants: Assistants) -> None:
    assert assistants.resolve("echo") == assistants.resolve(ECHO) == assistants.get(ECHO)


def test_an_unknown_crew_is_told_which_ones_there_are(assistants: Assistants) -> None:
    with pytest.raises(InvalidRequest, match="it has approval, chat, echo, failing"):
        assistants.resolve("x" * 10_000)
    with pytest.raises(NotFound):
        assistants.resolve(str(uuid4()))


def test_search_filters_by_crew_name_and_metadata(assistants: Assistants) -> None:
    assert sorted(names(assistants)) == CREWS
    assert names(assistants, graph_id="echo") == ["echo"]
    assert sorted(names(assistants, name="L")) == ["approval", "failing", "flood", "large", "slow", "tooled"]
    assert sorted(names(assistants, metadata={"created_by": "system"})) == CREWS
    assert names(assistants, metadata={"created_by": "me"}) == []
    assert names(assistants, graph_id="gone") == []


def test_search_sorts_and_then_pages(assistants: Assistants) -> None:
    assert names(assistants, sort_by="name", sort_order="asc") == CREWS
    assert names(assistants, sort_by="name", sort_order="asc", limit=2, offset=1) == CREWS[1:3]
    assert names(assistants, sort_by="graph_id", sort_order="desc", limit=1) == ["typed"]
    assert names(assistants, offset=100) == []
